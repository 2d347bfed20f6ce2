"""Compress, NonZero and Unique where the declared shape says how many elements there will be.

Their results depend on values, which TensorRT supports badly; a declared static shape makes it a sort.
"""

from __future__ import annotations

from math import prod

from repository_builder.onnx_graph.rewrite import Builder, Repair

_LONGEST = 2048
"""TensorRT's TopK ends at 3840; the comparison of all pairs in Unique is O(n²)."""


def rewrite(b: Builder) -> bool:
    """Replace one operator."""
    return {"Compress": _compress, "NonZero": _nonzero, "Unique": _unique}[b.node.op_type](b)


def _first_true(b: Builder, condition: str, length: int, count: int) -> str:
    """Indices of the first `count` true elements of a BOOL vector, ascending."""
    keys = b.Where(condition, b.const([length - i for i in range(length)], 1), b.const(0.0, 1))
    return b.op("TopK", [keys, b.const([count])], outputs=2, axis=-1)[1]


def _compress(b: Builder) -> bool:
    data, result, length = (b.facts.static(n) for n in (b.input(0), b.output(0), b.input(1)))
    if data is None or result is None or length is None or not 0 < length[0] <= _LONGEST:
        return False
    axis = b.attributes.get("axis")
    source = b.input(0) if axis is not None else b.Reshape(b.input(0), b.const([-1]))
    count = result[axis] if axis is not None else result[0]
    if not count:
        return False
    index = _first_true(b, b.input(1), length[0], count)
    b.give(b.Gather(source, index, axis=axis if axis is not None else 0))
    return True


def _nonzero(b: Builder) -> bool:
    data, result = b.facts.static(b.input(0)), b.facts.static(b.output(0))
    if not data or result is None or not result[1] or prod(data) > _LONGEST:
        return False
    flat = b.Reshape(b.cast(b.input(0), 9), b.const([-1]))
    index = _first_true(b, flat, prod(data), result[1])
    rows = []
    for axis, size in enumerate(data):
        place = b.Mod(b.Div(index, b.const(prod(data[axis + 1 :]))), b.const(size))
        rows.append(b.Unsqueeze(place, b.const([0])))
    b.give(b.op("Concat", rows, axis=0)[0])
    return True


def _unique(b: Builder) -> bool:
    data, result = b.facts.static(b.input(0)), b.facts.static(b.output(0))
    axis = b.attributes.get("axis")
    if data is None or result is None or b.facts.dtype(b.input(0)) not in (1, 6, 7, 10):
        return False
    length = prod(data) if axis is None else data[axis]
    count = result[0] if axis is None else result[axis]
    if not 0 < length <= _LONGEST or not count:
        return False
    rows = _rows(b, data, axis)
    same, less = _pairs(b, rows)
    _give_unique(b, same, less, length=length, count=count, axis=axis)
    return True


def _rows(b: Builder, data: tuple[int, ...], axis: int | None) -> str:
    """What is compared, as [length, elements]."""
    if axis is None:
        return b.Reshape(b.input(0), b.const([-1, 1]))
    axis %= len(data)
    order = [axis, *(i for i in range(len(data)) if i != axis)]
    return b.Reshape(b.Transpose(b.input(0), perm=order), b.const([data[axis], -1]))


def _pairs(b: Builder, rows: str) -> tuple[str, str]:
    """Two BOOL [n, n]: row i equals row j; row j comes before row i in lexicographic order."""
    mine, other = b.Unsqueeze(rows, b.const([1])), b.Unsqueeze(rows, b.const([0]))
    unequal = b.cast(b.Not(b.Equal(mine, other)), 1)
    before = b.cast(b.Less(other, mine), 1)
    first = b.Unsqueeze(b.ArgMax(unequal, axis=-1, keepdims=0), b.const([-1]))
    decided = b.GatherElements(before, first, axis=-1)
    less = b.Greater(b.Squeeze(decided, b.const([-1])), b.const(0.5, 1))
    same = b.Less(b.ReduceMax(unequal, b.const([-1]), keepdims=0), b.const(0.5, 1))
    return same, less


def _give_unique(b: Builder, same: str, less: str, *, length: int, count: int, axis: int | None) -> None:
    import numpy as np

    earlier = b.const(np.tril(np.ones((length, length), bool), -1), 9)
    first = b.Not(_any(b, b.And(same, earlier)))  # no equal row stands earlier
    ahead = less if b.attributes.get("sorted", 1) else earlier
    place = _count(b, b.And(ahead, b.Unsqueeze(first, b.const([0]))))  # rank among the first ones
    slot = b.And(
        b.Equal(b.const(np.arange(count)[:, None]), b.Unsqueeze(place, b.const([0]))), b.Unsqueeze(first, b.const([0]))
    )
    index = b.ReduceSum(b.Where(slot, b.const(np.arange(length)[None]), b.const(0)), b.const([1]), keepdims=0)
    source = b.Reshape(b.input(0), b.const([-1])) if axis is None else b.input(0)
    b.give(b.Gather(source, index, axis=axis or 0), 0)
    b.give(index, 1)
    leader = b.And(same, b.Unsqueeze(first, b.const([0])))  # the first row equal to row i
    inverse = b.ReduceSum(b.Where(leader, b.Unsqueeze(place, b.const([0])), b.const(0)), b.const([1]), keepdims=0)
    b.give(inverse, 2)
    hits = b.Equal(b.const(np.arange(count)[:, None]), b.Unsqueeze(inverse, b.const([0])))
    b.give(_count(b, hits), 3)


def _count(b: Builder, condition: str) -> str:
    return b.ReduceSum(b.cast(condition, 7), b.const([1]), keepdims=0)


def _any(b: Builder, condition: str) -> str:
    return b.Greater(_count(b, condition), b.const(0))


REPAIR = Repair(
    "selection",
    "write Compress, NonZero and Unique as a sort where the number of results is declared",
    ("Compress", "NonZero", "Unique"),
    rewrite,
    exact_on_special_values=False,
)
