"""A stage: a function that fills an empty folder, and a readable record of everything that may change its result."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from repository_builder.console import Progress

Recipe = dict[str, Any]
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class StageContext:
    """What a stage's function gets: the empty folder to fill and everything that its recipe names."""

    out: Path
    inputs: Mapping[str, Path]
    """Role → folder that the upstream stage filled (read only)."""
    sources: Mapping[str, Path]
    params: Mapping[str, Any]
    progress: Progress


@dataclass(frozen=True, eq=False)
class Stage:
    """One unit of work of a build; `key` names its result.

    `run` must be a function at the top level of a module: the digest of that module is part of the recipe, so that
    changed code never meets a stale result. `modules` adds other modules of ours on which the result depends.
    """

    name: str
    """`<model>/<stage>`, unique in a graph."""
    run: Callable[[StageContext], None]
    params: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    """Plain JSON values."""
    sources: Mapping[str, Path] = field(default_factory=lambda: _NOTHING)
    """Files or folders read by content; names and times of files given directly do not count."""
    needs: Mapping[str, Stage] = field(default_factory=lambda: _NOTHING)
    """Role → upstream stage."""
    tools: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    """Versions of everything outside that shapes the result: `{"onnx": "1.21.0", "gpu": "…"}`."""
    modules: tuple[str, ...] = ()

    @cached_property
    def recipe(self) -> Recipe:
        """Everything that may change the result, as plain JSON: compared by `plan` to say why a stage runs."""
        return {
            "stage": self.name.rpartition("/")[2],
            "code": _code_digest((self.run.__module__, *self.modules)),
            "params": _plain(dict(self.params)),
            "sources": {role: content_digest(path) for role, path in sorted(self.sources.items())},
            "needs": {role: stage.key for role, stage in sorted(self.needs.items())},
            "tools": dict(sorted(self.tools.items())),
        }

    @cached_property
    def key(self) -> str:
        """SHA-256 of the canonical recipe, in hex. The model's name is not part of it: equal work is done once."""
        return hashlib.sha256(json.dumps(self.recipe, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def content_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, or of a folder's relative names and bytes."""
    if path.is_dir():
        digest = hashlib.sha256()
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(f"{file.relative_to(path).as_posix()}\0{_file_digest(file)}\n".encode())
        return digest.hexdigest()
    return _file_digest(path)


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@lru_cache
def _code_digest(modules: Iterable[str]) -> str:
    import importlib

    digest = hashlib.sha256()
    for name in modules:
        source = inspect.getsource(importlib.import_module(name))
        digest.update(f"{name}\0{hashlib.sha256(source.encode()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))
