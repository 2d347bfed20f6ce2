"""Target `onnxruntime_onnx`: the graph as it is, for Triton's ONNX Runtime backend (and ours of the embedded server)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from repository_builder.build.stage import Stage
from repository_builder.errors import TargetUnavailable
from repository_builder.machine import Machine
from repository_builder.repository.model_config import Config, Queue, add_batching, model_config
from repository_builder.repository.proto import messages
from repository_builder.spec.model import ModelSpec
from repository_builder.stages.graph import GraphFacts, artifact_files
from repository_builder.targets.protocol import Core

NAME = "onnxruntime_onnx"
READS = {"opset": 26, "ir": 13, "by": "ONNX Runtime 1.27 (Triton 26.07)"}
"""Found by loading one-node graphs of rising opset and IR version into onnxruntime 1.27.0."""
DEFAULT_MAX_BATCH_SIZE = 8


def missing(machine: Machine) -> list[str]:
    """ONNX Runtime must be installed: the reference needs it in any case."""
    return [] if "onnxruntime" in machine.packages else ["the package `onnxruntime` is not installed"]


def max_batch_size(spec: ModelSpec) -> int:
    """What the spec says, else the largest batch of its profiles, else 8."""
    if spec.max_batch_size is not None:
        return spec.max_batch_size
    return max(
        (r.max[0] for profile in spec.profiles.values() for r in profile.values()), default=DEFAULT_MAX_BATCH_SIZE
    )


def stages(name: str, spec: ModelSpec, graph: Stage, golden: Stage, machine: Machine) -> dict[str, Stage]:  # noqa: ARG001
    """Nothing is built: the validated graph is the artifact. A lowered precision is refused, not ignored."""
    if spec.precision.lowers:
        raise TargetUnavailable(
            f"cannot build `{name}` for {NAME} in another precision than its own",
            where=f"models.{name}.precision",
            why="this target serves the graph as it is",
            fix="choose target tensorrt_rtx or tensorrt_plan, or remove `precision`",
        )
    return {}


def core(name: str, spec: ModelSpec, folders: Mapping[str, Path]) -> Core:
    """`model.onnx` (and its external data) with a config for the `onnxruntime` backend."""
    facts = GraphFacts.read(folders["graph"])
    limit = max_batch_size(spec) if facts.batched else 0
    config = model_config(name, facts.interface, max_batch_size=limit, backend="onnxruntime", platform=NAME)
    config.default_model_filename = "model.onnx"
    kinds = messages().ModelInstanceGroup
    group = config.instance_group.add(kind=kinds.KIND_GPU if spec.instances.gpus else kinds.KIND_CPU)
    group.count = spec.instances.core
    group.gpus.extend(spec.instances.gpus)
    comments = {"max_batch_size": _why(spec, facts), "instance_group[0].count": "instances.core of the spec"}
    comments |= add_batching(config, Queue(**spec.batching.model_dump()))
    files = {f"{spec.version}/{file}": path for file, path in artifact_files(folders["graph"]).items()}
    return Core(Config(config, comments), files, {"gpus": "all"} if spec.instances.gpus else {})


def _why(spec: ModelSpec, facts: GraphFacts) -> str:
    if not facts.batched:
        return f"no batching: {facts.why}"
    if spec.max_batch_size is not None:
        return "max_batch_size of the spec"
    return "largest batch of the profiles" if spec.profiles else f"default; {facts.why}"
