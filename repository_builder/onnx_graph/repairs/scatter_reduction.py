"""Scatter with a reduction (add, mul, max, min), and MaxUnpool, on moderate static shapes: dense selection."""

from __future__ import annotations

from math import prod

from repository_builder.onnx_graph.rewrite import Builder, Repair

_MOST = 2**24
"""Elements of the dense intermediate."""


def rewrite(b: Builder) -> bool:
    """Replace one operator."""
    if b.node.op_type == "MaxUnpool":
        return _unpool(b)
    data, updates = b.facts.static(b.input(0)), b.facts.static(b.input(2))
    reduction = b.attributes.get("reduction", "none")
    indices = b.facts.static(b.input(1))
    if not data or not updates or not indices or reduction == "none":
        return False
    found = _nd(b, data, indices) if b.node.op_type == "ScatterND" else _elements(b, data, indices)
    index, places, inner = found
    count = prod(updates) // inner
    if places * count * inner > _MOST:
        return False
    target = b.Reshape(b.input(0), b.const([places, 1, inner]))
    values = b.Reshape(b.input(2), b.const([1, count, inner]))
    hit = b.Equal(b.const([[[place]] for place in range(places)]), b.Reshape(index, b.const([1, count, 1])))
    b.give(b.Reshape(_reduced(b, reduction, hit, values, target), b.const(list(data))))
    return True


def _reduced(b: Builder, reduction: str, hit: str, values: str, target: str) -> str:
    axis = b.const([1])
    if reduction == "add":
        return b.Add(target, b.ReduceSum(b.Where(hit, values, b.like(0, b.input(0))), axis))
    if reduction == "mul":
        return b.Mul(target, b.ReduceProd(b.Where(hit, values, b.like(1, b.input(0))), axis))
    chosen = b.Where(hit, values, target)
    if reduction == "max":
        return b.Max(target, b.ReduceMax(chosen, axis))
    return b.Min(target, b.ReduceMin(chosen, axis))


def _positive(b: Builder, index: str, size: str) -> str:
    wide = b.cast(index, 7)
    return b.Where(b.Less(wide, b.const(0)), b.Add(wide, size), wide)


def _nd(b: Builder, data: tuple[int, ...], indices: tuple[int, ...]) -> tuple[str, int, int]:
    """Flat index of each update, number of places, elements per place."""
    depth = indices[-1]
    strides = [prod(data[axis + 1 : depth]) for axis in range(depth)]
    steps = b.Mul(_positive(b, b.input(1), b.const(list(data[:depth]))), b.const(strides))
    return b.ReduceSum(steps, b.const([-1]), keepdims=0), prod(data[:depth]), prod(data[depth:])


def _elements(b: Builder, data: tuple[int, ...], indices: tuple[int, ...]) -> tuple[str, int, int]:
    import numpy as np

    axis = int(b.attributes.get("axis", 0)) % len(data)
    strides = [prod(data[i + 1 :]) for i in range(len(data))]
    grid = np.indices(indices)
    fixed = sum(grid[i] * strides[i] for i in range(len(data)) if i != axis) + np.zeros(indices, np.int64)
    moving = b.Mul(_positive(b, b.input(1), b.const(data[axis])), b.const(strides[axis]))
    return b.Add(moving, b.const(fixed)), prod(data), 1


def _unpool(b: Builder) -> bool:
    import numpy as np

    shape = b.facts.static(b.output(0))
    if shape is None or b.input(2):
        return False
    zeros = b.like(np.zeros(prod(shape)), b.input(0))
    flat = [b.Reshape(b.input(i), b.const([-1])) for i in (1, 0)]
    b.give(b.Reshape(b.ScatterElements(zeros, *flat, axis=0), b.const(list(shape))))
    return True


REPAIR = Repair(
    "scatter_reduction",
    "write a scatter with reduction as a dense selection",
    ("ScatterND", "ScatterElements", "MaxUnpool"),
    rewrite,
    exact_on_special_values=False,
)
