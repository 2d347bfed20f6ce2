"""The stage `graph`: a validated ONNX graph with its weights, and what we know of it (`graph.json`)."""

from __future__ import annotations

import json
import mmap
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repository_builder.build.stage import Stage, StageContext
from repository_builder.errors import GraphError
from repository_builder.tensor import Interface, Tensor

if TYPE_CHECKING:
    import onnx

    from repository_builder.onnx_graph.batch import Batching

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
    tools: Mapping[str, str],
) -> Stage:
    """The stage for one model: the graph comes from a file or from an upstream stage that wrote `model.onnx`."""
    return Stage(
        name=f"{model}/graph",
        run=run,
        params={"max_batch_size": max_batch_size},
        sources=_sources(onnx_file) if onnx_file else {},
        needs={"export": export} if export else {},
        tools=tools,
        modules=tuple(f"repository_builder.onnx_graph.{name}" for name in ("read", "batch", "probe")),
    )


def run(context: StageContext) -> None:
    """Validate, copy, and find out whether requests can be batched."""
    from repository_builder.onnx_graph import batch, read

    source = context.sources["onnx"] if "onnx" in context.sources else context.inputs["export"] / MODEL
    context.progress(f"reading {source.name}")
    graph = read.load(source)
    interface = read.interface(graph)
    _copy(graph, source, context.out)
    wanted: int | None = context.params["max_batch_size"]
    verdict = batch.batching(interface)
    if wanted != 0:
        verdict.require(source.name)
    if verdict.batched and wanted != 0:
        context.progress("running it at two batch sizes")
        verdict = _proven(context.out / MODEL, verdict)
    if wanted and not verdict.batched:
        raise GraphError(
            f"`{source.name}` cannot be served with max_batch_size {wanted}",
            where=source,
            why=verdict.why,
            fix="export again with a dynamic first dimension, or leave `max_batch_size` out to serve without batching",
        )
    batched = verdict.batched and wanted != 0
    why = verdict.why if wanted != 0 else "the spec says max_batch_size: 0"
    named = _with_batch(interface, verdict.dim) if batched and verdict.dim else interface
    opset = next(entry.version for entry in graph.opset_import if entry.domain in ("", "ai.onnx"))
    GraphFacts(named, batched, why, opset, graph.ir_version).write(context.out)


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


def _proven(file: Path, verdict: Batching) -> Batching:
    from repository_builder.onnx_graph import probe

    return probe.proven(file, verdict)


def _with_batch(interface: Interface, dim: str) -> Interface:
    def renamed(tensor: Tensor) -> Tensor:
        return replace(tensor, shape=(dim, *tensor.shape[1:]))

    return Interface(tuple(map(renamed, interface.inputs)), tuple(map(renamed, interface.outputs)))


def artifact_files(folder: Path) -> dict[str, Path]:
    """Files of a finished stage that belong beside `model.onnx` in a version folder: the graph and its external data."""
    files: dict[str, Any] = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}
    files.pop(FACTS)
    return files
