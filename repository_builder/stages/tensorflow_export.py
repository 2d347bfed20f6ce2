"""A TensorFlow SavedModel becomes an ONNX graph, by tf2onnx in an environment of its own, and is compared with it.

A SavedModel is a program: loading one runs it. It is therefore opened on the user's word only, and in a child process.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repository_builder.console import Progress
from repository_builder.errors import SpecError, StageFailed
from repository_builder.stages.tool_environment import ToolEnvironment

ENVIRONMENT = ToolEnvironment(
    "tensorflow", "TensorFlow and tf2onnx", Path(__file__).with_name("tensorflow.lock"), disk_gb=2
)
WORKER = Path(__file__).with_name("tensorflow_worker.py")
NEWEST_OPSET = 18
"""The newest opset that tf2onnx 1.17 writes."""

SIZES = (2, 3)
"""Sizes of dynamic dims at which graph and SavedModel are compared."""


def export(saved_model: Path, out: Path, *, opset: int, signature: str, progress: Progress) -> None:
    """Convert into the file `out`, and prove that the outputs are equal at two sizes of every dynamic dim."""
    if not (saved_model / "saved_model.pb").is_file():
        raise SpecError(
            f"`{saved_model.name}` is no SavedModel",
            where=saved_model,
            why="a folder with `saved_model.pb` is expected",
            fix="save the model with `tf.saved_model.save` or `model.export`",
        )
    if opset > NEWEST_OPSET:
        raise SpecError(f"tf2onnx writes up to opset {NEWEST_OPSET}, not {opset}", where="--opset", fix="lower it")
    python = ENVIRONMENT.ensure(progress)
    progress("converting with tf2onnx")
    arguments = ["--saved-model", str(saved_model), "--output", str(out), "--opset", str(opset)]
    _run([str(python), "-m", "tf2onnx.convert", *arguments, "--signature_def", signature], saved_model)
    progress("comparing the graph with the SavedModel")
    for size in SIZES:
        _compare(python, saved_model, out, signature, size)


def _compare(python: Path, saved_model: Path, graph: Path, signature: str, size: int) -> None:
    import numpy as np

    from repository_builder.onnx_graph import equal, execute, read, samples

    interface = read.interface(read.load(graph))
    inputs = samples.generate(interface, dict.fromkeys(samples.symbols(interface), size))
    found = execute.run(execute.session(graph), inputs)
    with tempfile.TemporaryDirectory(prefix="triton-repo-tensorflow-") as scratch:
        folder = Path(scratch)
        np.savez(folder / "inputs.npz", **inputs)
        request = {"saved_model": str(saved_model), "signature": signature, "folder": scratch}
        (folder / "request.json").write_text(json.dumps(request))
        _run([str(python), "-P", str(WORKER), str(folder / "request.json")], saved_model)
        with np.load(folder / "outputs.npz", allow_pickle=False) as stored:
            expected: Mapping[str, Any] = {name: stored[name] for name in stored.files}
    difference, why = equal.differences(expected, found)
    if why:
        raise StageFailed(
            "the exported graph does not compute what the SavedModel does",
            where=saved_model,
            why=f"{why} (largest difference {difference:.3g}, dynamic dims of size {size})",
            fix="convert it yourself with another `--opset`, or report the operator to tf2onnx",
        )


def _run(command: list[str], saved_model: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    quiet = environment | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=quiet)
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).strip().splitlines() if line.strip()]
        raise StageFailed(
            f"the SavedModel `{saved_model.name}` cannot be exported",
            where=saved_model,
            why="\n".join(lines[-3:]),
            fix="check the signature (`saved_model_cli show --dir DIR --all`) and the operators named above",
        )
