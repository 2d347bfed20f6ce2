"""What a target must offer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from repository_builder.build.stage import Stage
from repository_builder.machine import Machine
from repository_builder.repository.model_config import Config
from repository_builder.repository.tree import Content
from repository_builder.spec.model import ModelSpec


@dataclass(frozen=True)
class Core:
    """What a target makes of a network: the core model's config and files, and what the whole repository must know."""

    config: Config
    files: Mapping[str, Content]
    """Path below the model's folder (`1/model.onnx`) → content."""
    container: Mapping[str, str] = field(default_factory=dict)
    """What the serving container must offer: `{"tensorrt": "11.1.0"}`."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Facts for the manifest."""


class Target(Protocol):
    """A build strategy. All functions are pure; only the stages that they describe do work."""

    @property
    def NAME(self) -> str:  # noqa: N802  (a module constant)
        """The target's name in the spec, which is Triton's platform string where there is one."""
        ...

    @property
    def READS(self) -> Mapping[str, Any]:  # noqa: N802
        """What the target reads: the highest `opset` and `ir` version, and by whose word (`by`)."""
        ...

    def missing(self, machine: Machine) -> list[str]:
        """Reasons in words why this target cannot be built on a machine; empty: it can."""
        ...

    def max_batch_size(self, spec: ModelSpec) -> int:
        """Largest batch for a graph that can be batched."""
        ...

    def stages(self, name: str, spec: ModelSpec, graph: Stage, golden: Stage, machine: Machine) -> dict[str, Stage]:
        """Role → stage of everything this target needs beyond the graph."""
        ...

    def core(self, name: str, spec: ModelSpec, folders: Mapping[str, Path]) -> Core:
        """Config and files of the core model `name`, from finished stages (role → folder; `graph` among them)."""
        ...
