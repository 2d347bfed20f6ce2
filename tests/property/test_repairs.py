"""Laws of the repairs that rewrite arithmetic: equal to NumPy for every value of the type, extremes included."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from repository_builder.onnx_graph import equal
from repository_builder.onnx_graph.parser import ParserJudge
from repository_builder.onnx_graph.repair import repair

WORDS = {"int8": 3, "uint8": 2, "int16": 5, "uint16": 4, "int32": 6, "uint32": 12, "int64": 7, "uint64": 13}
BITWISE = {"BitwiseAnd": np.bitwise_and, "BitwiseOr": np.bitwise_or, "BitwiseXor": np.bitwise_xor}
WRAPPING = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply}
ORDER = {"Less": np.less, "Greater": np.greater, "Equal": np.equal, "Max": np.maximum, "Min": np.minimum}
NARROW = ("int16", "uint16", "uint32", "uint64")
"""Types that TensorRT lacks at the edge of a network."""


@pytest.fixture(scope="module")
def repaired():
    """Operator, type → evaluator of the repaired graph of one node; made once."""
    made = {}
    with ParserJudge("tensorrt_rtx") as judge:

        def make(operator, dtype, result):
            if (operator, dtype) not in made:
                text = f"g ({dtype}[6] x, {dtype}[6] z) => ({result}[6] y) {{ y = {operator} (x, z) }}"
                model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 18]> {text}')
                outcome = repair(model, judge)
                assert outcome.accepted, (outcome.rejected, outcome.after.complaints)
                made[operator, dtype] = outcome.model, equal.Evaluator(outcome.model)
            return made[operator, dtype]

        yield make


def arrays(dtype):
    return hnp.arrays(np.dtype(dtype), 6)


def check(repaired, operator, expected, x, z):
    dtype = str(x.dtype)
    result = "bool" if operator in ("Less", "Greater", "Equal") else dtype
    model, run = repaired(operator, dtype, result)
    found = run(equal.adapted({"x": x, "z": z}, model))["y"]
    assert np.array_equal(found.astype(expected.dtype), expected)


@pytest.mark.parametrize("dtype", WORDS)
@pytest.mark.parametrize("operator", BITWISE)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_bitwise(repaired, operator, dtype, data):
    x, z = data.draw(arrays(dtype)), data.draw(arrays(dtype))
    check(repaired, operator, BITWISE[operator](x, z), x, z)


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("operator", WRAPPING)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_overflow_wraps(repaired, operator, dtype, data):
    x, z = data.draw(arrays(dtype)), data.draw(arrays(dtype))
    check(repaired, operator, WRAPPING[operator](x, z), x, z)


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("operator", ORDER)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_order(repaired, operator, dtype, data):
    x, z = data.draw(arrays(dtype)), data.draw(arrays(dtype))
    check(repaired, operator, ORDER[operator](x, z), x, z)


@pytest.mark.parametrize("dtype", ["uint32", "uint64"])
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_unsigned_division(repaired, dtype, data):
    x = data.draw(arrays(dtype))
    z = data.draw(hnp.arrays(np.dtype(dtype), 6, elements=st.integers(1, np.iinfo(dtype).max)))
    check(repaired, "Div", x // z, x, z)
