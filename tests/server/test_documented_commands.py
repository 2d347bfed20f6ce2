"""Commands in the documentation are typed for real, page by page, in a folder like the one a reader has."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.unit.test_docs import PAGES, commands, typed

pytestmark = [pytest.mark.server, pytest.mark.slow]

ELSEWHERE = {
    r"--url|gpu-box": "asks a server on another machine",
    r"--container|--in-container": "needs Docker",
    r"--add-plan-from|on_the_a10": "needs engines of two machines: built in tests/unit/repository/test_added_plans.py",
    r"\bprofile\b(?!s)": "needs a GPU",
    r"^triton-repo upgrade": "needs a GPU",
    r"/opt/tensorrt": "needs TensorRT's headers",
    r"infer sentence_embedding": "needs the other example: asked in tests/server/test_examples.py",
    r"model_repository/net": "shows a mistake",
    r"plugin new|my_op": "needs a graph with the operator: typed in tests/unit/plugins",
    r"^triton-repo export": "needs a PyTorch or TensorFlow model: typed in tests/unit/commands/test_export.py",
}
"""Pattern → why a documented command cannot run on a machine without a GPU, Docker or a second host. It is still parsed."""
ENDLESS = ("serve",)
SHORT = {"sweep": ["--budget", "3s", "--window", "300ms", "--pairs", "1"]}
"""Options that make a command end soon; given last, they win."""


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with what the pages talk about: the examples, a spec of the reader's own, a graph, a picture."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(ROOT / "examples", folder / "examples")
    for name in ("digits.onnx", "labels.txt", "deploy.yaml"):
        shutil.copy(ROOT / "examples/digits" / name, folder / name)
    shutil.copytree(ROOT / "examples/digits/samples", folder / "samples")
    shutil.copy(ROOT / "examples/digits/samples/3_0.png", folder / "image.png")
    (folder / "models").mkdir()
    for copy in ("model.onnx", "models/model.onnx", "a.onnx", "b.onnx"):
        shutil.copy(ROOT / "examples/digits/digits.onnx", folder / copy)
    np.save(folder / "pixels.npy", np.zeros((1, 1, 8, 8), np.float32))
    (folder / "requests.jsonl").write_text('{"pixels": [1, 1, 8, 8]}\n{"pixels": [6, 1, 8, 8]}\n')
    built = run(folder, ["build", "examples/digits/deploy.yaml"])
    assert built.returncode == 0, built.stderr
    for copy in ("repository_a", "repository_b"):
        shutil.copytree(folder / "model_repository", folder / copy)
    with _served(folder):
        yield folder


@contextmanager
def _served(folder: Path) -> Iterator[None]:
    """`triton-repo serve model_repository` in another terminal, as the pages assume."""
    process, _ = _start(folder, ["serve", "model_repository"])
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def run(folder: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "repository_builder", *arguments],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def _start(folder: Path, arguments: list[str]) -> tuple[subprocess.Popen[str], str]:
    """Start a command that runs until Ctrl-C, and wait until it says that it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", "repository_builder", *arguments],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    watchdog = threading.Timer(90, process.kill)
    watchdog.start()
    seen = ""
    assert process.stdout
    for line in process.stdout:
        seen += line
        if "metrics" in line:
            break
    watchdog.cancel()
    return process, seen


def serve_briefly(folder: Path, arguments: list[str]) -> tuple[int, str]:
    """Start, wait, press Ctrl-C."""
    process, seen = _start(folder, arguments)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    return process.returncode, seen + rest


def expanded(word: str, folder: Path) -> list[str]:
    """What a shell makes of a word with `*`."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.glob(word)) if "*" in word else []
    return names or [word]


@pytest.mark.parametrize(
    "page", [p for p in PAGES if p.parent.name != "rules"], ids=lambda page: str(page.relative_to(ROOT))
)
def test_a_page_can_be_followed(page: Path, reader: Path) -> None:
    for line in commands(page):  # a p99 that a loaded machine cannot keep (5) is an answer too
        if any(re.search(pattern, line) for pattern in ELSEWHERE):
            continue
        arguments = [name for word in typed(line) for name in expanded(word, reader)]
        arguments += SHORT.get(arguments[0], [])
        if arguments[0] in ENDLESS:
            code, output = serve_briefly(reader, arguments)
        else:
            answer = run(reader, arguments)
            code, output = answer.returncode, answer.stdout + answer.stderr
        assert code in ((0, 5) if "--latency-p99" in line else (0,)), f"{line}\n{output[-3000:]}"
