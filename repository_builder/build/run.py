"""Run a graph of stages through the cache."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from repository_builder.build.cache import Cache
from repository_builder.build.graph import in_order
from repository_builder.build.stage import Stage, StageContext
from repository_builder.console import Progress
from repository_builder.errors import CacheError, RepositoryBuilderError


@dataclass(frozen=True)
class Artifacts:
    """Results of a run: stage name → folder, and which stages really ran."""

    folders: Mapping[str, Path]
    ran: tuple[str, ...]

    def of(self, stage: Stage) -> Path:
        """The folder of a stage's result."""
        return self.folders[stage.name]


class Reporter(Protocol):
    """Hears what happens to each stage."""

    def stage(self, stage: Stage, event: Literal["cached", "running", "waiting", "done"]) -> None: ...

    def progress(self, stage: Stage) -> Progress: ...


def run(stages: Mapping[str, Stage], cache: Cache, reporter: Reporter) -> Artifacts:
    """Run what is not cached, upstream first; stops at the first failure and names what was therefore not run."""
    order = in_order(stages)
    folders: dict[str, Path] = {}
    ran: list[str] = []
    for index, stage in enumerate(order):
        try:
            folders[stage.name] = _obtain(stage, cache, folders, reporter, ran)
        except RepositoryBuilderError as error:
            error.stage = error.stage or stage.name
            left = ", ".join(later.name for later in order[index + 1 :])
            if left:
                error.add_note(f"not run therefore: {left}")
            raise
    return Artifacts(folders, tuple(ran))


def _obtain(stage: Stage, cache: Cache, folders: dict[str, Path], reporter: Reporter, ran: list[str]) -> Path:
    if hit := cache.get(stage):
        reporter.stage(stage, "cached")
        return hit
    with cache.lock(stage, lambda: reporter.stage(stage, "waiting")):
        if hit := cache.get(stage):  # another process made it while we waited
            reporter.stage(stage, "cached")
            return hit
        reporter.stage(stage, "running")
        with _disk_errors(stage, cache), cache.filling(stage) as out:
            inputs = {role: folders[upstream.name] for role, upstream in stage.needs.items()}
            stage.run(StageContext(out, inputs, stage.sources, stage.params, reporter.progress(stage)))
        reporter.stage(stage, "done")
        ran.append(stage.name)
    made = cache.get(stage)
    if made is None:
        raise CacheError(f"the result of {stage.name} vanished", where=cache.root, why="", fix="build again")
    return made


class _disk_errors:  # noqa: N801  (reads as a statement)
    """Turns a full or read-only disk under the cache into an error that says so."""

    def __init__(self, stage: Stage, cache: Cache) -> None:
        self._stage, self._root = stage, cache.root

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise CacheError(
                f"cannot store the result of {self._stage.name}",
                where=self._root,
                why=error.strerror or str(error),
                fix="free some space, or set TRITON_REPO_CACHE to a folder on a larger disk",
            ) from error
