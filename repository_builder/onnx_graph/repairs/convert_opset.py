"""Graphs of opsets that the parser no longer reads (below 9) or does not read yet, converted by ONNX's own converter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repository_builder.onnx_graph.facts import opset
from repository_builder.onnx_graph.rewrite import GraphRepair
from repository_builder.onnx_graph.walk import STANDARD_DOMAINS

if TYPE_CHECKING:
    import onnx

OLDEST, NEWEST = 9, 24
"""Opsets that the parser of TensorRT 11.1 reads, by its documentation."""

_LARGEST = 2**31 - 2**20
"""Bytes that protobuf can hand to the converter."""

MODERN = 18
"""The opset in which repairs write (axes are inputs, not attributes); older graphs are raised to it first."""


def rewrite(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """The graph in an opset that the parser reads, or None if it is in range or the converter cannot do it."""
    current = opset(model)
    if OLDEST <= current <= NEWEST:
        return None
    return converted(model, MODERN if current < OLDEST else NEWEST)


def raised(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """The graph in the opset in which repairs write, or None if it is there or the converter cannot do it."""
    return converted(model, MODERN) if opset(model) < MODERN else None


def converted(model: onnx.ModelProto, version: int) -> onnx.ModelProto | None:
    """The graph in another opset, by ONNX's own converter; None where it fails (foreign operators, large graphs)."""
    import onnx
    from onnx import version_converter

    if model.ByteSize() > _LARGEST or not any(entry.domain in STANDARD_DOMAINS for entry in model.opset_import):
        return None
    try:
        return version_converter.convert_version(model, version)
    except (RuntimeError, ValueError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        return None


REPAIR = GraphRepair("convert_opset", "convert a graph to an opset that the parser reads", rewrite)
