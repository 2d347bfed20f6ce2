"""The records of running servers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from repository_builder.serving import state


def record(repository: Path, pid: int) -> state.RunningServer:
    return state.RunningServer(pid, str(repository), "h", "g", "m", "log", time.time(), False, repository.stat().st_ino)


@pytest.fixture
def process(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Something that calls itself `tritonserver`."""
    program = tmp_path / "tritonserver"
    program.symlink_to(sys.executable)
    running = subprocess.Popen([program, "-c", "import time; time.sleep(1000)"])
    while b"tritonserver" not in Path(f"/proc/{running.pid}/cmdline").read_bytes():
        time.sleep(0.01)
    yield running
    running.kill()
    running.wait()


def test_a_running_server_is_found_by_its_repository(fresh_cache: Path, tmp_path: Path, process) -> None:  # type: ignore[no-untyped-def]
    repository = tmp_path / "repository"
    repository.mkdir()
    with state.announced(record(repository, process.pid)):
        found = state.serving(repository)
        assert found is not None
        assert found.pid == process.pid
        assert not found.outdated
        assert state.serving(tmp_path) is None
        repository.rename(tmp_path / "before")
        repository.mkdir()
        assert found.outdated
    assert state.running() == []


def test_records_of_the_dead_and_of_others_are_removed(fresh_cache: Path, tmp_path: Path) -> None:
    with state.announced(record(tmp_path, os.getpid())):
        assert state.running() == [], "this process is no Triton"
        assert not list((fresh_cache / "servers").glob("*.json"))


def test_rubbish_is_passed_over(fresh_cache: Path) -> None:
    (fresh_cache / "servers").mkdir(parents=True)
    (fresh_cache / "servers" / "1.json").write_text("{")
    assert state.running() == []
