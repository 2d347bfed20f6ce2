"""Triton's request traces: switched on by flags, written as its own JSON, turned into what Perfetto and Chrome open."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from repository_builder.errors import ServerError

_SPANS = (
    ("request", "REQUEST_START", "REQUEST_END"),
    ("queue", "QUEUE_START", "COMPUTE_START"),
    ("input", "COMPUTE_START", "COMPUTE_INPUT_END"),
    ("compute", "COMPUTE_INPUT_END", "COMPUTE_OUTPUT_START"),
    ("output", "COMPUTE_OUTPUT_START", "COMPUTE_END"),
)
"""Span → the time stamps at which it begins and ends."""


def arguments(file: Path, rate: int) -> tuple[str, ...]:
    """Flags of `tritonserver` that trace every `rate`-th request into `file`."""
    settings = ("mode=triton", f"triton,file={file.absolute()}", f"rate={rate}", "level=TIMESTAMPS", "count=-1")
    return tuple(f"--trace-config={setting}" for setting in settings)


def timeline_file(file: Path) -> Path:
    """Where the timeline of a trace goes: `trace.json` → `trace.timeline.json`."""
    return file.with_suffix(f".timeline{file.suffix or '.json'}")


def write_timeline(file: Path) -> Path:
    """Turn a finished trace into a timeline beside it. Raises ServerError if it cannot be read."""
    try:
        traced = json.loads(file.read_text(encoding="utf-8") or "[]")
    except (OSError, ValueError) as error:
        raise ServerError(
            "cannot read the trace", where=file, why=str(error), fix="let the server end by itself (Ctrl-C once)"
        ) from error
    target = timeline_file(file)
    target.write_text(json.dumps({"traceEvents": list(timeline(traced)), "displayTimeUnit": "ms"}))
    return target


def timeline(traced: Iterable[Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
    """Chrome trace events: one row per request, the models of an ensemble below the ensemble's own."""
    models: dict[int, str] = {}
    parents: dict[int, int] = {}
    stamps: dict[int, dict[str, int]] = {}
    for entry in traced:
        number = entry["id"]
        if "model_name" in entry:
            models[number] = entry["model_name"]
            parents[number] = entry.get("parent_id", number)
        for stamp in entry.get("timestamps", ()):
            stamps.setdefault(number, {})[stamp["name"]] = stamp["ns"]
    for number, times in stamps.items():
        row = parents.get(number, number)
        for span, begin, end in _SPANS:
            if begin in times and end in times:
                name = models.get(number, "?") if span == "request" else span
                yield {
                    "name": name,
                    "cat": models.get(number, "?"),
                    "ph": "X",
                    "ts": times[begin] / 1e3,
                    "dur": (times[end] - times[begin]) / 1e3,
                    "pid": 1,
                    "tid": row,
                }
