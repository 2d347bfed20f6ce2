"""The supervisor: no process and no file is left behind, however things end. The process here is a shell, not a Triton."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from repository_builder.serving.process import SupervisedProcess, Task
from tests.conftest import ROOT


def task(folder: Path, script: str, *, stop_timeout_s: float = 5) -> Task:
    scratch = folder / "scratch"
    scratch.mkdir()
    prefix = f"triton_repo_test_{uuid.uuid4().hex[:8]}_"
    Path("/dev/shm", f"{prefix}region").write_text("")
    return Task(["/bin/sh", "-c", script], dict(os.environ), folder / "log", stop_timeout_s, prefix, [scratch])


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def left_behind(given: Task) -> list[str]:
    return [*map(str, Path("/dev/shm").glob(f"{given.shm_prefix}*")), *(str(p) for p in given.remove if p.exists())]


def test_stop_is_gentle_and_cleans_up(tmp_path: Path) -> None:
    given = task(tmp_path, "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done")
    process = SupervisedProcess(given)
    assert within(5, lambda: "up" in given.log.read_text())
    assert process.alive()
    process.stop()
    assert process.wait() == 3
    assert given.log.read_text() == "up\nbye\n"
    assert left_behind(given) == []


def test_one_that_ignores_it_is_killed_with_its_children(tmp_path: Path) -> None:
    given = task(tmp_path, "trap '' TERM; sleep 1000 & echo $!; wait; sleep 1000", stop_timeout_s=0.3)
    process = SupervisedProcess(given)
    assert within(5, lambda: given.log.read_text().strip().isdigit())
    process.stop()
    assert process.wait() == -signal.SIGKILL
    assert within(5, lambda: gone(int(given.log.read_text())))
    assert left_behind(given) == []


def test_the_end_of_the_process_is_seen(tmp_path: Path) -> None:
    given = task(tmp_path, "exit 7")
    process = SupervisedProcess(given)
    assert process.wait(5) == 7
    assert not process.alive()
    process.stop()
    assert left_behind(given) == []


def test_wait_has_a_limit(tmp_path: Path) -> None:
    process = SupervisedProcess(task(tmp_path, "sleep 1000", stop_timeout_s=0))
    with pytest.raises(TimeoutError):
        process.wait(0.1)
    process.stop()


def test_killing_the_owner_ends_the_process(tmp_path: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert owner.stdout is not None
    pid, prefix = owner.stdout.readline().split()
    assert not gone(int(pid))
    owner.kill()
    owner.wait()
    owner.stdout.close()
    assert within(5, lambda: gone(int(pid)))
    assert within(5, lambda: not list(Path("/dev/shm").glob(f"{prefix}*")))
    assert within(5, lambda: not (tmp_path / "scratch").exists())


OWNER = """
import sys, time
from pathlib import Path
from repository_builder.serving.process import SupervisedProcess
from tests.unit.serving.test_process import task
given = task(Path(sys.argv[1]), "sleep 1000")
process = SupervisedProcess(given)
print(process.pid, given.shm_prefix, flush=True)
time.sleep(1000)
"""


def test_killing_the_supervisor_ends_the_process(tmp_path: Path) -> None:
    given = task(tmp_path, "exec sleep 1000")
    process = SupervisedProcess(given)
    process._supervisor.kill()
    assert within(5, lambda: gone(process.pid))
    process.stop()
    for name in left_behind(given):  # nobody is left to do it; a server removes its own shared memory
        Path(name).rmdir() if Path(name).is_dir() else Path(name).unlink()


def test_a_program_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    from repository_builder.errors import ServerError

    given = task(tmp_path, "")
    missing = Task(["/no/such/program"], {}, given.log, 1, given.shm_prefix, given.remove)
    with pytest.raises(ServerError, match="cannot start /no/such/program"):
        SupervisedProcess(missing)
    assert left_behind(given) == []
