"""Which dimension is the batch, judged by names."""

from __future__ import annotations

import pytest

from repository_builder.errors import GraphError
from repository_builder.onnx_graph.batch import batching
from repository_builder.tensor import Interface, Tensor


def judge(inputs, outputs):
    def tensors(shapes):
        return tuple(Tensor(name, "FP32", shape) for name, shape in shapes.items())

    return batching(Interface(tensors(inputs), tensors(outputs)))


def test_one_symbol_everywhere():
    verdict = judge({"x": ("n", 3), "m": ("n",)}, {"y": ("n", 5)})
    assert verdict.batched
    assert verdict.dim == "n"
    assert verdict.unproven == ()


def test_an_output_with_another_symbol_must_be_proven_by_a_run():
    assert judge({"x": ("n", 3)}, {"y": ("Softmaxy_dim_0", 5)}).unproven == ("y",)


@pytest.mark.parametrize(
    ("inputs", "outputs", "said"),
    [
        ({"x": (8, 3)}, {"y": (8, 5)}, "input `x` is fixed to 8"),
        ({"x": ("n", 3)}, {"y": (1, 5)}, "output `y` is fixed to 1"),
        ({"x": ("n", 3), "s": ()}, {"y": ("n", 5)}, "`s` is a scalar"),
        ({"x": ("n", "t")}, {"y": ("t", "n")}, "begins with `t`"),
        ({"x": ("n", 3)}, {"y": ("2*n", 5)}, "computed from the batch"),
        ({}, {"y": (1,)}, "no inputs"),
    ],
)
def test_not_batched(inputs, outputs, said):
    verdict = judge(inputs, outputs)
    assert not verdict.batched
    assert said in verdict.why
    verdict.require("m.onnx")  # explained, but no contradiction


def test_two_leading_symbols_contradict_each_other():
    verdict = judge({"a": ("n", 3), "b": ("m", 3)}, {"y": ("n", 5)})
    assert not verdict.batched
    with pytest.raises(GraphError, match="ambiguous"):
        verdict.require("m.onnx")


def test_unnamed_leading_dims_are_left_to_a_run():
    verdict = judge({"a": ("a_dim0", 3), "b": ("b_dim0", 3)}, {"y": ("a_dim0", 5)})
    assert verdict.batched
    assert verdict.unproven == ("b", "y")
