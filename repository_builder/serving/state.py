"""Which servers run now: `serve` leaves a small file per server, so that `infer` and `verify` find them without a URL."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from repository_builder.resources import cache_folder
from repository_builder.serving.server import Server


@dataclass(frozen=True)
class RunningServer:
    """A server that `triton-repo serve` started and that still runs."""

    pid: int
    repository: str
    """Absolute path."""
    http: str
    grpc: str
    metrics: str
    log: str
    started: float
    """Seconds since 1970."""
    rehearsal: bool
    generation: int
    """Inode of the repository's folder when the server started: a build puts a new folder in its place."""

    @property
    def outdated(self) -> bool:
        """Whether the repository was built anew since, so that the server answers as the one before."""
        try:
            return Path(self.repository).stat().st_ino != self.generation
        except OSError:
            return True

    @classmethod
    def of(cls, server: Server, *, rehearsal: bool) -> Self:
        """The record of a server that runs here."""
        return cls(
            server.pid,
            str(server.repository),
            server.http,
            server.grpc,
            server.metrics,
            str(server.log),
            time.time(),
            rehearsal,
            server.repository.stat().st_ino,
        )


@contextmanager
def announced(server: RunningServer) -> Iterator[None]:
    """Let other commands find the server as long as the block runs."""
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{server.pid}.json"
    written = file.with_suffix(f".{os.getpid()}.new")
    written.write_text(json.dumps(asdict(server)))
    written.replace(file)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def running() -> list[RunningServer]:
    """Servers that run now, the newest first; records of dead ones are removed."""
    found = []
    for file in _folder().glob("*.json"):
        try:
            server = RunningServer(**json.loads(file.read_text()))
        except (OSError, ValueError, TypeError):
            continue
        if _is_triton(server.pid):
            found.append(server)
        else:
            file.unlink(missing_ok=True)
    return sorted(found, key=lambda server: server.started, reverse=True)


def serving(repository: Path) -> RunningServer | None:
    """The newest running server of this repository."""
    wanted = str(repository.resolve())
    return next((server for server in running() if server.repository == wanted), None)


def _folder() -> Path:
    return cache_folder() / "servers"


def _is_triton(pid: int) -> bool:
    """Whether the process id still belongs to a server, and not to something that came later."""
    try:
        return b"tritonserver" in Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0]
    except OSError:
        return False
