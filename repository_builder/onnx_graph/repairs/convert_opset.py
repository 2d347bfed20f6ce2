"""Graphs of opsets that the parser no longer reads (below 9) or does not read yet, converted by ONNX's own converter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repository_builder.onnx_graph.facts import opset
from repository_builder.onnx_graph.rewrite import GraphRepair

if TYPE_CHECKING:
    import onnx

OLDEST, NEWEST = 9, 24
"""Opsets that the parser of TensorRT 11.1 reads, by its documentation."""

_TARGET = 17


def rewrite(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """The graph in opset 17 (or 24, coming from above), or None if it is in range or the converter cannot do it."""
    import onnx
    from onnx import version_converter

    current = opset(model)
    if OLDEST <= current <= NEWEST:
        return None
    try:
        return version_converter.convert_version(model, _TARGET if current < OLDEST else NEWEST)
    except (RuntimeError, ValueError, onnx.checker.ValidationError):
        return None


REPAIR = GraphRepair("convert_opset", "convert a graph to an opset that the parser reads", rewrite)
