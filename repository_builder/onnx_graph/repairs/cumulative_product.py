"""CumProd of a known length: a triangular selection and ReduceProd."""

from __future__ import annotations

from repository_builder.onnx_graph.repairs._choice import by_axis, inverse, last
from repository_builder.onnx_graph.rewrite import Builder, Repair

_LONGEST = 1024


def rewrite(b: Builder) -> bool:
    """O(n²) products along the axis."""
    shape = b.facts.static(b.input(0))
    if not shape or max(shape) > _LONGEST:
        return False
    rank = len(shape)
    b.give(by_axis(b, b.input(1), lambda axis: _along(b, shape, axis), default=0, rank=rank, fits=range(rank)))
    return True


def _along(b: Builder, shape: tuple[int, ...], axis: int) -> str:
    import numpy as np

    places = np.arange(shape[axis])
    row, column = (places[:, None], places[None, :])
    row, column = (column, row) if b.attributes.get("reverse", 0) else (row, column)
    seen = column < row if b.attributes.get("exclusive", 0) else column <= row
    order = last(axis, len(shape))
    moved = b.Unsqueeze(b.Transpose(b.input(0), perm=order), b.const([-2]))
    chosen = b.Where(b.const(seen, 9), moved, b.like(1, b.input(0)))
    return b.Transpose(b.ReduceProd(chosen, b.const([-1]), keepdims=0), perm=inverse(order))


REPAIR = Repair("cumulative_product", "write CumProd with a triangular mask and ReduceProd", ("CumProd",), rewrite)
