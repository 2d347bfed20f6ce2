"""Target `tensorrt_rtx`: TensorRT for RTX, one plan for several GPU architectures, built without a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from repository_builder.build.stage import Stage
from repository_builder.errors import TargetUnavailable
from repository_builder.machine import RTX_GPUS, Machine, known_to_rtx
from repository_builder.spec.model import ModelSpec
from repository_builder.stages import engine
from repository_builder.stages.engine_facts import EngineFacts
from repository_builder.stages.graph import GraphFacts
from repository_builder.targets import engine_config, engine_stages
from repository_builder.targets.protocol import Core

NAME = "tensorrt_rtx"
READS = engine_stages.READS
COMPUTE_CAPABILITIES = ("8.6", "8.9", "12.0")
"""RTX 30, 40 and 50."""


def missing(machine: Machine) -> list[str]:
    """The package is all that is needed to build; serving needs one of the GPUs that the plan is for."""
    if "tensorrt-rtx" not in machine.packages:
        return ["the package `tensorrt-rtx` is not installed (pip install 'triton-repo-builder[tensorrt-rtx]')"]
    return []


def max_batch_size(spec: ModelSpec) -> int:
    """See `engine_stages.max_batch_size`."""
    return engine_stages.max_batch_size(spec)


def stages(name: str, spec: ModelSpec, graph: Stage, golden: Stage, machine: Machine) -> dict[str, Stage]:  # noqa: ARG001
    """Precision where it is wanted, and the engine."""
    if spec.tensorrt.plugins:
        raise TargetUnavailable(
            f"cannot build `{name}` for {NAME}",
            where=f"models.{name}.tensorrt.plugins",
            why="TensorRT for RTX has no plugin layers",
            fix="choose target tensorrt_plan, or rewrite the operators (`triton-repo inspect`)",
        )
    wanted = list(spec.tensorrt.compute_capabilities or COMPUTE_CAPABILITIES)
    if unknown := [number for number in wanted if not known_to_rtx(number)]:
        raise TargetUnavailable(
            f"cannot build `{name}` for compute capability {', '.join(unknown)} with {NAME}",
            where=f"models.{name}.tensorrt.compute_capabilities",
            why=f"TensorRT for RTX has {', '.join(RTX_GPUS)}: no data-centre Hopper or Blackwell",
            fix="use the target tensorrt_plan for such a GPU, on a machine that has it (or `build --in-container` there)",
        )
    params = {"compute_capabilities": wanted, "version": machine.packages.get("tensorrt-rtx")}
    return engine_stages.stages(name, spec, graph, machine, package="tensorrt_rtx", params=params)


def core(name: str, spec: ModelSpec, folders: Mapping[str, Path]) -> Core:
    """The plan with a config for the Python-based backend `tensorrt_rtx`."""
    facts, built = GraphFacts.read(folders["graph"]), EngineFacts.read(folders["engine"] / engine.FACTS)
    warmup = engine_config.warmup_requests(spec, facts, built, folders)
    config = engine_config.config(name, spec, facts, built, backend=NAME, platform="", warmup=warmup)
    needs = {"tensorrt-rtx": built.version, "gpus": "all"}
    files = engine_config.files(spec, folders, built, warmup)
    return Core(config, files, needs, engine_config.notes(folders, built))
