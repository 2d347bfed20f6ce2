"""What the TensorRT targets share before the engine exists: precision, calibration samples, and the engine's stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from repository_builder.build.stage import Stage
from repository_builder.errors import SpecError
from repository_builder.machine import Gpu, Machine, Obstacle, able
from repository_builder.spec.model import ModelSpec
from repository_builder.spec.precision import Precision
from repository_builder.spec.processor import Processor
from repository_builder.stages import calibration, engine, parity, precision, processors, profiles, repair

READS = {"opset": 24, "ir": 13, "by": "the ONNX parser of TensorRT 11.1"}
"""Documented: opset 9 to 24. The precision tools read IR version 13 (tried)."""
DEFAULT_MAX_BATCH_SIZE = 32
"""Largest batch of the profile that is inferred."""


def max_batch_size(spec: ModelSpec) -> int:
    """What the spec says, else the largest batch of its profiles, else that of the inferred profile."""
    if spec.max_batch_size is not None:
        return spec.max_batch_size
    sizes = (min(bounds.max[0] for bounds in profile.values()) for profile in spec.profiles.values() if profile)
    return max(sizes, default=DEFAULT_MAX_BATCH_SIZE)


def stages(
    name: str, spec: ModelSpec, graph: Stage, machine: Machine, *, package: str, params: Mapping[str, Any]
) -> dict[str, Stage]:
    """Role → stage: `repair`; `samples` and `precision` where less than FP32 is wanted; `recorded` golden inputs otherwise;
    `engine`; `parity` where a GPU is.
    """
    described, sources = _described(spec)
    repaired = _repaired(name, graph, machine, package, _plugins(spec, package))
    options = spec.tensorrt
    built = {
        "workspace_mib": options.workspace_mib,
        "optimization_level": options.optimization_level,
        "flags": ["VERSION_COMPATIBLE"] if options.version_compatible else [],
        **params,
    }
    runs_on = runner(machine, package, params.get("compute_capabilities") or params.get("built_for", ()))
    gpu = f"{runs_on.name} {runs_on.compute_capability}" if isinstance(runs_on, Gpu) else ""
    timed = {**built, "package": package, "gpu": gpu} if gpu and not (options.plugins or spec.plugins) else {}
    made = _precision(name, spec, repaired, machine, timed) if spec.precision.lowers else {}
    lowered = {"precision": made["precision"]} if made else {}
    plugins = {f"plugin.{index}": path for index, path in enumerate(options.plugins)}
    made["engine"] = engine.stage(
        name,
        package=package,
        precision=None if lowered else "fp32",
        needs={"graph": repaired, **lowered},
        params={**described, **built},
        sources={**sources, **plugins},
        tools=machine.versions(package.replace("_", "-")),
    )
    if not made.keys() & {"held", "samples"} and spec.golden.inputs:
        made["recorded"] = _recorded(name, spec, repaired, machine, source=spec.golden.inputs, role="recorded")
    if gpu:
        recorded = made.get("held") or made.get("samples") or made.get("recorded")
        made["parity"] = parity.stage(name, graph=graph, engine=made["engine"], samples_stage=recorded, gpu=gpu)
    return {"repair": repaired, **made}


def runner(machine: Machine, package: str, capabilities: Sequence[str]) -> Gpu | Obstacle:
    """The GPU here that can run the engine, or why none can: `build` then compares no numbers, and says so."""
    from repository_builder.targets import tensorrt_plan

    if package == "tensorrt" and tensorrt_plan.IN_CONTAINER in machine.packages:
        return Obstacle(
            "it was built inside a container, and not run there", "`triton-repo verify` compares what is served"
        )
    if package.replace("_", "-") not in machine.packages:
        return Obstacle(f"the package {package} is not installed here", "install it on a machine with a GPU")
    return able(package, capabilities, machine)


def _plugins(spec: ModelSpec, package: str) -> list[str]:
    """Operators that become plugins of the full TensorRT, as the repair's judges name them."""
    if spec.plugins is None or package != "tensorrt":
        return []
    from repository_builder.plugins import operators
    from repository_builder.resources import data_folder

    known = operators.find([data_folder("plugins_cuda"), *spec.plugins.folders])
    return [f"{operator.domain}.{operator.operator}".lstrip(".") for operator in known]


def _repaired(name: str, graph: Stage, machine: Machine, package: str, plugins: Sequence[str]) -> Stage:
    """The graph as the parser of the package takes it; its version is part of the recipe."""
    product = package.replace("_", "-")
    return repair.stage(
        name,
        graph,
        wanted="rtx" if package == "tensorrt_rtx" else None,
        tools=machine.versions(product, "onnx", "onnxruntime"),
        plugins=plugins,
    )


def _described(spec: ModelSpec) -> tuple[dict[str, Any], dict[str, Path]]:
    """What profiles are resolved from: the spec's, and what the pre-processor can send."""
    params, sources = processors.describe("preprocess", _before(spec))
    return profiles.describe(spec) | params, sources


def _before(spec: ModelSpec) -> Processor | None:
    return getattr(spec.preprocess, spec.preprocess.chosen) if spec.preprocess else None


def _precision(
    name: str, spec: ModelSpec, graph: Stage, machine: Machine, timed: Mapping[str, Any]
) -> dict[str, Stage]:
    """`samples`, `held` where the golden inputs are other ones, and `precision`.

    `timed` says how engines are built to find the fastest precision; empty: none can be timed here.
    """
    wanted = spec.precision
    described, sources = _described(spec)
    source = _samples(name, spec)
    made = {"samples": _recorded(name, spec, graph, machine, source=source, role="samples", labels=wanted.labels)}
    if spec.golden.inputs not in (None, source):
        made["held"] = _recorded(name, spec, graph, machine, source=Path(str(spec.golden.inputs)), role="held")
    speed = {"speed": dict(timed)} if timed and len(wanted.levels) > 1 else {}
    params = _gate(wanted) | described | speed
    files = {**sources, **_metric_file(wanted)}
    made["precision"] = precision.stage(name, needs={"graph": graph, **made}, params=params, sources=files)
    return made


def _recorded(
    name: str, spec: ModelSpec, graph: Stage, machine: Machine, *, source: Path, role: str, labels: Path | None = None
) -> Stage:
    """Real inputs of the network, from files that the spec names."""
    return calibration.stage(
        name,
        graph=graph,
        before=_before(spec),
        source=source,
        count=spec.golden.count if role == "recorded" else spec.precision.count,
        labels=labels,
        tools=machine.versions("onnxruntime", "numpy", "pillow", "tokenizers"),
        name=role,
    )


def _gate(wanted: Precision) -> dict[str, Any]:
    return {
        "levels": list(wanted.levels),
        "metric": wanted.metric,
        "threshold": wanted.needed,
        "output": wanted.output,
        "method": wanted.method,
        "rescue": wanted.rescue,
        "max_kept": wanted.max_kept,
    }


def _samples(name: str, spec: ModelSpec) -> Path:
    """The user's samples: calibration data, else golden inputs; random ones prove nothing about accuracy."""
    if isinstance(spec.precision.calibration, Path):
        return spec.precision.calibration
    if spec.golden.inputs is None:
        raise SpecError(
            f"`{name}` has no real samples on which a lowered precision could be judged",
            where=f"models.{name}.precision",
            why="neither `precision.calibration` nor `golden.inputs` names any, and random inputs prove nothing",
            fix="add `calibration: folder/` (images, texts or arrays), or name `golden: {inputs: …}`",
        )
    return spec.golden.inputs


def _metric_file(wanted: Precision) -> dict[str, Path]:
    file = wanted.metric.rpartition(":")[0]
    return {"metric": Path(file)} if file.endswith(".py") else {}
