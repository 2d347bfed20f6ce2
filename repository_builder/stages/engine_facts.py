"""What is known of a built engine, and whether its precision is real."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from repository_builder.errors import CheckFailed
from repository_builder.shapes.profile import Profile
from repository_builder.tensor import Interface, Tensor

PLAN, FACTS = "model.plan", "engine.json"

ASKED = {"fp32": "FP32", "fp16": "FP16", "bf16": "BF16", "int8": "INT8", "fp8": "FP8"}
"""Precision of the spec → data type in which heavy layers must then compute."""

REAL_SHARE = 0.5
"""A network has a precision when at least half of its heavy layers compute in it."""


@dataclass(frozen=True)
class EngineFacts:
    """`engine.json`: written by the worker, read by config, checks and reports."""

    package: str
    version: str
    interface: Interface
    shape_tensors: frozenset[str]
    profiles: tuple[Profile, ...]
    profiles_from: str
    """`engine`: read back from the deserialized engine; `report`: no GPU to load it, but the builder's description
    of the finished engine lists them; `builder`: accepted by the builder, nothing more."""
    compute_capabilities: tuple[str, ...]
    flags: tuple[str, ...]
    heavy: tuple[Mapping[str, Any], ...]
    raw: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read an `engine.json`."""
        raw = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            raw["builder"]["package"],
            raw["builder"]["version"],
            Interface(tuple(map(Tensor.from_json, raw["inputs"])), tuple(map(Tensor.from_json, raw["outputs"]))),
            frozenset(t["name"] for t in (*raw["inputs"], *raw["outputs"]) if t["shape_tensor"]),
            tuple(map(Profile.from_json, raw["profiles"])),
            raw["profiles_from"],
            tuple(raw["compute_capabilities"]),
            tuple(raw["flags"]),
            tuple(raw["network"]["heavy"]),
            raw,
        )

    def share(self, dtype: str) -> float:
        """Share of the heavy layers that compute in a data type; 1.0 where the network has no heavy layer."""
        return sum(layer["dtype"] == dtype for layer in self.heavy) / len(self.heavy) if self.heavy else 1.0


def audit(facts: EngineFacts, precision: str, *, where: str = "") -> None:
    """Refuse an engine whose heavy layers do not compute in the precision that was asked for.

    TensorRT 11 has no precision flags: a builder that still sets them builds FP32 and reports success
    (rf-detr#1453), and a quantizer that finds nothing to quantize returns the graph as it was.
    """
    dtype = ASKED[precision]
    share = facts.share(dtype)
    if share >= REAL_SHARE or (precision == "fp32" and not facts.heavy):
        return
    counts = ", ".join(f"{sum(x['dtype'] == d for x in facts.heavy)} in {d}" for d in sorted(_types(facts)))
    others = [layer["name"] for layer in facts.heavy if layer["dtype"] != dtype]
    raise CheckFailed(
        f"the engine is called {precision}, but is not {dtype} inside",
        where=where,
        why=f"of {len(facts.heavy)} layers that do the arithmetic, {counts}; not {dtype}: {', '.join(others[:5])}",
        fix=f"give the ONNX graph {precision} types (`precision: {precision}` does), or call it what it is",
    )


def _types(facts: EngineFacts) -> set[str]:
    return {layer["dtype"] for layer in facts.heavy}
