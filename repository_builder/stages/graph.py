"""The stage `graph`: a validated ONNX graph with its weights, and what we know of it (`graph.json`)."""

from __future__ import annotations

import json
import mmap
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repository_builder.build.stage import Stage, StageContext
from repository_builder.errors import GraphError, Problem
from repository_builder.tensor import Interface, Tensor

if TYPE_CHECKING:
    import onnx

    from repository_builder.onnx_graph.probe import Probe

MODEL = "model.onnx"
FACTS = "graph.json"


@dataclass(frozen=True)
class GraphFacts:
    """What the rest of the build needs to know of an ONNX graph."""

    interface: Interface
    """Inputs and outputs; where the graph is batched, every first dimension has the same name."""
    batched: bool
    why: str
    """Why the graph is batched or not, in one sentence."""
    opset: int
    ir_version: int
    sizes: Mapping[str, int]
    """Dynamic dimension → a size at which the graph ran."""
    warnings: Sequence[str] = ()
    """What running it showed: dimensions that are declared dynamic but are not."""

    @classmethod
    def read(cls, folder: Path) -> GraphFacts:
        """The facts in the folder of a finished `graph` stage."""
        value = json.loads((folder / FACTS).read_text())
        return cls(**value | {"interface": Interface.from_json(value["interface"])})

    def write(self, folder: Path) -> None:
        """Inverse of `read`."""
        value = {**vars(self), "interface": self.interface.as_json()}
        (folder / FACTS).write_text(json.dumps(value, indent=1))


def stage(
    model: str,
    *,
    onnx_file: Path | None,
    export: Stage | None,
    max_batch_size: int | None,
    reads: Mapping[str, Any],
    tools: Mapping[str, str],
) -> Stage:
    """The stage for one model: the graph comes from a file or from an upstream stage that wrote `model.onnx`.

    `reads` says what the target takes: the highest `opset` and `ir`, and by whose word (`by`).
    """
    return Stage(
        name=f"{model}/graph",
        run=run,
        params={"max_batch_size": max_batch_size, "reads": dict(reads)},
        sources=_sources(onnx_file) if onnx_file else {},
        needs={"export": export} if export else {},
        tools=tools,
        modules=tuple(
            f"repository_builder.onnx_graph.{name}" for name in ("read", "batch", "probe", "structure", "external")
        ),
    )


def run(context: StageContext) -> None:
    """Validate, copy, and find out whether requests can be batched."""
    from repository_builder.onnx_graph import batch, probe, read

    source = context.sources["onnx"] if "onnx" in context.sources else context.inputs["export"] / MODEL
    context.progress(f"reading {source.name}")
    graph = read.load(source)
    _refuse_newer(graph, source, context.params["reads"])
    interface = read.interface(graph)
    _copy(graph, source, context.out)
    wanted: int | None = context.params["max_batch_size"]
    declared = batch.batching(interface)
    if wanted != 0:
        declared.require(source.name)
    context.progress("running it at several sizes")
    found = probe.probe(context.out / MODEL)
    if wanted != 0 and declared.batched and not found.batching.batched:
        found.require()  # a graph that only claims to be dynamic would fail request by request
    if wanted and not found.batching.batched:
        raise _cannot_batch(source, wanted, found)
    batched = found.batching.batched and wanted != 0
    dim = found.batching.dim
    GraphFacts(
        interface=_with_batch(interface, dim) if batched and dim else interface,
        batched=batched,
        why="the spec says max_batch_size: 0" if wanted == 0 else found.batching.why,
        opset=opset_of(graph),
        ir_version=graph.ir_version,
        sizes=dict(found.sizes),
        warnings=[problem.what + (f" ({problem.why})" if problem.why else "") for problem in found.problems],
    ).write(context.out)


def opset_of(graph: onnx.ModelProto) -> int:
    """The version of ONNX's own operators that a graph uses."""
    return int(next((entry.version for entry in graph.opset_import if entry.domain in ("", "ai.onnx")), 1))


def _refuse_newer(graph: onnx.ModelProto, source: Path, reads: Mapping[str, Any]) -> None:
    """Refuse what the serving runtime cannot read, however new the ONNX Runtime of this machine may be."""
    opset = opset_of(graph)
    if opset > reads["opset"]:
        raise GraphError(
            f"`{source.name}` uses opset {opset}, and the target reads up to {reads['opset']}",
            where=source,
            why=f"{reads['by']} refuses newer operators",
            fix=f"export with opset {reads['opset']} or older (torch: `opset_version={reads['opset']}`), "
            "or convert the file with onnx.version_converter",
        )
    if graph.ir_version > reads["ir"]:
        raise GraphError(
            f"`{source.name}` has IR version {graph.ir_version}, and the target reads up to {reads['ir']}",
            where=source,
            why=f"{reads['by']} refuses newer files",
            fix=f"set `model.ir_version = {reads['ir']}` and save the file again",
        )


def _cannot_batch(source: Path, wanted: int, found: Probe) -> GraphError:
    fix = "export again with a dynamic first dimension, or leave `max_batch_size` out to serve without batching"
    first = Problem(
        f"`{source.name}` cannot be served with max_batch_size {wanted}", str(source), found.batching.why, fix
    )
    return GraphError.many((first, *found.problems))


def _sources(onnx_file: Path) -> dict[str, Path]:
    """The file and its external data: a change of either must change the key."""
    data = {f"data/{name}": onnx_file.parent / name for name in external_locations(onnx_file)}
    return {"onnx": onnx_file} | {role: path for role, path in data.items() if path.is_file()}


def external_locations(onnx_file: Path) -> list[str]:
    """Names of external data files, found in the raw bytes: planning must not parse (nor import onnx for) large graphs.

    Looks for the encoded key of `TensorProto.external_data` entries, a StringStringEntryProto `{key: "location"}`; what it
    finds by accident in other bytes names no existing file.
    """
    key = b"\x0a\x08location\x12"
    found = set()
    with onnx_file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        at = content.find(key)
        while at >= 0:
            start = at + len(key) + 1
            name = content[start : start + content[start - 1]]  # one length byte: names are shorter than 128 bytes
            found.add(name.decode("utf-8", "replace"))
            at = content.find(key, start)
    return sorted(name for name in found if "\0" not in name)


def _copy(graph: onnx.ModelProto, source: Path, out: Path) -> None:
    from repository_builder.onnx_graph import external

    shutil.copyfile(source, out / MODEL)
    for name in external.files(graph):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.parent / name, out / name)


def _with_batch(interface: Interface, dim: str) -> Interface:
    def renamed(tensor: Tensor) -> Tensor:
        return replace(tensor, shape=(dim, *tensor.shape[1:]))

    return Interface(tuple(map(renamed, interface.inputs)), tuple(map(renamed, interface.outputs)))


def artifact_files(folder: Path) -> dict[str, Path]:
    """Files of a finished stage that belong beside `model.onnx` in a version folder: the graph and its external data."""
    files: dict[str, Any] = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}
    files.pop(FACTS)
    return files
