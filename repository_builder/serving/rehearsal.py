"""A rehearsal: a repository made for a GPU, mounted on a machine that has none.

A temporary copy is served in which every `KIND_GPU` is `KIND_CPU` and settings that need a GPU are gone. The engines
are not used: the backend `tensorrt` of this tool stands in and runs the FP32 ONNX graph on the CPU. Ensembles,
batching limits, versions, warm-up and clients are then those of production; speed and precision are not.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

CONFIG = "config.pbtxt"
ANNOUNCEMENT = (
    "REHEARSAL: models made for a GPU run their FP32 ONNX graphs on the CPU; speed and precision are not production's"
)


def mount(repository: Path, copy: Path, announce: Callable[[str], None]) -> Path:
    """Fill `copy` with the repository as a CPU can serve it (files are links), and announce each change loudly."""
    announce(ANNOUNCEMENT)
    for folder, _, names in os.walk(repository, followlinks=True):
        target = copy / Path(folder).relative_to(repository)
        target.mkdir(parents=True)
        for name in names:
            if name != CONFIG:
                (target / name).symlink_to(Path(folder, name))
    for path in sorted(repository.glob(f"*/{CONFIG}")):
        text, changes = for_cpu(path.read_text(), path)
        (copy / path.parent.name / CONFIG).write_text(text)
        for change in changes:
            announce(f"REHEARSAL: {path.parent.name}: {change}")
    return copy


def for_cpu(text: str, source: Path) -> tuple[str, list[str]]:
    """The config as a CPU can serve it, and what was changed, in words. An unchanged config keeps its text."""
    from repository_builder.repository import pbtxt

    config = pbtxt.parse(text, str(source)).config
    changes = [*_backend(config), *_groups(config), *_optimization(config)]
    return (pbtxt.emit(config), changes) if changes else (text, [])


def _backend(config: Any) -> list[str]:
    """One backend stands in for both TensorRT packages: engines of either are not used."""
    if config.backend != "tensorrt_rtx":
        return []
    config.backend = "tensorrt"
    return ["backend: tensorrt_rtx → tensorrt, the stand-in of a rehearsal"]


def _groups(config: Any) -> list[str]:
    """Move instance groups to the CPU; a group without GPUs and kind finds its place by itself."""
    from repository_builder.repository.proto import messages

    kinds = messages().ModelInstanceGroup
    changes = []
    for index, group in enumerate(config.instance_group):
        if group.kind != kinds.KIND_GPU and not group.gpus:
            continue
        was = [kinds.Kind.Name(group.kind)]
        was += [f"{name} {list(getattr(group, name))}" for name in ("gpus", "profile") if getattr(group, name)]
        group.kind = kinds.KIND_CPU
        for name in ("gpus", "profile", "secondary_devices"):
            group.ClearField(name)
        changes.append(f"instance_group[{index}]: {', '.join(was)} → KIND_CPU")
    return changes


def _optimization(config: Any) -> list[str]:
    """Remove what only a GPU can do."""
    changes = []
    if config.optimization.HasField("cuda"):
        config.optimization.ClearField("cuda")
        changes.append("optimization.cuda (CUDA graphs) left out")
    if config.optimization.execution_accelerators.gpu_execution_accelerator:
        config.optimization.execution_accelerators.ClearField("gpu_execution_accelerator")
        changes.append("optimization.execution_accelerators.gpu_execution_accelerator left out")
    return changes
