"""The repairs, one per file, in the order in which they are tried. A new one is a file and a line here."""

from __future__ import annotations

from repository_builder.onnx_graph.repairs import (
    bitwise,
    declared_shape,
    inline_function,
    reduce_axes,
    widen_integers,
)
from repository_builder.onnx_graph.rewrite import GraphRepair, Repair

NODE_REPAIRS: tuple[Repair, ...] = (
    reduce_axes.REPAIR,
    declared_shape.REPAIR,
    bitwise.REPAIR,
    inline_function.REPAIR,  # last: the standard's own definition, where nothing better is known
)
GRAPH_REPAIRS: tuple[GraphRepair, ...] = (widen_integers.REPAIR,)
