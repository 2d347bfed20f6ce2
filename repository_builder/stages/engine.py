"""Stage: an ONNX graph becomes a TensorRT engine, in a child process, with `tensorrt` or `tensorrt_rtx`.

Results: `model.plan`, `engine.json` (what the builder and, where it can be loaded, the engine say about it) and
`engine.log`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repository_builder.build.stage import Stage, StageContext
from repository_builder.console import Progress
from repository_builder.errors import GraphError, Problem, RepositoryBuilderError, StageFailed, TargetUnavailable
from repository_builder.repository.releases import same
from repository_builder.resources import cache_folder
from repository_builder.stages import engine_package, engine_process, plugin, profiles
from repository_builder.stages.engine_facts import FACTS, PLAN, EngineFacts, audit
from repository_builder.stages.engine_process import WORKER, Place
from repository_builder.stages.graph import GraphFacts

SHAPES = ("repository_builder.shapes.coverage", "repository_builder.shapes.profile")


def stage(
    model: str,
    *,
    package: str,
    precision: str | None,
    needs: Mapping[str, Stage],
    params: Mapping[str, Any],
    sources: Mapping[str, Path],
    tools: Mapping[str, str],
) -> Stage:
    """The stage for one model. Role `graph` of `needs` has the FP32 graph, role `precision` the lowered one, if any.

    `params` are those of `request`, and of `profiles.describe`. Without `precision`, what `precision.json` says counts.
    """
    own = ("engine_worker", "engine_facts", "engine_process", "profiles")
    return Stage(
        name=f"{model}/engine",
        run=run,
        params={"package": package, "precision": precision, **params},
        sources=sources,
        needs=needs,
        tools=tools,
        modules=tuple(f"repository_builder.stages.{name}" for name in own) + SHAPES,
    )


def run(context: StageContext) -> None:
    """Resolve the profiles, build the engine, and refuse one that is not what was asked for."""
    facts = GraphFacts.read(context.inputs["graph"])
    wanted_profiles, origin = profiles.resolve(context.params, facts, context.sources)
    plugins = [str(path) for role, path in sorted(context.sources.items()) if role.startswith("plugin")]
    onnx_file = context.inputs.get("precision", context.inputs["graph"]) / "model.onnx"
    if "plugins" in context.inputs:
        onnx_file, compiled = plugin.prepare(onnx_file, context.inputs["plugins"], context.out)
        plugins += compiled
    params = {**context.params, "profiles": [profile.as_json() for profile in wanted_profiles]}
    wanted = request(onnx_file, context.out, params, plugins)
    log = build(wanted, context.progress, place(params, context.progress))
    shutil.move(log, context.out / "engine.log")
    engine = EngineFacts.read(context.out / FACTS)
    _require_version(params, engine)
    precision = _precision(context)
    audit(engine, precision, where=str(onnx_file))
    capabilities = engine.raw["compute_capabilities"] or list(params.get("built_for", ()))
    told = {"precision": precision, "profiles_origin": origin, "compute_capabilities": capabilities}
    (context.out / FACTS).write_text(json.dumps({**engine.raw, **told}, indent=1), encoding="utf-8")


def _precision(context: StageContext) -> str:
    """What the engine is sold as: the parameter, else what the precision stage chose, else FP32."""
    if context.params.get("precision"):
        return str(context.params["precision"])
    if "precision" in context.inputs:
        return str(json.loads((context.inputs["precision"] / "precision.json").read_text())["chosen"])
    return "fp32"


def request(onnx_file: Path, out: Path, params: Mapping[str, Any], plugins: list[str]) -> dict[str, Any]:
    """The worker's whole input, as plain JSON; `package` and `profiles` are the only parameters without a default."""
    return {
        "package": params["package"],
        "onnx": str(onnx_file),
        "out": str(out),
        "profiles": params["profiles"],
        "compute_capabilities": list(params.get("compute_capabilities", ())),
        "hardware_compatibility": params.get("hardware_compatibility", "NONE"),
        "flags": list(params.get("flags", ())),
        "workspace_mib": params.get("workspace_mib"),
        "optimization_level": params.get("optimization_level"),
        "timing_cache": _timing_cache(params),
        "plugins": plugins,
    }


def build(wanted: Mapping[str, Any], progress: Progress, where: Place | None = None) -> Path:
    """Run the worker on one request; the path of its log. Ctrl-C cancels the build and ends the child."""
    logs = cache_folder() / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix="engine-", suffix=".log", dir=logs)
    os.close(handle)
    log = Path(name)
    last, code = engine_process.run(wanted, where or Place(sys.executable), log, progress)
    if last.get("done"):
        return log
    raise _explain(last, code, log, wanted)


def place(params: Mapping[str, Any], progress: Progress) -> Place:
    """The container that the parameters name, else an interpreter with the version that they name."""
    if image := params.get("container"):
        return Place("", str(image))
    return Place(engine_package.interpreter(str(params["package"]), params.get("version"), progress))


def _require_version(params: Mapping[str, Any], engine: EngineFacts) -> None:
    """The table of releases says what a container holds; the container itself has the last word."""
    if params.get("container") and not same(str(params["version"]), engine.version):
        raise StageFailed(
            f"{params['container']} holds {engine.package} {engine.version}, not {params['version']}",
            where="--in-container",
            why="the table of releases is wrong about it, so the container that will serve may not fit either",
            fix="report it, and build with the version that it really holds",
        )


def _timing_cache(params: Mapping[str, Any]) -> str | None:
    """Timings are valid for one GPU model and one version of the package; without a GPU there is nothing to time."""
    gpu, version = params.get("gpu"), params.get("version")
    if not gpu:
        return None
    name = f"{gpu}-{params['package']}-{version}".replace(" ", "_").replace("/", "_")
    return str(cache_folder() / "timing" / f"{name}.cache")


def _explain(last: Mapping[str, Any], code: int, log: Path, wanted: Mapping[str, Any]) -> RepositoryBuilderError:
    what, where = f"{wanted['package']} cannot build an engine", str(wanted["onnx"])
    kind, why = last.get("failed"), str(last.get("why", ""))
    if kind is None:
        return StageFailed(
            f"{wanted['package']} ended the process while it was {last.get('progress', 'starting')}",
            where=where, why=f"{_death(code)}\n{_tail(log)}", fix=_death_fix(str(last.get("progress", ""))), log=log,
        )  # fmt: skip
    if kind == "import":
        return TargetUnavailable(
            f"the package {wanted['package']} cannot be loaded", why=why, fix=_install(wanted["package"]), log=log
        )
    if kind == "parse":
        error = GraphError.many([_node_problem(node, where) for node in last["nodes"]] or [Problem(what, where, why)])
        error.log = log
        return error
    return StageFailed(what, where=where, why=why, fix=_fix(str(kind), why), log=log)


def _node_problem(node: Mapping[str, str], where: str) -> Problem:
    name = node["node"] or "(unnamed)"
    return Problem(
        f"TensorRT's parser does not take node `{name}` ({node['operator']})",
        where,
        f"{node['why']} [{node['code'].rpartition('.')[2]}]",
        "let `triton-repo check` look at the graph for repairs, or supply a plugin for this operator",
    )


def _death(code: int) -> str:
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}, without a report"


def _death_fix(progress: str) -> str:
    if "onnx" in progress.lower():
        return "the last node in the log is the one the parser was not prepared for: repair or remove it"
    return "see the log; an out-of-memory killer leaves SIGKILL"


def _fix(kind: str, why: str) -> str:
    lowered = why.lower()
    if "outofmemory" in lowered.replace(" ", "") or "memory allocation" in lowered:
        return "reduce the largest batch and shapes of the profiles, set `workspace_mib`, or use a GPU with more memory"
    if kind == "shape_tensor":
        return "give the sizes as the shape of an input, or make them constant in the graph; or use target onnxruntime_onnx"
    if kind == "profile" or "profile" in lowered:
        return "correct the optimization profile that is named"
    if kind == "plugin":
        return "build the plugin library against this TensorRT version, and check its path"
    return "the kept log has the builder's whole output"


def _install(package: str) -> str:
    extra = {"tensorrt_rtx": "tensorrt-rtx", "tensorrt": "tensorrt"}.get(package, package)
    return f"pip install 'triton-repo-builder[{extra}]'"


def _tail(log: Path, lines: int = 6) -> str:
    return "\n".join(line[:300] for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


__all__ = ["FACTS", "PLAN", "WORKER", "build", "place", "request", "run"]
