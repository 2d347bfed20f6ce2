"""The corpus score as a contract: how many node tests convert with equal results, and none with a wrong one."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from repository_builder.onnx_graph.parser import ParserJudge
from tests.conftest import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
]  # NumPy warns about the node tests' own edge values


@pytest.fixture(scope="module")
def coverage():
    spec = importlib.util.spec_from_file_location("onnx_coverage", ROOT / "benchmarks" / "onnx_coverage.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def test_node_tests_of_onnx(coverage):
    with ParserJudge("tensorrt_rtx") as judge:
        rows = coverage.node_tests(judge)
    assert [row.name for row in rows if row.after and not row.equal] == []
    assert sum(row.before for row in rows) >= 1000
    assert sum(row.equal for row in rows) >= 1600


def test_light_models(coverage):
    with ParserJudge("tensorrt_rtx") as judge:
        rows = coverage.files(coverage.light_models(), judge)
    assert len(rows) == 9
    assert all(row.equal for row in rows)
