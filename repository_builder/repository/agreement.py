"""The reference of this build against that of the last: the same spec and sources must still give the same answers.

What then differs is a tool: a newer image decoder, tokenizer, exporter or runtime. Nothing else would tell, since engine and
server are both compared with the *new* reference.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from repository_builder.errors import Problem
from repository_builder.repository import golden
from repository_builder.repository.manifest import Manifest, PipelineEntry

PARTS = ("source", "preprocess", "postprocess", "golden")
"""What of a spec decides the reference's answers."""
CODE = ".code/"
"""Our own Python models among the sources: a newer toolkit must give the same answers as well."""


def changed_answers(before: Manifest, after: Manifest, old: Path, contents: Mapping[str, Any]) -> Iterator[Problem]:
    """Every output of a reference that is not what it was, for models whose spec and sources are what they were.

    `old` is the repository of `before`; `contents` are the files of the new one (path below its root → where it is).
    """
    for name in before.pipelines.keys() & after.pipelines.keys():
        was, now = before.pipelines[name], after.pipelines[name]
        recorded, fresh = old / name / golden.FILENAME, contents.get(f"{name}/{golden.FILENAME}")
        if isinstance(fresh, Path) and _same_question(was, now) and _untouched(recorded, before.models[name].files):
            found = _differences(golden.read(recorded), golden.read(fresh))
            yield from (_problem(name, output, how, before, after) for output, how in found)


def _same_question(was: PipelineEntry, now: PipelineEntry) -> bool:
    return all(was.spec.get(part) == now.spec.get(part) for part in PARTS) and _files(was) == _files(now)


def _untouched(file: Path, digests: Mapping[str, str]) -> bool:
    """Whether the old record is the one that the last build wrote."""
    return file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == digests.get(file.name)


def _files(entry: PipelineEntry) -> dict[str, str]:
    return {role: digest for role, digest in entry.sources.items() if CODE not in role}


def _differences(was: golden.Golden, now: golden.Golden) -> Iterator[tuple[str, str]]:
    import numpy as np

    asked = was.inputs.keys() == now.inputs.keys()
    if not asked or not all(np.array_equal(was.inputs[name], now.inputs[name]) for name in now.inputs):
        return  # other inputs were made, e.g. at random for a new shape
    for name in was.outputs.keys() & now.outputs.keys():
        old, new = was.outputs[name], now.outputs[name]
        if old.shape != new.shape or old.dtype != new.dtype:
            yield name, f"{new.dtype}{list(new.shape)}, it was {old.dtype}{list(old.shape)}"
        elif old.dtype.kind == "f":
            if not np.allclose(new, old, atol=now.atol, rtol=now.rtol, equal_nan=True):
                yield name, f"largest difference {np.nanmax(np.abs(new.astype(float) - old.astype(float))):.4g}"
        elif not np.array_equal(old, new):
            yield name, f"{int((old != new).sum())} of {old.size} values differ"


def _problem(name: str, output: str, how: str, before: Manifest, after: Manifest) -> Problem:
    tools = before.machine.get("packages", {}), after.machine.get("packages", {})
    moved = [f"{tool} {tools[0].get(tool, '-')} → {tools[1].get(tool, '-')}" for tool in tools[0].keys() | tools[1].keys()
             if tools[0].get(tool) != tools[1].get(tool)]  # fmt: skip
    since = f"; since then: {', '.join(sorted(moved))}" if moved else ""
    return Problem(
        f"the reference of `{name}` no longer gives the answers of the last build",
        f"output `{output}` of the golden inputs",
        f"{how}, though spec and sources are the same{since}",
        "pin the tool that changed; accept the new answers with `--set-baseline`",
    )
