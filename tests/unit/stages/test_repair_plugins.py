"""A graph whose refused operators become plugins is not repaired: the plugins were asked for."""

from pathlib import Path

import onnx
import onnx.parser

from repository_builder.onnx_graph.table_judge import TableJudge
from repository_builder.stages.repair import WithPlugins


def judged(graph: str, *plugins: str) -> tuple[bool, list[str]]:
    model = onnx.parser.parse_model('<ir_version: 9, opset_import: ["" : 20]>\n' + graph)
    verdict = WithPlugins(TableJudge("11.1"), frozenset(plugins)).judge(model, Path("model.onnx"))
    return verdict.accepted, [complaint.operator for complaint in verdict.complaints]


DET = "g (float[n,3,3] x) => (float[n] y) { y = Det (x) }"
TWO = "g (float[n,3,3] x) => (float[k] z) { y = Det (x)\nz = Unique (y) }"


def test_a_refused_operator_that_becomes_a_plugin_is_accepted() -> None:
    assert judged(DET) == (False, ["Det"])
    assert judged(DET, "Det") == (True, [])


def test_the_others_are_still_refused() -> None:
    assert judged(TWO, "Det") == (False, ["Unique"])
