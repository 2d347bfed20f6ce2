"""A content-addressed store of stage results: key → folder. An entry is complete or absent; failures are never stored."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from repository_builder.build.stage import Stage, content_digest
from repository_builder.errors import CacheError

_TAG = "CACHEDIR.TAG"
_TAG_TEXT = "Signature: 8a477f597d28d172789f06886806bc55\n# Results of triton-repo's build stages; safe to delete.\n"
_SEAL = "entry.json"


class Cache:
    """The store. An entry is `<root>/<key[:2]>/<key>/` with `files/` and a seal: the recipe and the digest of every file."""

    def __init__(self, root: Path, warn: Callable[[str], None] = lambda _: None) -> None:
        self.root = root
        self._warn = warn

    def __contains__(self, stage: Stage) -> bool:
        """Whether a sealed entry exists (its files are not read)."""
        return (self._entry(stage.key) / _SEAL).is_file()

    def get(self, stage: Stage) -> Path | None:
        """The folder of a stage's result, or None. A damaged entry is removed with a warning."""
        entry = self._entry(stage.key)
        if not (entry / _SEAL).is_file():
            return None
        if fault := _fault(entry):
            self._warn(f"cache entry of {stage.name} is damaged ({fault}): it is built again")
            shutil.rmtree(entry, ignore_errors=True)
            return None
        return entry / "files"

    @contextmanager
    def lock(self, stage: Stage, waiting: Callable[[], None]) -> Iterator[None]:
        """Exclusive right to make one entry; `waiting` is called once if another process has it."""
        self._prepare()
        lock = FileLock(self._entry(stage.key).with_suffix(".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            waiting()
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def filling(self, stage: Stage) -> Iterator[Path]:
        """An empty folder to fill; becomes the entry when the block ends well, and vanishes when it does not."""
        self._prepare()
        work = Path(tempfile.mkdtemp(prefix=f"{stage.key[:12]}.", dir=self.root / "unfinished"))
        try:
            (work / "files").mkdir()
            yield work / "files"
            self._seal(stage, work)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _seal(self, stage: Stage, work: Path) -> None:
        files = {name: content_digest(work / "files" / name) for name in _names(work / "files")}
        seal = {"name": stage.name, "recipe": stage.recipe, "files": files}
        (work / _SEAL).write_text(json.dumps(seal, indent=1))
        entry = self._entry(stage.key)
        entry.parent.mkdir(exist_ok=True)
        shutil.rmtree(entry, ignore_errors=True)
        work.rename(entry)

    def clean(self) -> int:
        """Remove everything; returns the bytes freed. Refuses a folder that is not a cache."""
        if not self.root.exists():
            return 0
        if not (self.root / _TAG).is_file():
            raise CacheError(
                "cannot clean the cache",
                where=self.root,
                why=f"it has no {_TAG}: it is not our cache",
                fix="check the path",
            )
        freed = self.size()
        for child in self.root.iterdir():
            if child.is_dir():
                shutil.rmtree(child, ignore_errors=True)
        return freed

    def size(self) -> int:
        """Bytes of all entries."""
        return sum(file.stat().st_size for file in self.root.rglob("*") if file.is_file())

    def _entry(self, key: str) -> Path:
        return self.root / key[:2] / key

    def _prepare(self) -> None:
        try:
            (self.root / "unfinished").mkdir(parents=True, exist_ok=True)
            if not (self.root / _TAG).exists():
                (self.root / _TAG).write_text(_TAG_TEXT)
        except OSError as error:
            raise CacheError(
                "cannot use the build cache",
                where=self.root,
                why=error.strerror or str(error),
                fix="set TRITON_REPO_CACHE to a folder that can be written, with free space",
            ) from error


def _names(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


def _fault(entry: Path) -> str:
    try:
        expected = json.loads((entry / _SEAL).read_text())["files"]
    except (OSError, ValueError, KeyError):
        return "its seal cannot be read"
    files = entry / "files"
    if _names(files) != sorted(expected):
        return "files are missing or added"
    return next((f"{name} changed" for name, digest in expected.items() if content_digest(files / name) != digest), "")


def clear_unfinished(root: Path, older_than_s: float = 24 * 3600) -> None:
    """Remove work folders that a killed process left behind."""
    import time

    unfinished = root / "unfinished"
    if unfinished.is_dir():
        for folder in unfinished.iterdir():
            if time.time() - os.stat(folder).st_mtime > older_than_s:  # noqa: PTH116
                shutil.rmtree(folder, ignore_errors=True)
