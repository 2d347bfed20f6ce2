"""`serve`, `infer`, `verify` as a user types them, and the load generator, all against the real server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from repository_builder.errors import ServerError
from repository_builder.repository.golden import Golden, write
from repository_builder.serving import ports
from repository_builder.serving.client import Client
from repository_builder.serving.perf_analyzer import PerfAnalyzer, sweep
from repository_builder.serving.server import Server, serve
from repository_builder.serving.verify import verify
from tests.conftest import ROOT
from tests.server.models import CONFIG, python_model, source

pytestmark = pytest.mark.server
Cli = Callable[..., "subprocess.CompletedProcess[str]"]

TEXT_MODEL = """import numpy as np, triton_python_backend_utils as pb
class TritonPythonModel:
    def execute(self, requests):
        return [self.one(pb.get_input_tensor_by_name(r, "text").as_numpy()) for r in requests]
    def one(self, texts):
        if any(text[0] == b"bad" for text in texts):
            return pb.InferenceResponse(error=pb.TritonError("the text is bad"))
        label = np.array([[text[0][::-1], text[0]] for text in texts], object)
        score = np.array([[0.75, 0.25] for _ in texts], np.float32)
        return pb.InferenceResponse([pb.Tensor("label", label), pb.Tensor("score", score)])
"""
TEXT_CONFIG = """backend: "python"
max_batch_size: 8
input { name: "text" data_type: TYPE_STRING dims: [1] }
output [{ name: "label" data_type: TYPE_STRING dims: [2] }, { name: "score" data_type: TYPE_FP32 dims: [2] }]
instance_group { kind: KIND_CPU count: 1 }
"""


@contextmanager
def serving(repository: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """`triton-repo serve --json` in a child process, and what it printed."""
    command = [sys.executable, "-m", "repository_builder", "serve", str(repository), "--json", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=_interruptible,  # noqa: PLW1509  (the child sets one signal and goes on to exec)
    ) as process:
        assert process.stdout is not None
        try:
            text = ""
            for line in process.stdout:
                text += line
                if line == "}\n":
                    break
            yield process, json.loads(text or "{}")
        finally:
            process.terminate()
            process.communicate(timeout=30)


def _interruptible() -> None:
    """A test run in the background ignores SIGINT, and its children would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that takes text and gives labels and scores, with a golden file."""
    folder = tmp_path_factory.mktemp("texts") / "repository"
    python_model(folder, "reverse", TEXT_MODEL, TEXT_CONFIG)
    text, label = np.empty((3, 1), object), np.empty((3, 2), object)
    text[:, 0] = [b"abc", "grün".encode(), b"\xff\x00"]
    label[:, 1] = text[:, 0]
    label[:, 0] = [item[::-1] for item in text[:, 0]]
    outputs = {"label": label, "score": np.array([[0.75, 0.25]] * 3, np.float32)}
    write(Golden({"text": text}, outputs, "three texts"), folder / "reverse" / "golden.npz")
    return folder


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_a_running_server_is_found_and_stops_cleanly(
    texts: Path, private_cache: Path, tmp_path: Path, cli: Cli, end: signal.Signals
) -> None:
    (tmp_path / "file.txt").write_text("hello")
    with serving(texts) as (process, record):
        assert record["repository"] == str(texts)
        answer = cli("infer", "reverse", "file.txt", "--text", "abc", "--json")
        assert answer.returncode == 0, answer.stderr
        results = json.loads(answer.stdout)["results"]
        assert [result["outputs"]["label"]["data"] for result in results] == [[["olleh", "hello"]], [["cba", "abc"]]]
        assert cli("verify", texts).returncode == 0
        process.send_signal(end)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 0, errors
        assert "Traceback" not in errors
    assert not Path(f"/proc/{record['pid']}").exists()
    assert not list((private_cache / "servers").iterdir())
    nobody = cli("infer", "reverse", "--text", "abc")
    assert nobody.returncode == 9
    assert "triton-repo serve model_repository" in nobody.stderr


def test_interrupted_while_loading(tmp_path: Path, private_cache: Path) -> None:
    python_model(tmp_path / "r", "slow", source("x", "import time; time.sleep(100)"))
    log = tmp_path / "log"
    command = [sys.executable, "-m", "repository_builder", "serve", str(tmp_path / "r"), "--log", str(log)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=_interruptible,  # noqa: PLW1509  (the child sets one signal and goes on to exec)
    ) as process:
        while not (log.is_file() and "TRITONBACKEND_ModelInstanceInitialize" in log.read_text()):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors


def test_a_server_stopped_from_outside_is_no_error(texts: Path, private_cache: Path) -> None:
    with serving(texts) as (process, record):
        os.kill(record["pid"], signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 0, errors


def test_infer_asks_the_server_that_has_the_model(texts: Path, repository: Path, private_cache: Path, cli: Cli) -> None:
    with serving(texts), serving(repository):
        assert cli("infer", "reverse", "--text", "abc").returncode == 0


def test_the_readable_answer_has_label_beside_score(texts: Path, private_cache: Path, cli: Cli) -> None:
    answer = cli("infer", "reverse", "--text", "abc", "--repository", texts)
    assert answer.returncode == 0, answer.stderr
    lines = [line.split() for line in answer.stdout.splitlines()]
    assert lines == [["input", "label", "score"], ["abc", "cba", "0.7500"], ["abc", "0.2500"]]


def test_one_bad_request_does_not_take_the_others(texts: Path, private_cache: Path, cli: Cli) -> None:
    answer = cli("infer", "reverse", "--text", "abc", "--text", "bad", "--repository", texts)
    assert answer.returncode == 9
    assert "cba" in answer.stdout
    assert "error: bad:" in answer.stderr
    assert "the text is bad" in answer.stderr


def test_wrong_use_is_explained(texts: Path, private_cache: Path, cli: Cli) -> None:
    assert "give at least one FILE" in cli("infer", "reverse").stderr
    assert "did you mean `reverse`" in cli("infer", "revers", "--text", "a", "--repository", texts).stderr
    nobody = cli("infer", "reverse", "--text", "a", "--url", f"127.0.0.1:{ports.choose(0, 'grpc')}")
    assert nobody.returncode == 9
    assert "no Triton answers there" in nobody.stderr
    none = cli("serve", "nowhere", "--json")
    assert none.returncode == 8
    assert json.loads(none.stdout)["errors"][0]["what"] == "there is no model repository nowhere"


def test_a_port_in_use(texts: Path, private_cache: Path, cli: Cli) -> None:
    with serving(texts) as (_, record):
        port = record["grpc"].rpartition(":")[2]
        answer = cli("serve", texts, "--grpc-port", port)
        assert answer.returncode == 9
        assert f"process {record['pid']} (tritonserver)" in answer.stderr


def test_a_server_that_dies_ends_serve_with_an_error(texts: Path, private_cache: Path) -> None:
    with serving(texts) as (process, record):
        os.kill(record["pid"], signal.SIGKILL)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 9
        assert "killed by signal 9" in errors


@pytest.fixture(scope="module")
def running(repository: Path) -> Iterator[Server]:
    with serve(repository, graceful=False) as server:
        yield server


def test_verify_replays_every_golden_file(running: Server, repository: Path) -> None:
    (result,) = verify(running, repository)
    assert (result.model, result.samples, result.requests, result.passed) == ("both", 20, 3, True)
    assert result.outputs[0].max_abs is not None


def test_verify_catches_a_planted_difference(
    repository: Path, texts: Path, tmp_path: Path, private_cache: Path, cli: Cli
) -> None:
    planted = tmp_path / "planted"
    python_model(planted, "double", source("x * 2"))
    x = np.ones((10, 4), np.float32)
    y = 2 * x
    y[9, 3] = 2.5
    write(Golden({"x": x}, {"y": y}, "planted"), planted / "double" / "golden.npz")
    answer = cli("verify", planted)
    assert answer.returncode == 5
    assert "y: 1 of 40 elements differ, worst at [9, 3]: expected 2.5, got 2.0" in answer.stderr
    shown = cli("verify", planted, "--json")
    assert shown.returncode == 5
    assert json.loads(shown.stdout)["verifications"][0]["outputs"][0]["worst"]["index"] == [9, 3]


def test_a_model_without_batching_is_asked_once(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    python_model(folder, "flat", source("x * 2"), CONFIG.replace("max_batch_size: 8", "max_batch_size: 0"))
    x = np.arange(4, dtype=np.float32)
    write(Golden({"x": x}, {"y": 2 * x, "gone": x}, "made"), folder / "flat" / "golden.npz")
    with serve(folder, graceful=False) as server:
        (result,) = verify(server, folder)
    assert (result.requests, [output.equal for output in result.outputs]) == (1, [True, False])
    assert result.outputs[1].why == "the model has no output `gone`"


def test_inputs_are_checked_before_they_are_sent(running: Server) -> None:
    with Client(running.grpc) as client:
        with pytest.raises(ServerError) as caught:
            client.infer("both", {"x": np.zeros((1, 5)), "z": np.zeros(1, np.float32)})
        text = str(caught.value)
        assert "has no input `z`" in text
        assert "takes FP32, and the array is FP64" in text
        assert "has shape [1, 5]" in text
        with pytest.raises(ServerError, match="cannot infer"):
            client.infer("both", {})


def test_a_request_that_takes_too_long(tmp_path: Path) -> None:
    python_model(tmp_path / "r", "slow", source("(__import__('time').sleep(5), x)[1]"))
    with serve(tmp_path / "r", graceful=False) as server, Client(server.grpc, timeout_s=0.5) as client:
        with pytest.raises(ServerError, match="cannot infer with model `slow`") as caught:
            client.infer("slow", {"x": np.zeros((1, 4), np.float32)})
        assert "no answer within 0.5 s" in str(caught.value)


def test_load_is_measured_with_golden_inputs(running: Server, repository: Path, texts: Path) -> None:
    analyzer = PerfAnalyzer.find()
    points = sweep(analyzer, running, "both", repository, levels=(1, 4), seconds=0.4)
    assert [point.concurrency for point in points] == [1, 4]
    assert all(point.inferences_per_s > 10 and 0 < point.p50_us <= point.p99_us for point in points)
    with serve(texts, graceful=False) as server:
        (point,) = sweep(analyzer, server, "reverse", texts, levels=(2,), seconds=0.2)
        assert point.inferences_per_s > 10
    with pytest.raises(ServerError, match="could not be measured"):
        analyzer.measure(running, "nobody", concurrency=1, seconds=0.2, input_data=repository / "both" / "golden.npz")


REHEARSED = """backend: "tensorrt"
platform: "tensorrt_plan"
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: [4] }
output { name: "y" data_type: TYPE_FP32 dims: [4] }
instance_group [{ kind: KIND_GPU count: 1 gpus: [0] profile: ["0"] }]
"""
GRAPH = '<ir_version: 8, opset_import: ["" : 17]> g (float[N,4] x) => (float[N,4] y) { y = Neg(x) }'


def test_a_tensorrt_repository_is_rehearsed_loudly(tmp_path: Path, private_cache: Path, cli: Cli) -> None:
    folder = tmp_path / "r" / "net"
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(REHEARSED)
    (folder / "1" / "model.plan").write_bytes(b"an engine for a GPU that is not here")
    onnx.save(onnx.parser.parse_model(GRAPH), folder / "1" / "model.onnx")
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    write(Golden({"x": x}, {"y": -x}, "made"), folder / "golden.npz")
    plain = cli("verify", "r")
    assert plain.returncode == 9
    assert "--rehearse" in plain.stderr
    rehearsed = cli("verify", "r", "--rehearse")
    assert rehearsed.returncode == 0, rehearsed.stderr
    assert "REHEARSAL: net: instance_group[0]: KIND_GPU, gpus [0], profile ['0'] → KIND_CPU" in rehearsed.stderr
    assert (folder / "config.pbtxt").read_text() == REHEARSED
