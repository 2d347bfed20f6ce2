"""The graph of stages of a build, and what running it would mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any, Literal

from repository_builder.build.cache import Cache
from repository_builder.build.stage import Recipe, Stage


@dataclass(frozen=True)
class Step:
    """What would happen with one stage, and why."""

    stage: Stage
    action: Literal["cached", "run"]
    why: str


def in_order(stages: Mapping[str, Stage]) -> list[Stage]:
    """All stages and what they need, upstream first; the order is stable."""
    every: dict[str, Stage] = {}

    def collect(stage: Stage) -> None:
        if stage.name not in every:
            every[stage.name] = stage
            for upstream in stage.needs.values():
                collect(upstream)

    for stage in stages.values():
        collect(stage)
    order = TopologicalSorter({name: [s.name for s in stage.needs.values()] for name, stage in every.items()})
    return [every[name] for name in order.static_order()]


def explain(stages: Mapping[str, Stage], cache: Cache, before: Mapping[str, Recipe]) -> Iterator[Step]:
    """What `run` would do. `before` holds the recipes of the last build, by stage name, to say what changed."""
    for stage in in_order(stages):
        if stage in cache:
            yield Step(stage, "cached", "nothing changed" if stage.name in before else "made before")
        elif stage.name not in before:
            yield Step(stage, "run", "never built")
        else:
            changes = list(differences(before[stage.name], stage.recipe))
            yield Step(stage, "run", "; ".join(changes) or "its cache entry is gone")


def differences(before: Recipe, after: Recipe) -> Iterator[str]:
    """What differs between two recipes, in words: `tools.onnx: 1.20.1 → 1.21.0`."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            if name.startswith("needs."):
                yield f"{name.removeprefix('needs.')} changed"
            elif name == "code":
                yield "the tool's own code changed"
            else:
                yield f"{name}: {_short(old.get(name))} → {_short(new.get(name))}"


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _leaves(item, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, value


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return f"{text[:10]}…" if len(text) == 64 else text
