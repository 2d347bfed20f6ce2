"""The embedded server: it comes up, answers, stops for sure, and says why it does not come up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from repository_builder.console import Progress
from repository_builder.errors import RepositoryError, ServerError
from repository_builder.repository import lock
from repository_builder.serving import embedded, server
from repository_builder.serving.client import Client
from repository_builder.serving.server import serve
from tests.conftest import ROOT
from tests.server.models import CONFIG, DOUBLE, python_model, source

pytestmark = pytest.mark.server
X = np.arange(4, dtype=np.float32)[np.newaxis]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def test_an_ensemble_is_served_and_stopped(repository: Path) -> None:
    said: list[str] = []
    remember: Progress = lambda message, fraction=None: said.append(message)  # noqa: E731
    with serve(repository, progress=remember) as running, Client(running.grpc) as client:
        assert running.alive()
        assert running.ready()
        assert lock.is_served(repository)
        assert client.infer("both", {"x": X})["y"].tolist() == [[1, 3, 5, 7]]
        assert {state.name for state in client.models()} == {"double", "add", "both"}
        pid, scratch = running.pid, Path("/proc", str(running.pid), "cmdline").read_text().split("\0")
        assert all(f"--{name}-address=127.0.0.1" in scratch for name in ("http", "grpc", "metrics"))
    assert gone(pid)
    assert not lock.is_served(repository)
    assert said[-1] == "3 of 3 models loaded"
    assert "Started HTTPService" in running.log.read_text()


def test_a_served_repository_is_not_written_to(repository: Path) -> None:
    before = sorted(repository.rglob("*"))
    with serve(repository, graceful=False) as running, Client(running.grpc) as client:
        client.infer("both", {"x": X})
    assert sorted(repository.rglob("*")) == before


def test_fixed_ports_and_a_clash(repository: Path) -> None:
    http, grpc = server.ports.choose(0, "http"), server.ports.choose(0, "grpc")
    with serve(repository, http_port=http, grpc_port=grpc, graceful=False) as running:
        assert (running.http, running.grpc) == (f"127.0.0.1:{http}", f"127.0.0.1:{grpc}")
        with pytest.raises(ServerError, match=f"port {grpc} cannot be used for grpc") as caught:
            serve(repository, grpc_port=grpc).__enter__()
        assert f"process {running.pid} (tritonserver)" in str(caught.value)
        with serve(repository, graceful=False) as second:
            assert second.http != running.http


def test_a_clash_with_a_chosen_port_is_tried_again(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that is taken between choice and use: the first choice is made to be the running server's."""
    with serve(repository, graceful=False) as first:
        taken, real = int(first.http.rpartition(":")[2]), server.ports.choose
        choices = iter([taken])
        monkeypatch.setattr(server.ports, "choose", lambda *args: next(choices, None) or real(*args))
        with serve(repository, graceful=False) as second, Client(second.grpc) as client:
            assert second.http != first.http
            assert client.infer("both", {"x": X})["y"].tolist() == [[1, 3, 5, 7]]


def test_explicit_control_loads_by_request(repository: Path) -> None:
    with serve(repository, control="explicit", graceful=False) as running, Client(running.grpc) as client:
        with pytest.raises(ServerError, match="cannot ask for model `double`"):
            client.metadata("double")
        client.load("double")
        assert client.infer("double", {"x": X})["y"].tolist() == [[0, 2, 4, 6]]
        assert within(5, lambda: client.statistics("double").inference_count == 1), "counted just after the answer"
        client.unload("double")
        assert within(10, lambda: not [s for s in client.models() if s.name == "double" and s.state == "READY"])


def test_incomplete_configs_need_auto_complete(tmp_path: Path) -> None:
    complete = (
        DOUBLE
        + """
    @staticmethod
    def auto_complete_config(config):
        config.add_input({"name": "x", "data_type": "TYPE_FP32", "dims": [4]})
        config.add_output({"name": "y", "data_type": "TYPE_FP32", "dims": [4]})
        config.set_max_batch_size(8)
        return config
"""
    )
    python_model(tmp_path / "r", "m", complete, None)
    with pytest.raises(ServerError) as caught:
        serve(tmp_path / "r").__enter__()
    assert "--auto-complete" in str(caught.value)
    with serve(tmp_path / "r", auto_complete=True, graceful=False) as running, Client(running.grpc) as client:
        assert client.infer("m", {"x": X})["y"].tolist() == [[0, 2, 4, 6]]


BROKEN: Mapping[str, tuple[str | None, str | None, tuple[str, ...]]] = {
    "m": (None, CONFIG, ("m/1/model.py does not exist", "put `model.py`")),
    "two words": (DOUBLE, CONFIG, ("a model's name has a space", "rename")),
    "on_gpu": (DOUBLE, CONFIG.replace("CPU", "GPU"), ("no GPUs are available", "--rehearse")),
    "raises": (
        source("x", 'raise ValueError("no labels")'),
        CONFIG,
        ("ValueError: no labels", "model.py(4): initialize"),
    ),
    "syntax": ("def x(:\n", CONFIG, ("SyntaxError",)),
    "crash": ("import os\nos._exit(3)\n", CONFIG, ("ended while it was loading",)),
    "import": ("import torchvision\n", CONFIG, ("No module named 'torchvision'", "import only what")),
    "field": (DOUBLE, "max_batch: 3\n" + CONFIG, ('no field named "max_batch"', "triton-repo check")),
    "backend": (DOUBLE, CONFIG.replace("python", "pytorch"), ("has no backend `pytorch`", "NGC container")),
    "no_config": (DOUBLE, None, ("has no config.pbtxt", "--auto-complete")),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_model_that_does_not_load_says_why(tmp_path: Path, name: str) -> None:
    code, config, words = BROKEN[name]
    python_model(tmp_path / "r", name, code, config)
    python_model(tmp_path / "r", "sound", DOUBLE)
    begin = time.monotonic()
    with pytest.raises(ServerError) as caught:
        serve(tmp_path / "r").__enter__()
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert "`sound`" not in text
    assert caught.value.log is not None
    assert caught.value.log.is_file()
    assert time.monotonic() - begin < 20, "a hang must be noticed"


def test_all_models_that_fail_are_named_at_once(tmp_path: Path) -> None:
    for name in ("first", "second"):
        python_model(tmp_path / "r", name, source("x", f'raise ValueError("{name}")'))
    with pytest.raises(ServerError) as caught:
        serve(tmp_path / "r").__enter__()
    assert {problem.what for problem in caught.value.problems} == {
        "model `first` did not load",
        "model `second` did not load",
    }


def test_a_model_that_takes_too_long(tmp_path: Path) -> None:
    python_model(tmp_path / "r", "slow", source("x", "import time; time.sleep(100)"))
    with pytest.raises(ServerError, match="not ready after 2 s") as caught:
        serve(tmp_path / "r", ready_timeout_s=2, graceful=False).__enter__()
    assert "loading slow:1" in str(caught.value)


def test_what_is_no_repository(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    python_model(tmp_path / "r", "m", DOUBLE)
    cases = {
        "none": "does not exist",
        "file": "it is a file",
        "empty": "no model to serve",
        "r/m": "give the folder above",
    }
    for name, words in cases.items():
        with pytest.raises(RepositoryError) as caught:
            serve(tmp_path / name).__enter__()
        assert words in str(caught.value)


def test_a_server_that_is_killed_says_so(repository: Path) -> None:
    with serve(repository) as running:
        os.kill(running.pid, signal.SIGKILL)
        assert running.wait(10) == -signal.SIGKILL
        assert not running.alive()
        assert "killed by signal 9" in str(running.failure())


def stubs(pid: int) -> list[int]:
    """Processes in the server's process group: itself and the Python models'."""
    return [int(p.name) for p in Path("/proc").glob("[0-9]*") if _group(p) == pid]


def _group(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[2])
    except OSError:
        return 0


def test_killing_the_owner_leaves_nothing(repository: Path, tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(repository)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    processes = stubs(pid)
    assert len(processes) >= 3, "the server and two models"
    assert list(tmp_path.glob("triton-repo-*"))
    owner.kill()
    owner.wait()
    owner.stdout.close()
    assert within(25, lambda: all(gone(process) for process in processes))
    assert within(5, lambda: not list(tmp_path.glob("triton-repo-*")))
    assert within(5, lambda: not lock.is_served(repository))


OWNER = """
import sys, time
from pathlib import Path
from repository_builder.serving.server import serve
with serve(Path(sys.argv[1])) as server:
    print(server.pid, flush=True)
    time.sleep(1000)
"""


def test_the_second_use_needs_no_network(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed is installed: no pip, no index; in a network namespace of its own where the kernel permits one."""
    monkeypatch.setattr(embedded.subprocess, "Popen", _forbidden)
    monkeypatch.setattr(embedded.subprocess, "run", _forbidden)
    assert embedded.ensure().server.is_file()


def _forbidden(*_: object, **__: object) -> None:
    raise AssertionError("no program may be started to find an installed runtime")


LOOPBACK_UP = """
import fcntl, socket, struct
SIOCSIFFLAGS, UP_AND_RUNNING = 0x8914, 0x41
with socket.socket() as s:
    fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", UP_AND_RUNNING))
from repository_builder.cli import main
raise SystemExit(main())
"""


def test_everything_works_without_a_network(repository: Path) -> None:
    own_network = ["unshare", "--net", "--map-root-user"]
    if subprocess.run([*own_network, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("this kernel gives no network namespace to this user")
    command = [*own_network, sys.executable, "-c", LOOPBACK_UP, "verify", str(repository)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
