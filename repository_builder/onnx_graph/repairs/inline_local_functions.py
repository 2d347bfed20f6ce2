"""Functions that the model brings along, written out: their inside is then open to every other repair."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repository_builder.onnx_graph.rewrite import GraphRepair

if TYPE_CHECKING:
    import onnx

_LARGEST = 2**31 - 2**20
"""Bytes that protobuf can hand to ONNX's inliner."""


def rewrite(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """The graph without model-local functions, or None if there are none."""
    from onnx import inliner

    if not model.functions or model.ByteSize() > _LARGEST:
        return None
    return inliner.inline_local_functions(model)


REPAIR = GraphRepair(
    "inline_local_functions", "write out the functions that the model brings along, so that repairs reach them", rewrite
)
