"""Exporting PyTorch modules: what comes out, and what is said when it cannot."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from repository_builder.build.stage import StageContext
from repository_builder.errors import RepositoryBuilderError, SpecError, StageFailed
from repository_builder.onnx_graph import read
from repository_builder.stages import export, export_worker

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # torch warns about itself

PAIR = """
    import torch
    from torch import nn

    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = nn.Linear(4, 3)
            self.drop = nn.Dropout(0.5)

        def forward(self, x, mask):
            y = self.drop(self.dense(x)) * mask[:, :, None]
            return {"sum": y.sum(1), "all": y}

    def build():
        return Pair().train()
"""
INPUTS = {
    "x": {"dtype": "FP32", "shape": ["batch", "length", 4], "example": [2, 5, 4]},
    "mask": {"dtype": "INT64", "shape": ["batch", "length"], "example": [2, 5]},
}
OUTPUTS = {"all": ["batch", "length", 3], "sum": ["batch", 3]}
ONE = {"x": {"dtype": "FP32", "shape": ["batch", 4], "example": [2, 4]}}


def context(folder: Path, code: str, **changes: Any) -> StageContext:
    (folder / "net.py").write_text(textwrap.dedent(code))
    out = folder / "out"
    out.mkdir()
    params = {"function": "build", "inputs": INPUTS, "outputs": OUTPUTS, "opset": 20} | changes
    return StageContext(out, {}, {"code": folder / "net.py"}, params, lambda *_: None)


def failure(folder: Path, code: str, **changes: Any) -> dict[str, str]:
    """The report of the worker, run in this process: torch is imported once for all tests."""
    wanted = context(folder, code, **{"inputs": ONE, "outputs": {"y": ["batch", 4]}} | changes)
    request = dict(wanted.params) | {"code": str(folder / "net.py"), "files": [], "out": str(wanted.out / "model.onnx")}
    with pytest.raises(export_worker.Failure) as caught:
        export_worker.main(request, lambda **_: None)
    return caught.value.report


def test_every_declared_dimension_is_dynamic_and_dropout_is_off(tmp_path: Path, fresh_cache: Path) -> None:
    wanted = context(tmp_path, PAIR)
    export.run(wanted)
    model = onnx.load(wanted.out / "model.onnx")
    assert next(entry.version for entry in model.opset_import if entry.domain == "") == 20
    assert b"net.py" not in model.SerializeToString(), "nothing of this machine is left in the file"
    interface = read.interface(model)
    assert [str(tensor) for tensor in interface.inputs] == ["x: FP32[batch, length, 4]", "mask: INT64[batch, length]"]
    assert [tensor.name for tensor in interface.outputs] == ["all", "sum"], "the order of the spec"
    session = onnxruntime.InferenceSession(wanted.out / "model.onnx", providers=["CPUExecutionProvider"])
    inputs = {"x": np.ones((7, 1, 4), np.float32), "mask": np.ones((7, 1), np.int64)}
    first, second = session.run(None, inputs), session.run(None, inputs)
    np.testing.assert_array_equal(first[0], second[0])
    assert first[0].shape == (7, 1, 3)
    once = (wanted.out / "model.onnx").read_bytes()
    export.run(wanted)
    assert (wanted.out / "model.onnx").read_bytes() == once, "equal modules give equal files"


def test_errors_reach_the_user_with_a_log(tmp_path: Path, fresh_cache: Path) -> None:
    code = "def build():\n    print('hello')\n    raise OSError('no weights')\n"
    with pytest.raises(StageFailed) as caught:
        export.run(context(tmp_path, code))
    assert str(caught.value.problems[0].where) == f"{tmp_path / 'net.py'}:3"
    assert caught.value.problems[0].why == "OSError: no weights"
    assert caught.value.log is not None
    assert "hello" in caught.value.log.read_text()


def test_a_dying_process_is_reported(tmp_path: Path, fresh_cache: Path) -> None:
    code = "import os, signal\ndef build():\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    with pytest.raises(StageFailed) as caught:
        export.run(context(tmp_path, code))
    assert caught.value.problems[0].why.startswith("it was running net.py:build: killed by signal 9")


FACTOR = """
    import json
    from pathlib import Path
    import torch
    from scale import FACTOR

    class Scale(torch.nn.Module):
        def forward(self, x):
            return x * FACTOR

    def build():
        Path("sizes.json").read_text()
        (Path(__file__).parent.parent / "weights.npy").read_bytes()
        return Scale()
"""


def test_every_file_that_the_factory_reads_must_be_in_the_recipe(tmp_path: Path, fresh_cache: Path) -> None:
    """Imported modules, files beside it, and weights wherever they lie: else a stale graph would be served."""
    folder = tmp_path / "spec"
    folder.mkdir()
    files = {"scale.py": "FACTOR = 2", "sizes.json": "{}", "../weights.npy": ""}
    for name, text in files.items():
        (folder / name).write_text(text)
    wanted = context(folder, FACTOR, inputs=ONE, outputs={"y": ["batch", 4]})
    with pytest.raises(SpecError) as caught:
        export.run(wanted)
    weights = tmp_path / "weights.npy"
    assert caught.value.problems[0].why.startswith(f"scale.py, sizes.json, {weights}: when they change")
    assert "source.pytorch.files" in caught.value.problems[0].fix
    named = {f"file/{n}": (folder / name).resolve() for n, name in enumerate(files)}
    export.run(replace(wanted, sources={**wanted.sources, **named}))
    assert (wanted.out / "model.onnx").is_file()


SCALE = "import torch\nclass Scale(torch.nn.Module):\n    def forward(self, x):\n        {}\ndef build():\n    return Scale()\n"


@pytest.mark.parametrize(
    ("code", "changes", "what", "why"),
    [
        ("def build(weights, device='cpu'): ...", {}, "`build` cannot be called without arguments", "it needs weights"),
        ("def make(): ...", {}, "`net.py` has no function `build`", "its functions: make"),
        ("def build(): return 3", {}, "`build` does not return a torch.nn.Module", "it is a int"),
        ("def build(:", {}, "`net.py` cannot be imported", "SyntaxError"),
        ("raise SystemExit(3)", {}, "`net.py` cannot be imported", "SystemExit: 3"),
        (SCALE.format("return x, x"), {}, "the spec names 1 outputs (y)", "the module returns 2: Tensor, Tensor"),
        (SCALE.format("return {'z': x}"), {}, "the spec names 1 outputs (y)", "the module returns z"),
        (
            SCALE.format("return x @ x.T"),
            {},
            "output `y` has another shape",
            "the spec says ['batch', 4], and for the example the module gives [2, 2]",
        ),
        (SCALE.format("return x[:, :9].reshape(3, 5)"), {}, "the module fails with inputs x [2, 4]", "shape '[3, 5]'"),
        (SCALE.format("return x.reshape(2, 4)"), {}, "the module fails with inputs x [3, 4]", "shape '[2, 4]'"),
        (SCALE.format("return x if x.sum() > 0 else -x"), {}, "torch cannot export the module", "data-dependent"),
    ],
)
def test_what_cannot_be_exported_says_why(
    tmp_path: Path, code: str, changes: dict[str, Any], what: str, why: str
) -> None:
    report = failure(tmp_path, code, **changes)
    assert what in report["what"]
    assert why in report["why"]
    assert report["fix"]


def test_a_graph_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    """The branch is decided while tracing with two rows, and the exporter says nothing: the graph is wrong for three."""
    report = failure(tmp_path, SCALE.format("return x if x.numel() // 4 <= 2 else -x"))
    assert report["what"] == "the exported graph does not compute what the module does"
    assert report["why"].endswith("at x [3, 4]")


def test_kinds_of_failure_have_their_exit_codes(tmp_path: Path) -> None:
    kinds: dict[str, type[RepositoryBuilderError]] = {"spec": SpecError, "stage": StageFailed}
    for kind, expected in kinds.items():
        answer = {"failed": kind, "what": "a", "why": "b", "fix": "c"}
        assert type(export._explain(answer, "here", tmp_path)) is expected
