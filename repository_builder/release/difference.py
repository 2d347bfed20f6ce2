"""What differs between two builds of the same models: sizes, engines, precision and its scores, latency, configs."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repository_builder.repository.manifest import Manifest


@dataclass(frozen=True)
class Change:
    """One value on both sides."""

    model: str
    what: str
    before: str
    after: str


def changes(before: Manifest, after: Manifest) -> Iterator[Change]:
    """Every value that differs between two manifests, for the models that both have."""
    if before.container.get("image") != after.container.get("image"):
        images = (str(side.container.get("image", "")) for side in (before, after))
        yield Change("", "container", *images)
    for name in before.pipelines.keys() & after.pipelines.keys():
        old, new = _facts(before, name), _facts(after, name)
        for what in old.keys() | new.keys():
            if old.get(what) != new.get(what):
                yield Change(name, what, old.get(what, "-"), new.get(what, "-"))


def config_differences(before: Path, after: Path) -> str:
    """The configs of all models as one unified diff; empty where they are equal."""
    names = {path.parent.name for side in (before, after) for path in side.glob("*/config.pbtxt")}
    parts: list[str] = []
    for name in sorted(names):
        old, new = (_lines(side / name / "config.pbtxt") for side in (before, after))
        parts += difflib.unified_diff(old, new, f"before/{name}", f"after/{name}", n=1, lineterm="")
    return "\n".join(parts)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def _facts(manifest: Manifest, name: str) -> dict[str, str]:
    """What a reader compares, as text."""
    pipeline = manifest.pipelines[name]
    models = [model for model, entry in manifest.models.items() if entry.pipeline == name]
    size = sum(entry.size for path, entry in manifest.files.items() if path.partition("/")[0] in models)
    facts = {"target": pipeline.target, "size": f"{size:,} bytes"}
    facts["max batch"] = str(pipeline.batching["max_batch_size"])
    return facts | _engine(pipeline.notes.get("engine")) | _precision(pipeline.notes.get("precision"))


def _engine(engine: Mapping[str, Any] | None) -> dict[str, str]:
    if engine is None:
        return {}
    return {
        "builder": f"{engine['builder']['package']} {engine['builder']['version']}",
        "engine": f"{engine['bytes']:,} bytes",
        "precision": str(engine["precision"]),
        "layers": ", ".join(f"{count} {dtype}" for dtype, count in sorted(engine["layers"].items())),
        "profiles": ", ".join(profile["name"] for profile in engine["profiles"]),
        "flags": ", ".join(engine["flags"]),
    }


def _precision(report: Mapping[str, Any] | None) -> dict[str, str]:
    if report is None:
        return {}
    chosen = next(trial for trial in report["trials"] if trial["precision"] == report["chosen"])
    worst = min((score["value"] for score in chosen["scores"]), default=None)
    accuracy = {"accuracy": f"{report['metric']} {worst}"} if worst is not None else {}
    return {**accuracy, "kept layers": ", ".join(report["kept"]) or "none"}
