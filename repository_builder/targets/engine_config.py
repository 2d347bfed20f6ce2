"""The config of an engine's model, derived from the engine: nothing here is decided twice, and every value says its source.

Source of the rules: tensorrt_backend (model_state.cc, instance_state.cc, main of 2026-07) and model_config.proto.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from repository_builder.errors import StageFailed
from repository_builder.repository.model_config import Config, Queue, add_batching, dims, model_config
from repository_builder.repository.proto import messages
from repository_builder.repository.tree import Content
from repository_builder.shapes.coverage import faults
from repository_builder.shapes.profile import Profile
from repository_builder.spec.model import ModelSpec
from repository_builder.stages import engine, precision, profiles, repair
from repository_builder.stages.engine_facts import EngineFacts
from repository_builder.stages.graph import GraphFacts, artifact_files
from repository_builder.targets import engine_warmup
from repository_builder.targets.engine_warmup import Request
from repository_builder.tensor import Interface

PROFILES = "profiles.json"
"""Beside the plan; read by the rehearsal."""


def config(
    name: str,
    spec: ModelSpec,
    facts: GraphFacts,
    built: EngineFacts,
    *,
    backend: str,
    platform: str,
    warmup: Sequence[Request] | None = None,
) -> Config:
    """The whole config of the core model `name`. `warmup` are its requests (default: without real values)."""
    interface = _interface(facts, built)
    limit = _limit(spec, facts, built)
    message = model_config(name, interface, max_batch_size=limit, backend=backend)
    if platform:
        message.platform = platform
    message.default_model_filename = engine.PLAN
    comments = {"max_batch_size": _limit_from(spec, facts, built)}
    comments |= _instances(message, spec, built)
    comments |= add_batching(message, Queue(**spec.batching.model_dump()))
    comments |= _preferred(message, built)
    comments |= _architectures(message, built)
    if spec.tensorrt.cuda_graphs:
        comments |= _cuda_graphs(message, interface, built)
    if spec.tensorrt.warmup:
        comments |= engine_warmup.add(message, warmup_requests(spec, facts, built) if warmup is None else warmup)
    if spec.tensorrt.context_memory != "STATIC":
        message.parameters["execution_context_allocation_strategy"].string_value = spec.tensorrt.context_memory
    _mark_shape_tensors(message, built)
    _prove(built, interface, limit)
    return Config(message, comments)


def warmup_requests(
    spec: ModelSpec, facts: GraphFacts, built: EngineFacts, folders: Mapping[str, Path] | None = None
) -> tuple[Request, ...]:
    """The warm-up requests that the spec wants, with real values where the finished stages hold some of the right shape."""
    if not spec.tensorrt.warmup:
        return ()
    real = engine_warmup.recorded(folders or {})
    return engine_warmup.requests(built.profiles, _interface(facts, built), _limit(spec, facts, built), real)


def files(
    spec: ModelSpec, folders: Mapping[str, Path], built: EngineFacts, warmup: Sequence[Request]
) -> dict[str, Content]:
    """The plan, warm-up data, the rehearsal's files, and what is known of the engine (beside the version folder)."""
    version = str(spec.version)
    found: dict[str, Content] = {f"{version}/{engine.PLAN}": folders["engine"] / engine.PLAN}
    found[engine.FACTS] = folders["engine"] / engine.FACTS
    if "precision" in folders:
        found[precision.REPORT] = folders["precision"] / precision.REPORT
    if spec.tensorrt.rehearsal:
        found |= {f"{version}/{file}": path for file, path in artifact_files(folders["graph"]).items()}
        found[f"{version}/{PROFILES}"] = json.dumps(profiles.by_name(built.profiles), indent=1).encode()
    return found | engine_warmup.files(warmup)


def notes(folders: Mapping[str, Path], built: EngineFacts) -> dict[str, Any]:
    """For the manifest: what was built, by what, and how sure we are of it."""
    reports = {"repairs": ("repair", repair.REPORT), "precision": ("precision", precision.REPORT)}
    told = {
        key: json.loads((folders[role] / file).read_text()) for key, (role, file) in reports.items() if role in folders
    }
    return {
        "engine": {
            "builder": built.raw["builder"],
            "precision": built.raw.get("precision", "fp32"),
            "ports": built.interface.as_json(),
            "compute_capabilities": list(built.compute_capabilities),
            "flags": list(built.flags),
            "hardware_compatibility": built.raw["hardware_compatibility"],
            "profiles": [profile.as_json() for profile in built.profiles],
            "profiles_from": built.profiles_from,
            "not_loaded": built.raw.get("not_loaded", ""),
            "profiles_origin": built.raw.get("profiles_origin", ""),
            "network": {key: built.raw["network"][key] for key in ("tensors", "weights", "bytes")},
            "layers": built.raw["engine"]["layer_outputs"],
            "bytes": built.raw["engine"]["bytes"],
        }
    } | told


def _interface(facts: GraphFacts, built: EngineFacts) -> Interface:
    """Names and shapes of the graph with the engine's data types, which Triton compares exactly."""
    types = {t.name: t.dtype for t in (*built.interface.inputs, *built.interface.outputs)}
    here = {t.name for t in (*facts.interface.inputs, *facts.interface.outputs)}
    if here != types.keys():
        raise StageFailed(
            "the engine has other inputs and outputs than the graph",
            why=f"only in one of them: {', '.join(sorted(here ^ types.keys()))}",
            fix="report this: it is a defect of triton-repo or of TensorRT's parser",
        )
    return Interface(
        tuple(replace(tensor, dtype=types[tensor.name]) for tensor in facts.interface.inputs),
        tuple(replace(tensor, dtype=types[tensor.name]) for tensor in facts.interface.outputs),
    )


def _limit(spec: ModelSpec, facts: GraphFacts, built: EngineFacts) -> int:
    if not facts.batched:
        return 0
    largest = max(profile.batch("max") for profile in built.profiles)
    return min(spec.max_batch_size or largest, largest)


def _limit_from(spec: ModelSpec, facts: GraphFacts, built: EngineFacts) -> str:
    if not facts.batched:
        return f"no batching: {facts.why}"
    largest = max(built.profiles, key=lambda profile: profile.batch("max"))
    if spec.max_batch_size and spec.max_batch_size < largest.batch("max"):
        return f"max_batch_size of the spec; profile {largest.name} reaches {largest.batch('max')}"
    return f"max of profile {largest.name}"


def _instances(message: Any, spec: ModelSpec, built: EngineFacts) -> dict[str, str]:
    """One group that lists every profile: groups of their own would not be chosen by shape.

    Triton's core takes the list for its TensorRT backend only; ours for TensorRT for RTX always uses every profile.
    """
    group = message.instance_group.add(kind=messages().ModelInstanceGroup.KIND_GPU, count=spec.instances.core)
    group.gpus.extend(spec.instances.gpus)
    if message.backend != "tensorrt":
        return {"instance_group[0]": "every profile of the engine is used"}
    group.profile.extend(str(index) for index in range(len(built.profiles)))
    listed = ", ".join(f"{index} {profile.name}" for index, profile in enumerate(built.profiles))
    return {"instance_group[0].profile": f"{listed}; Triton uses only those that are listed"}


def _preferred(message: Any, built: EngineFacts) -> dict[str, str]:
    """Only where profiles have different optimum batches, and then with the maximum: alone, a smaller value caps batches."""
    limit = message.max_batch_size
    best = sorted({min(profile.batch("opt"), limit) for profile in built.profiles})
    if limit <= 1 or len(best) < 2:
        return {}
    message.dynamic_batching.preferred_batch_size.extend(sorted({*best, limit}))
    return {"dynamic_batching.preferred_batch_size": "opt of each profile, and the maximum"}


def _architectures(message: Any, built: EngineFacts) -> dict[str, str]:
    for number in built.compute_capabilities:
        message.cc_model_filenames[number] = engine.PLAN
    if not built.compute_capabilities:
        return {}
    first = sorted(built.compute_capabilities)[0]
    return {f'cc_model_filenames["{first}"]': "each compute capability that the plan was built for"}


def _cuda_graphs(message: Any, interface: Interface, built: EngineFacts) -> dict[str, str]:
    """One graph per corner; a graph is only used for exactly its shape. None without batching, nor with shape tensors."""
    if message.max_batch_size == 0 or built.shape_tensors:
        return {}
    cuda = message.optimization.cuda
    cuda.graphs = True
    for batch, shapes in _graph_shapes(built.profiles, message.max_batch_size):
        spec = cuda.graph_spec.add(batch_size=batch)
        for tensor in interface.inputs:
            spec.input[tensor.name].dim.extend(shapes[tensor.name][1:] or [1])
    return {"optimization.cuda": "min, opt and max batch of each profile; other shapes run without a graph"}


def _graph_shapes(found: tuple[Profile, ...], limit: int) -> Iterator[tuple[int, Mapping[str, tuple[int, ...]]]]:
    seen = set()
    for profile in found:
        for which in ("min", "opt", "max"):
            batch = profile.batch(which)
            if batch <= limit and batch not in seen:
                seen.add(batch)
                yield batch, profile.corner("opt")


def _mark_shape_tensors(message: Any, built: EngineFacts) -> None:
    for entry in (*message.input, *message.output):
        entry.is_shape_tensor = entry.name in built.shape_tensors


def _prove(built: EngineFacts, interface: Interface, limit: int) -> None:
    """The config against the engine: every batch 1 … max and every declared shape fits exactly one profile."""
    problems = faults(built.profiles, interface.inputs, max_batch=limit or None)
    if problems:
        raise StageFailed.many(problems)


__all__ = ["PROFILES", "config", "dims", "files", "notes", "warmup_requests"]
