"""Runs one server process and never leaves it behind. A program of its own; standard library only.

Started by `process.py` with a JSON task on standard input. As long as that pipe stays open the server runs; when it
closes (on purpose, or since the owner died by whatever signal) the server gets SIGTERM, after a while SIGKILL with
everything in its process group, and what it left in /dev/shm and in temporary folders is removed. Says on standard
output `started PID` and `exited CODE`, or `failed REASON`. If this program itself is killed, the kernel sends SIGTERM
to the server.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Run the task that standard input describes; the exit code is that of a supervisor, not of the server."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os.dup2(os.open(os.devnull, os.O_RDONLY), 0))
    task = json.loads(_first_line())
    try:
        said = f"exited {_run(task)}"
    except OSError as error:
        said = f"failed {error}"
    finally:
        _clean(task)
    _say(said)
    return 0


def _run(task: dict[str, Any]) -> int:
    with Path(task["log"]).open("ab") as log:
        server = subprocess.Popen(
            task["command"],
            env=task["environment"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,
            preexec_fn=_die_with_parent,  # noqa: PLW1509  (this process has one thread)
        )
    _say(f"started {server.pid}")
    try:
        _wait_for_either(server)
        if server.poll() is None:
            server.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(task["stop_timeout_s"])
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
    return server.wait()


def _wait_for_either(server: subprocess.Popen[bytes]) -> None:
    """Return when the server has ended or its owner is gone."""
    owner = os.getppid()
    handle = os.pidfd_open(server.pid)
    watched = select.poll()
    watched.register(0, select.POLLIN | select.POLLHUP)
    watched.register(handle, select.POLLIN)
    while not watched.poll(1000):
        if os.getppid() != owner:
            return


def _clean(task: dict[str, Any]) -> None:
    for path in Path("/dev/shm").glob(f"{task['shm_prefix']}*"):  # noqa: S108  (Triton's place, not ours)
        path.unlink(missing_ok=True)
    for name in task["remove"]:
        if Path(name).is_dir():
            shutil.rmtree(name, ignore_errors=True)
        else:
            Path(name).unlink(missing_ok=True)


def _first_line() -> bytes:
    """The first line of standard input, not a byte more: what follows is the end of the pipe."""
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(0, 1 << 16)
        if not piece:
            sys.exit(1)
        line += piece
    return line


def _say(text: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(1, f"{text}\n".encode())


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
