"""Targets: what a network is built for. A target is a module that satisfies `Target`; one table names them all."""

from __future__ import annotations

from dataclasses import dataclass

from repository_builder.errors import TargetUnavailable
from repository_builder.machine import Machine
from repository_builder.spec.model import ModelSpec
from repository_builder.targets import onnxruntime_onnx, tensorrt_plan, tensorrt_rtx
from repository_builder.targets.protocol import Core, Target

__all__ = ["PREFERENCE", "TARGETS", "Choice", "Core", "Target", "choose"]

TARGETS: dict[str, Target] = {target.NAME: target for target in (tensorrt_plan, tensorrt_rtx, onnxruntime_onnx)}
PREFERENCE = ("tensorrt_plan", "onnxruntime_onnx")
"""What `auto` takes: the first that is not missing anything."""


@dataclass(frozen=True)
class Choice:
    """The target of one model, and why."""

    target: Target
    why: str


def choose(name: str, spec: ModelSpec, machine: Machine) -> Choice:
    """The only place that chooses. A named target that is not available is an error, never a fallback."""
    if spec.target == "auto":
        return _automatic(machine)
    target = TARGETS.get(spec.target)
    reasons = target.missing(machine) if target else ["this version of triton-repo does not build it yet"]
    if target is None or reasons:
        usable = ", ".join(t.NAME for t in TARGETS.values() if not t.missing(machine))
        raise TargetUnavailable(
            f"cannot build `{name}` for {spec.target}",
            where=f"models.{name}.target",
            why="; ".join(reasons),
            fix=f"build on a machine that has these, or choose a target that this one can build ({usable})",
        )
    return Choice(target, "named in the spec")


def _automatic(machine: Machine) -> Choice:
    passed_over: list[str] = []
    for name in PREFERENCE:
        target = TARGETS.get(name)
        if target is None:
            continue
        reasons = target.missing(machine)
        if not reasons:
            return Choice(target, "auto: " + ("; ".join(passed_over) or "the first choice is available"))
        passed_over.append(f"no {name} here ({reasons[0]})")
    raise TargetUnavailable("no target can be built here", why="; ".join(passed_over), fix="pip install onnxruntime")
