"""Repositories and a private cache for the tests of the real server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from repository_builder.repository.golden import Golden, write
from repository_builder.resources import cache_folder
from repository_builder.serving import embedded
from tests.server.models import ADD, DOUBLE, ENSEMBLE, python_model

LOST_SERVERS = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def runtime() -> embedded.EmbeddedRuntime:
    """The embedded runtime, installed once for everybody."""
    return embedded.ensure()


@pytest.fixture(scope="session")
def lost_servers(pytestconfig: pytest.Config) -> list[str]:
    """Servers that crashed and were replaced, for the end of the report: the tests pass, but not in silence."""
    return pytestconfig.stash.setdefault(LOST_SERVERS, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What `lost_servers` holds."""
    if losses := terminalreporter.config.stash.get(LOST_SERVERS, []):
        terminalreporter.section("servers that crashed and were replaced")
        terminalreporter.write_line("\n".join(losses))


@pytest.fixture
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: embedded.EmbeddedRuntime) -> Path:
    """A cache of this test's own (logs, records of running servers) that shares the installed runtime."""
    folder = tmp_path / "private-cache"
    folder.mkdir()
    (folder / "embedded").symlink_to(runtime.folder.parent)
    (folder / "perf_analyzer").symlink_to(cache_folder() / "perf_analyzer")
    monkeypatch.setenv("TRITON_REPO_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two Python models and the ensemble of both, with golden files: y = 2x + 1."""
    folder = tmp_path_factory.mktemp("served") / "repository"
    python_model(folder, "double", DOUBLE)
    python_model(folder, "add", ADD)
    (folder / "both" / "1").mkdir(parents=True)
    (folder / "both" / "config.pbtxt").write_text(ENSEMBLE)
    x = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    write(Golden({"x": x}, {"y": 2 * x + 1}, "random, seed 0"), folder / "both" / "golden.npz")
    return folder


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """No test may leave a shared memory region of ours."""
    yield
    deadline = time.monotonic() + 5  # servers of tests that run at the same time may be on their way out
    while (orphans := _orphans()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not orphans


def _orphans() -> list[str]:
    return [path.name for path in Path("/dev/shm").glob("triton_repo_*") if _is_orphan(path.name)]


def _is_orphan(name: str) -> bool:
    """Regions that no process maps (other tests may run servers at the same time)."""
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            if name in maps.read_text():
                return False
        except OSError:
            continue
    return True
