"""Target `tensorrt_plan`: an engine of the full TensorRT, built for the GPU in this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from repository_builder.build.stage import Stage
from repository_builder.errors import TargetUnavailable
from repository_builder.machine import Gpu, Machine
from repository_builder.spec.model import ModelSpec
from repository_builder.stages import engine
from repository_builder.stages.engine_facts import EngineFacts
from repository_builder.stages.graph import GraphFacts
from repository_builder.targets import engine_config, engine_stages
from repository_builder.targets.protocol import Core

NAME = "tensorrt_plan"
READS = engine_stages.READS
IN_CONTAINER = "tensorrt-container"
"""Stands among a machine's packages for the image in which the builder runs (`build --in-container`)."""
OLDEST = (10, 12)
"""Older releases are not fully strongly typed, so precision would not be in the graph alone."""


def missing(machine: Machine) -> list[str]:
    """A GPU, and the package `tensorrt` from 10.12 on."""
    reasons = []
    version = machine.packages.get("tensorrt")
    if version is None:
        reasons.append("the package `tensorrt` is not installed (pip install 'triton-repo-builder[tensorrt]')")
    elif _numbers(version) < OLDEST:
        reasons.append(f"TensorRT {version} is older than {'.'.join(map(str, OLDEST))}")
    if not machine.gpus:
        reasons.append(machine.no_gpu)
    return reasons


def max_batch_size(spec: ModelSpec) -> int:
    """See `engine_stages.max_batch_size`."""
    return engine_stages.max_batch_size(spec)


def stages(name: str, spec: ModelSpec, graph: Stage, golden: Stage, machine: Machine) -> dict[str, Stage]:  # noqa: ARG001
    """Precision where it is wanted, and the engine for the GPU on which it will run."""
    gpu = _gpu(name, spec, machine)
    options = spec.tensorrt
    if options.compute_capabilities and set(options.compute_capabilities) != {gpu.compute_capability}:
        raise TargetUnavailable(
            f"cannot build `{name}` for compute capability {', '.join(options.compute_capabilities)}",
            where=f"models.{name}.tensorrt.compute_capabilities",
            why=f"TensorRT builds only for the GPU in this machine, {gpu.name} ({gpu.compute_capability})",
            fix="build on a machine with such a GPU, or use the target tensorrt_rtx",
        )
    params = {
        "gpu": f"{gpu.name} {gpu.compute_capability}",
        "built_for": [gpu.compute_capability],
        "version": machine.packages["tensorrt"],
        "container": machine.packages.get(IN_CONTAINER),
        "hardware_compatibility": options.hardware_compatibility,
    }
    return engine_stages.stages(name, spec, graph, machine, package="tensorrt", params=params)


def core(name: str, spec: ModelSpec, folders: Mapping[str, Path]) -> Core:
    """The plan with a config for Triton's TensorRT backend."""
    facts, built = GraphFacts.read(folders["graph"]), EngineFacts.read(folders["engine"] / engine.FACTS)
    warmup = engine_config.warmup_requests(spec, facts, built, folders)
    config = engine_config.config(name, spec, facts, built, backend="tensorrt", platform=NAME, warmup=warmup)
    needs = {"tensorrt": built.version, "gpus": "all"}
    if spec.tensorrt.version_compatible:
        needs["tensorrt-host-code"] = "the plan is version compatible and carries code"
    libraries = {path.name: path for path in spec.tensorrt.plugins}
    needs |= {f"plugin:{file}": f"{name}/{file}" for file in libraries}
    files = engine_config.files(spec, folders, built, warmup) | libraries
    return Core(config, files, needs, engine_config.notes(folders, built))


def _gpu(name: str, spec: ModelSpec, machine: Machine) -> Gpu:
    """The GPU on which the builder runs: the first; all GPUs that will serve must be of its kind."""
    used = [machine.gpus[index] for index in spec.instances.gpus if index < len(machine.gpus)] or list(machine.gpus)
    kinds = {(gpu.name, gpu.compute_capability) for gpu in used}
    if len(kinds) > 1 and spec.tensorrt.hardware_compatibility == "NONE":
        listed = ", ".join(sorted(f"{model} ({number})" for model, number in kinds))
        raise TargetUnavailable(
            f"cannot build one plan of `{name}` for every GPU here",
            where=f"models.{name}.instances.gpus",
            why=f"the GPUs differ: {listed}",
            fix="name GPUs of one kind in `instances.gpus`, or set `tensorrt.hardware_compatibility`",
        )
    return used[0]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
