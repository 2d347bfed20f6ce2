"""Optimization profiles of the engine that a rehearsal stands in for: which full shapes it would take."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILENAME = "profiles.json"
"""`{profile: {input: {"min": [...], "opt": [...], "max": [...]}}}` with full shapes, in the order of the engine."""


@dataclass(frozen=True)
class Range:
    """Smallest and largest full shape of an input."""

    low: tuple[int, ...]
    high: tuple[int, ...]

    def holds(self, shape: tuple[int, ...]) -> bool:
        """Whether TensorRT would take the shape."""
        return len(shape) == len(self.low) and all(
            low <= dim <= high for low, dim, high in zip(self.low, shape, self.high, strict=True)
        )

    def __str__(self) -> str:
        dims = (str(low) if low == high else f"{low}..{high}" for low, high in zip(self.low, self.high, strict=True))
        return f"[{', '.join(dims)}]"


Profiles = dict[str, dict[str, Range]]


def read(version: Path) -> Profiles:
    """The profiles that lie in the version folder; none if there is no such file."""
    path = version / FILENAME
    if not path.is_file():
        return {}
    written = json.loads(path.read_text(encoding="utf-8"))
    return {name: {tensor: _range(limits) for tensor, limits in inputs.items()} for name, inputs in written.items()}


def refusal(profiles: Profiles, shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """Why the engine would not take a batch of these shapes; None if it would."""
    if not profiles or any(_fits(inputs, shapes) for inputs in profiles.values()):
        return None
    got = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
    known = "; ".join(
        f"{name}: " + ", ".join(f"{tensor} {limits}" for tensor, limits in inputs.items())
        for name, inputs in profiles.items()
    )
    return f"no optimization profile takes the shapes {got} (batch included); the profiles are {known}"


def _range(limits: Mapping[str, Any]) -> Range:
    return Range(tuple(limits["min"]), tuple(limits["max"]))


def _fits(inputs: Mapping[str, Range], shapes: Mapping[str, tuple[int, ...]]) -> bool:
    return all(name not in inputs or inputs[name].holds(shape) for name, shape in shapes.items())
