"""`triton-repo export`: the contract of an exported graph, and what is refused."""

from __future__ import annotations

import json
import pickle
import textwrap

import onnx
import pytest

from repository_builder.onnx_graph.parser import ParserJudge
from repository_builder.stages import export_worker
from repository_builder.stages.export_check import check

NET = """
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = nn.Linear(8, 2)
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            return self.drop(self.dense(x))

    def raising():
        raise RuntimeError("no such layer")

    def needy(width):
        return Net()
"""
TENSORS = ("--input", "x=FP32[batch,8]", "--returns", "y=[batch,2]")
READS = {"opset": 24, "ir": 13, "by": "the test"}


@pytest.fixture
def net(tmp_path):
    (tmp_path / "net.py").write_text(textwrap.dedent(NET))
    return tmp_path


@pytest.fixture(scope="module")
def judge():
    with ParserJudge("tensorrt_rtx") as judge:
        yield judge


class Evil:
    """Prints when it is unpickled."""

    def __reduce__(self):
        return (print, ("gotcha",))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch warns about itself
class TestExport:
    def test_a_class_its_checkpoint_and_the_report(self, net, cli):
        import torch

        weights = {"dense.weight": torch.full((2, 8), 0.5), "dense.bias": torch.zeros(2)}
        torch.save({"state_dict": weights}, net / "best.pt")
        options = ("--checkpoint", "best.pt", "--trust", "--check", "-o", "net.onnx", "--json")
        done = cli("export", "net.py:Net", *TENSORS, *options)
        assert done.returncode == 0, done.stderr + done.stdout
        checks = {entry["name"]: entry for entry in json.loads(done.stdout)["checks"]}
        assert checks.keys() == {
            "numerics", "opset", "IR version", "inference mode", "inputs", "outputs", "sizes", "converts",
        }  # fmt: skip
        assert all(entry["passed"] for entry in checks.values())
        stored = [onnx.numpy_helper.to_array(t) for t in onnx.load(net / "net.onnx").graph.initializer]
        assert any(a.size == 16 and (a == 0.5).all() for a in stored)

    def failure(self, net, **changes):
        """The worker's report, in this process: torch is imported once."""
        request = {
            "code": str(net / "net.py"), "function": "Net", "out": str(net / "net.onnx"), "opset": 20, "files": [],
            "inputs": {"x": {"dtype": "FP32", "shape": ["batch", 8], "example": [2, 8]}}, "outputs": {"y": ["batch", 2]},
        }  # fmt: skip
        with pytest.raises(export_worker.Failure) as caught:
            export_worker.main(request | changes, lambda **_: None)
        return caught.value.report

    def test_a_checkpoint_of_another_model(self, net):
        import torch

        torch.save({"other.weight": torch.zeros(2)}, net / "best.pt")
        assert "does not fit the module" in self.failure(net, checkpoint=str(net / "best.pt"))["what"]

    def test_a_checkpoint_that_would_run_code(self, net, capsys):
        (net / "evil.pt").write_bytes(pickle.dumps(Evil()))
        assert "cannot be read" in self.failure(net, checkpoint=str(net / "evil.pt"))["what"]
        assert "gotcha" not in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("factory", "kind", "said"), [("raising", "stage", "no such layer"), ("needy", "spec", "width")]
    )
    def test_factories_that_fail(self, net, factory, kind, said):
        report = self.failure(net, function=factory)
        assert report["failed"] == kind
        assert said in report["why"]


class TestUsage:
    def test_a_checkpoint_is_refused_without_trust(self, net, cli):
        (net / "best.pt").write_bytes(b"anything")
        done = cli("export", "net.py:Net", *TENSORS, "--checkpoint", "best.pt", "--check")
        assert done.returncode == 2
        assert "--trust" in done.stderr

    @pytest.mark.parametrize(
        "arguments",
        [
            ("net.py:Net", *TENSORS),
            ("net.py:Net", "--check"),
            ("nothing.py:Net", *TENSORS, "--check"),
            ("net", "--check"),
            ("net.py:Net", "--input", "x", "--returns", "y=[2]", "--check"),
            ("net.py:Net", *TENSORS, "--size", "batch=one", "--check"),
        ],
    )
    def test_wrong_usage(self, net, cli, arguments):
        done = cli("export", *arguments)
        assert done.returncode == 2
        assert "fix:" in done.stderr


class TestContract:
    """Broken promises, as ONNX text: an exporter that keeps them would not give these graphs."""

    def broken(self, tmp_path, judge, body, signature="(float[n, 4] x) => (float[n, 4] y)", opset=20):
        text = f'<ir_version: 9, opset_import: ["" : {opset}]> g {signature} {{ {body} }}'
        (tmp_path / "m.onnx").write_bytes(onnx.parser.parse_model(text).SerializeToString())
        found = check(
            tmp_path / "m.onnx", inputs={"x": ["n", 4]}, outputs={"y": ["n", 4]}, opset=20, reads=READS, judge=judge
        )
        for entry in found:
            assert entry.passed or entry.fix
        return {entry.name for entry in found if not entry.passed}

    def test_a_kept_contract(self, tmp_path, judge):
        assert self.broken(tmp_path, judge, "y = Relu (x)") == set()

    def test_another_opset_than_pinned(self, tmp_path, judge):
        assert self.broken(tmp_path, judge, "y = Relu (x)", opset=18) == {"opset"}

    def test_training_leftovers(self, tmp_path, judge):
        body = "t = Constant <value = bool {1}> ()  r = Constant <value = float {0.5}> ()  y = Dropout (x, r, t)"
        assert "inference mode" in self.broken(tmp_path, judge, body)

    def test_a_debug_output(self, tmp_path, judge):
        signature = "(float[n, 4] x) => (float[n, 4] y, float[n, 4] hidden)"
        assert self.broken(tmp_path, judge, "hidden = Neg (x)  y = Relu (hidden)", signature) == {"outputs"}

    def test_a_dimension_that_became_fixed(self, tmp_path, judge):
        assert self.broken(tmp_path, judge, "y = Relu (x)", "(float[2, 4] x) => (float[2, 4] y)") == {
            "inputs",
            "outputs",
        }

    def test_a_baked_batch(self, tmp_path, judge):
        body = "s = Constant <value = int64[2] {8, 4}> ()  y = Reshape (x, s)"
        assert self.broken(tmp_path, judge, body) == {"sizes"}

    def test_a_refused_operator(self, tmp_path, judge):
        assert self.broken(tmp_path, judge, "u, a, b, c = Unique (x)  y = Relu (x)") == {"converts"}
