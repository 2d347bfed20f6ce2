"""The owner's end of a supervised server process; see `supervisor.py` for what it guarantees."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from repository_builder.errors import ServerError

_SUPERVISOR = Path(__file__).with_name("supervisor.py")


@dataclass(frozen=True)
class Task:
    """A process to run: what, where its output goes, and what to remove when it has ended."""

    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    stop_timeout_s: float
    shm_prefix: str
    """Files in /dev/shm that begin with this belong to the process."""
    remove: Sequence[Path] = ()
    keep_open: Sequence[int] = field(default=())
    """File descriptors that live as long as the supervisor: locks."""

    def as_json(self) -> str:
        """One line, as the supervisor reads it."""
        return json.dumps(
            {
                "command": list(self.command),
                "environment": dict(self.environment),
                "log": str(self.log),
                "stop_timeout_s": self.stop_timeout_s,
                "shm_prefix": self.shm_prefix,
                "remove": [str(path) for path in self.remove],
            }
        )


class SupervisedProcess:
    """A running process that ends when `stop` is called or when this process ends."""

    def __init__(self, task: Task) -> None:
        self._stop_timeout_s = task.stop_timeout_s
        self._supervisor = subprocess.Popen(
            [sys.executable, "-I", "-S", _SUPERVISOR],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            pass_fds=tuple(task.keep_open),
        )
        self._code: int | None = None
        self._send(task.as_json())
        self.pid = self._started(task)

    def _send(self, line: str) -> None:
        assert self._supervisor.stdin is not None  # noqa: S101  (PIPE was asked for)
        with contextlib.suppress(BrokenPipeError):
            self._supervisor.stdin.write(line.encode() + b"\n")
            self._supervisor.stdin.flush()

    def _started(self, task: Task) -> int:
        assert self._supervisor.stdout is not None  # noqa: S101  (PIPE was asked for)
        word, _, pid = self._supervisor.stdout.readline().decode().partition(" ")
        if word != "started":
            self.stop()
            raise ServerError(
                f"cannot start {task.command[0]}", why="the supervisor ended", fix="see the messages above"
            )
        return int(pid)

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._supervisor.poll() is None

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for the process to end; its exit code, negative for a signal. `TimeoutError` after `timeout_s`."""
        try:
            self._supervisor.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        if self._code is None:
            assert self._supervisor.stdout is not None  # noqa: S101  (PIPE was asked for)
            word, _, code = self._supervisor.stdout.read().decode().strip().partition(" ")
            self._code = int(code) if word == "exited" else -9
        return self._code

    def stop(self) -> None:
        """End the process: gently, then by force; returns when it is gone and cleaned up after."""
        if self._supervisor.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._supervisor.stdin.close()
        try:
            self.wait(self._stop_timeout_s + 10)
        except TimeoutError:
            self._supervisor.kill()
            self.wait()
        if self._supervisor.stdout is not None:
            self._supervisor.stdout.close()
