"""The stages `define` (every operator can run on the CPU) and `plugins` (the CUDA libraries that a graph needs)."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repository_builder.build.stage import Stage, StageContext
from repository_builder.errors import SpecError, StageFailed, ToolMissing, nearest
from repository_builder.plugins import operators as catalogue
from repository_builder.plugins.headers import Headers, find_headers, require_headers
from repository_builder.plugins.operators import Operator
from repository_builder.plugins.toolchain import check_architectures, default_architectures, find_nvcc
from repository_builder.resources import data_folder
from repository_builder.stages.graph import MODEL, external_locations

if TYPE_CHECKING:
    import onnx

FACTS = "plugins.json"
PARSER_OPSET = 24
"""Newest opset that the ONNX parser of TensorRT 11.1 reads."""
_KINDS = (".yaml", ".py", ".h", ".cuh", ".cu", ".cpp", ".map", ".onnxtxt")
_OWN_DESCRIPTION = re.compile(r"folder\.\d+/(.*/)?operator\.yaml")
OWN = tuple(
    f"repository_builder.plugins.{name}"
    for name in (
        "binding",
        "compile",
        "cpu",
        "library",
        "needed",
        "operators",
        "tensorrt_graph",
        "testing",
        "toolchain",
    )
)


def define_stage(model: str, *, onnx_file: Path | None, export: Stage | None, folders: Sequence[Path]) -> Stage:
    """The graph with a function body for every operator that ONNX Runtime lacks."""
    sources = _files(folders)
    if onnx_file:
        sources["onnx"] = onnx_file
        sources |= {f"data/{name}": onnx_file.parent / name for name in external_locations(onnx_file)}
    return Stage(
        name=f"{model}/define",
        run=define,
        sources={role: path for role, path in sources.items() if not role.startswith("data/") or path.is_file()},
        needs={"export": export} if export else {},
        modules=OWN,
    )


def stage(model: str, *, graph: Stage, folders: Sequence[Path], params: Mapping[str, Any]) -> Stage:
    """The libraries for `graph`. `params`: `architectures`, `headers` (`auto`, `none` or a folder), `ahead_of_time`."""
    sources = _files(folders) | _files([data_folder("plugins_cuda")], "shipped")
    return Stage(
        name=f"{model}/plugins",
        run=run,
        params=dict(params),
        sources=sources,
        needs={"graph": graph},
        tools=_tools(params["headers"]),
        modules=OWN,
    )


def define(context: StageContext) -> None:
    """Write `model.onnx` with function bodies, and its external data beside it."""
    from repository_builder.onnx_graph import read
    from repository_builder.plugins import cpu

    source = context.sources["onnx"] if "onnx" in context.sources else context.inputs["export"] / MODEL
    model = read.load(source)
    _write(cpu.define(model, _known(context)), source.parent, context.out / MODEL)


def run(context: StageContext) -> None:
    """Find the operators that the graph needs, prove them on the CPU, compile them, and write `plugins.json`."""
    from repository_builder.onnx_graph import read
    from repository_builder.plugins import tensorrt_graph

    model = read.load(context.inputs["graph"] / MODEL)
    ahead = tuple(context.params["ahead_of_time"])
    _, used = tensorrt_graph.rewrite(model, _known(context))
    _check_ahead(ahead, used)
    for operator in used:
        context.progress(f"{operator.key}: proving it on the CPU")
        _prove(operator)
        _remember(operator, context.out / "operators" / operator.key)
    libraries, wanted = {}, [operator for operator in used if operator.key not in ahead]
    for number, operator in enumerate(wanted):
        context.progress(f"{operator.key}: compiling", number / len(wanted))
        libraries[operator.library] = _compile(operator, context)
    facts = {
        "shells": context.params["headers"] != "none",
        "ahead_of_time": list(ahead),
        "libraries": libraries,
    }
    (context.out / FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def prepare(onnx_file: Path, folder: Path, out: Path) -> tuple[Path, list[str]]:
    """For the engine: the graph in which nodes carry plugin names, beside the engine's results; the libraries, and the
    Python modules of ahead-of-time plugins.

    Raises StageFailed where the libraries were compiled without TensorRT's headers: no engine can use them.
    """
    from repository_builder.onnx_graph import read
    from repository_builder.plugins import aot, cpu, needed, tensorrt_graph

    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    found = libraries(folder)
    if len(found) < len(facts["libraries"]):
        raise StageFailed(
            "the plugins have no TensorRT shell",
            where="plugins.tensorrt_headers",
            why="they were compiled with `tensorrt_headers: none`",
            fix="name a folder with TensorRT's headers, or leave it at `auto`",
        )
    used = catalogue.find([folder / "operators"])
    model = read.load(onnx_file)
    cpu.restore(model)
    ahead = [use for use in needed.uses(model, used) if use.operator.key in facts["ahead_of_time"]]
    modules = aot.embed(model, ahead, find_nvcc(), out) if ahead else []
    model, _ = tensorrt_graph.rewrite(model, used)
    cpu.lower(model, PARSER_OPSET)  # nodes that are plugins now no longer hold it up
    target = out / "plugin_graph.onnx"
    _write(model, onnx_file.parent, target)
    return target, [str(path) for path in (*found.values(), *modules)]


def libraries(folder: Path) -> dict[str, Path]:
    """File name → library in the folder of a finished stage; empty where they have no TensorRT shell."""
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    return {name: folder / name for name in facts["libraries"]} if facts["shells"] else {}


def _remember(operator: Operator, folder: Path) -> None:
    """What the engine's stage needs of the operator: its description and, for the ahead-of-time route, its arithmetic."""
    folder.mkdir(parents=True)
    for path in (operator.folder / "operator.yaml", *sorted(operator.folder.glob("*.h"))):
        shutil.copy(path, folder)


def _write(model: onnx.ModelProto, source: Path, target: Path) -> None:
    """The graph, and its external data beside it."""
    from repository_builder.onnx_graph import external

    target.write_bytes(model.SerializeToString())
    for name in external.files(model):
        (target.parent / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target.parent / name)


def _compile(operator: Operator, context: StageContext) -> dict[str, Any]:
    from repository_builder.plugins.compile import compile_plugin

    nvcc = find_nvcc()
    wanted = context.params["architectures"]
    architectures = check_architectures(wanted, nvcc) if wanted else default_architectures(nvcc)
    made = compile_plugin(operator, nvcc, architectures, _headers(context.params["headers"]))
    shutil.copyfile(made.library, context.out / operator.library)
    shutil.copyfile(made.library.parent / "usage.md", (context.out / operator.library).with_suffix(".md"))
    return {"sha256": made.sha256, "plugin": operator.plugin, **made.recipe}


def _prove(operator: Operator) -> None:
    from repository_builder.plugins import cpu, testing

    cases = testing.own_cases(operator)
    outcomes = testing.check(operator, cases)
    if (operator.folder / cpu.BODY).is_file():
        outcomes += testing.check_body(operator, cases)
    failed = [outcome for outcome in outcomes if outcome.problem]
    if failed:
        raise StageFailed(
            f"the plugin `{operator.key}` does not do what its reference says ({len(failed)} of {len(outcomes)} cases)",
            where=operator.folder,
            why="\n".join(f"{outcome.case}: {outcome.problem}" for outcome in failed[:3]),
            fix=f"correct it; `triton-repo plugin test {operator.key} --plugins {operator.folder}` shows all cases",
        )


def _known(context: StageContext) -> list[Operator]:
    own = [path.parent for role, path in sorted(context.sources.items()) if _OWN_DESCRIPTION.fullmatch(role)]
    return list(catalogue.find([data_folder("plugins_cuda"), *own]))


def _files(folders: Sequence[Path], role: str = "folder") -> dict[str, Path]:
    """Every file that counts, by role and place: what tests and editors leave in a folder must not change a key."""
    return {
        f"{role}.{index}/{path.relative_to(folder).as_posix()}": path
        for index, folder in enumerate(folders)
        for path in sorted(folder.rglob("*"))
        if path.suffix in _KINDS and path.is_file()
    }


def _check_ahead(ahead: Sequence[str], used: Sequence[Operator]) -> None:
    able = [operator.key for operator in used if operator.aot]
    for name in ahead:
        if name not in able:
            raise SpecError(
                f"`{name}` cannot be compiled ahead of time into the plan{nearest(name, able)}",
                where="plugins.ahead_of_time",
                why=f"of this graph's plugins these can: {', '.join(able) or 'none'}",
                fix="remove it: its library is then compiled and given to the server",
            )


def _headers(wanted: str) -> Headers | None:
    if wanted == "none":
        return None
    return require_headers(None if wanted == "auto" else Path(wanted))


def _tools(headers: str) -> dict[str, str]:
    """What compiles on this machine; a machine that only plans may have none of it."""
    try:
        nvcc = find_nvcc().version
    except ToolMissing:
        nvcc = "absent"
    found = None if headers == "none" else find_headers(None if headers == "auto" else Path(headers))
    return {"nvcc": nvcc, "tensorrt_headers": found.version if found else "none"}
