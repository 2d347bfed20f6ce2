"""DOUBLE lowered to FLOAT, with the user's leave: TensorRT has no DOUBLE and clamps silently."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repository_builder.onnx_graph import walk
from repository_builder.onnx_graph.rewrite import GraphRepair

if TYPE_CHECKING:
    import onnx

_DOUBLE, _FLOAT = 11, 1


def rewrite(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """The graph with every DOUBLE tensor and attribute as FLOAT, or None if there is none."""
    import onnx
    from onnx import numpy_helper

    lowered = onnx.ModelProto()
    lowered.CopyFrom(model)
    found = False
    for tensor in walk.tensors(lowered):
        if tensor.data_type == _DOUBLE:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype("float32"), tensor.name))
            found = True
    for _, graph in walk.graphs(lowered):
        for value in (*graph.input, *graph.output, *graph.value_info):
            if value.type.tensor_type.elem_type == _DOUBLE:
                value.type.tensor_type.elem_type = _FLOAT
                found = True
    for node in walk.nodes(lowered):
        for attribute in node.attribute:
            if attribute.name in {"to", "dtype"} and attribute.i == _DOUBLE:
                attribute.i = _FLOAT
                found = True
    return lowered if found else None


REPAIR = GraphRepair(
    "double_as_float", "compute in FLOAT what the graph declares as DOUBLE", rewrite, leave="double-as-float"
)
