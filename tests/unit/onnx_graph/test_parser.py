"""NVIDIA's parser in its child process: verdicts per node, crashes survived and their culprit found."""

from __future__ import annotations

import os
import signal

import onnx
import pytest

from repository_builder.errors import SpecError, ToolMissing
from repository_builder.onnx_graph import parser
from repository_builder.onnx_graph.judges import judge_for
from repository_builder.onnx_graph.parser import ParserJudge
from repository_builder.onnx_graph.table_judge import TableJudge


def graph(body, signature="(float[n, 4, 4] x) => (float[n] y)", opset=22):
    return onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : {opset}]> g {signature} {{ {body} }}')


@pytest.fixture(scope="module")
def judge():
    with ParserJudge("tensorrt_rtx") as judge:
        yield judge


def test_accepted(judge):
    verdict = judge.judge(graph("y = Relu (x)", "(float[n] x) => (float[n] y)"))
    assert verdict.accepted
    assert "TensorRT for RTX" in verdict.source


def test_the_refused_node_is_named(judge):
    model = graph("z = Relu (x)  y = Det (z)")
    model.graph.node[1].name = "volume"
    (complaint,) = judge.judge(model).complaints
    assert (complaint.operator, complaint.node, complaint.index) == ("Det", "volume", 1)


def test_every_refused_node_is_reported(judge):
    verdict = judge.judge(graph("a = Det (x)  b = Det (x)  y = Add (a, b)"))
    assert [complaint.index for complaint in verdict.complaints] == [0, 1]


def test_by_path(judge, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(graph("y = Det (x)").SerializeToString())
    assert not judge.judge(onnx.ModelProto(), path).accepted


def test_it_answers_again_after_its_process_was_killed(judge):
    os.kill(judge._child.pid, signal.SIGKILL)
    judge._child.wait()
    assert judge.judge(graph("y = Relu (x)", "(float[n] x) => (float[n] y)")).accepted


DEADLY = """
import json, os, sys
print(json.dumps({"ready": "0"}), flush=True)
while line := sys.stdin.buffer.readline():
    content = sys.stdin.buffer.read(json.loads(line)["bytes"])
    if b"Det" in content:
        os.abort()
    print(json.dumps({"accepted": True, "complaints": [], "log": []}), flush=True)
"""


def test_a_parser_that_dies_is_reported_with_the_culprit_found_by_bisection(tmp_path):
    """The real parser has no graph on which it is known to die, so a child that aborts on Det stands in for it."""
    script = tmp_path / "child.py"
    script.write_text(DEADLY)
    deadly = ParserJudge("tensorrt_rtx")
    deadly.close()
    deadly._command = [deadly._command[0], str(script)]
    body = "a = Relu (x)  b = Neg (a)  c = Det (b)  d = Abs (c)  y = Neg (d)"
    verdict = deadly.judge(graph(body))
    deadly.close()
    assert verdict.crashed
    (complaint,) = verdict.complaints
    assert (complaint.operator, complaint.index) == ("Det", 2)
    assert "died" in complaint.why


def test_a_parser_that_hangs_counts_as_dead(tmp_path):
    script = tmp_path / "child.py"
    script.write_text(DEADLY.replace("os.abort()", "import time; time.sleep(60)"))
    hanging = ParserJudge("tensorrt_rtx", timeout_s=0.5)
    hanging.close()
    hanging._command = [hanging._command[0], str(script)]
    assert hanging.judge(graph("y = Det (x)")).crashed
    hanging.close()


def test_a_package_that_is_not_there_is_a_missing_tool(monkeypatch):
    monkeypatch.setitem(parser.PACKAGES, "no_such_parser", "Nothing")
    with pytest.raises(ToolMissing, match="does not start"):
        ParserJudge("no_such_parser")


class TestTable:
    def test_operators_and_types(self):
        table = TableJudge("11.1")
        assert table.judge(graph("y = Relu (x)", "(float[n] x) => (float[n] y)")).accepted
        assert not table.judge(graph("y = Det (x)")).accepted
        assert (
            "UINT16" in table.judge(graph("y = Cast <to = 1> (x)", "(uint16[n] x) => (float[n] y)")).complaints[0].why
        )

    def test_later_versions_take_more(self):
        model = graph("y = DFT <axis = 1> (x)", "(float[1, 8, 1] x) => (float[1, 8, 2] y)", opset=17)
        assert not TableJudge("11.1").judge(model).accepted
        assert TableJudge("11.2").judge(model).accepted

    def test_unknown_operators_need_a_plugin(self):
        verdict = TableJudge("11.1").judge(graph("y = Fancy (x)"))
        assert "plugin" in verdict.complaints[0].why

    def test_opset_out_of_range(self):
        assert not TableJudge("11.1").judge(graph("y = Relu (x)", opset=28)).accepted


class TestWish:
    def test_an_image_means_its_tensorrt(self):
        with judge_for("image=26.05") as judge:
            assert "TensorRT 10.16" in judge.source

    @pytest.mark.parametrize("wanted", ["image=99.01", "tensorrt=new", "tenosrrt=11.1", "rtx=3"])
    def test_nonsense_is_refused_with_a_hint(self, wanted):
        with pytest.raises(SpecError), judge_for(wanted):
            pass

    def test_rtx_without_its_parser(self, monkeypatch):
        monkeypatch.setattr(parser, "available", tuple)
        with pytest.raises(ToolMissing, match="no verdict"), judge_for("rtx"):
            pass

    def test_without_any_parser_the_table_answers(self, monkeypatch):
        monkeypatch.setattr(parser, "available", tuple)
        with judge_for(None) as judge:
            assert "table" in judge.source
