"""Operators whose axes, depth or length arrive at run time, although the graph declares the result's shape.

A static declared shape determines the result of Unsqueeze, Squeeze and Reshape, the depth of OneHot and the length of
Range: any other value would contradict the graph itself.
"""

from __future__ import annotations

from repository_builder.onnx_graph.rewrite import Builder, Repair


def rewrite(b: Builder) -> bool:
    """Replace the run-time argument by the constant that the declared shape implies."""
    shape = b.facts.static(b.output(0))
    if shape is None:
        return False
    return {"OneHot": _one_hot, "Range": _range}.get(b.node.op_type, _reshape)(b, shape)


def _reshape(b: Builder, shape: tuple[int, ...]) -> bool:
    if b.facts.value(b.input(1)) is not None or not b.input(1):
        return False
    b.give(b.Reshape(b.input(0), b.const(list(shape)), allowzero=int(0 in shape) or None))
    return True


def _one_hot(b: Builder, shape: tuple[int, ...]) -> bool:
    if b.facts.value(b.input(1)) is not None or not shape:
        return False
    axis = b.attributes.get("axis", -1)
    b.give(b.OneHot(b.input(0), b.const(shape[axis]), b.input(2), axis=axis))
    return True


def _range(b: Builder, shape: tuple[int, ...]) -> bool:
    dtype = b.facts.dtype(b.input(0))
    if len(shape) != 1 or not dtype:
        return False
    start, step = (b.Unsqueeze(b.input(index), b.const([0])) for index in (0, 2))
    b.give(b.Add(start, b.Mul(b.const(list(range(shape[0])), dtype), step)))
    return True


REPAIR = Repair(
    "declared_shape",
    "replace an argument known only at run time by the constant that the declared shape implies",
    ("Unsqueeze", "Squeeze", "Reshape", "OneHot", "Range"),
    rewrite,
)
