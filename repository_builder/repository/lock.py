"""Who builds and who serves a repository. Kernel locks: they end with the process that holds them, however it ends.

A builder holds an exclusive lock on `.<name>.lock` beside the repository. A server holds a shared lock on the repository's
folder itself, which stays with that generation of the folder when a build puts a new one in its place.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from repository_builder.errors import RepositoryError


@contextmanager
def building(repository: Path) -> Iterator[None]:
    """The exclusive right to replace a repository; raises RepositoryError at once if another build has it."""
    file = repository.with_name(f".{repository.name}.lock")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise RepositoryError(
            f"cannot build into {repository}",
            where=file,
            why=error.strerror or str(error),
            fix="build as a user who may write there, or elsewhere with `--output`",
        ) from error
    try:
        _take(descriptor, repository)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def serving(repository: Path) -> Iterator[int]:
    """Tells builders that this generation of the repository is being served, as long as the block runs.

    Yields the file descriptor that holds the lock: a process that inherits it keeps the lock when this one dies.
    """
    descriptor = os.open(repository, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield descriptor
    finally:
        os.close(descriptor)


def is_served(repository: Path) -> bool:
    """Whether some process serves this generation of the repository through `serving`."""
    descriptor = os.open(repository, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def _take(descriptor: int, repository: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace") or "unknown"
        raise RepositoryError(
            f"another build is writing {repository}",
            why=f"process {holder} holds the build lock",
            fix="wait until it has finished, or build elsewhere with `--output`",
        ) from None
