"""Training leftovers made inert, with the user's leave: Dropout and BatchNormalization in training mode.

A graph exported without `model.eval()` answers differently at every call (Dropout) or by the other rows of the batch
(BatchNormalization). Results change by intention; so this defines the reference for all later comparisons.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from repository_builder.onnx_graph import walk
from repository_builder.onnx_graph.rewrite import GraphRepair

if TYPE_CHECKING:
    import onnx


def rewrite(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """The graph in inference mode, or None if it already is."""
    import onnx

    if not any(is_training(node, model) for node in model.graph.node):
        return None
    inert = onnx.ModelProto()
    inert.CopyFrom(model)
    for node in inert.graph.node:
        if not is_training(node, model):
            continue
        if node.op_type == "Dropout":
            del node.input[2:]
        else:
            kept = [attribute for attribute in model_attributes(node) if attribute.name != "training_mode"]
            del node.attribute[:]
            node.attribute.extend(kept)
            del node.output[1:]
    return inert


def model_attributes(node: onnx.NodeProto) -> list[onnx.AttributeProto]:
    """Copies of the node's attributes."""
    return [type(attribute).FromString(attribute.SerializeToString()) for attribute in node.attribute]


def is_training(node: onnx.NodeProto, model: onnx.ModelProto) -> bool:
    """Whether the node is a Dropout or BatchNormalization that trains."""
    if node.domain not in walk.STANDARD_DOMAINS:
        return False
    if node.op_type == "Dropout":
        return len(node.input) > 2 and bool(node.input[2]) and _may_be_true(node.input[2], model)
    return node.op_type == "BatchNormalization" and any(a.name == "training_mode" and a.i for a in node.attribute)


def _may_be_true(name: str, model: onnx.ModelProto) -> bool:
    from onnx import numpy_helper

    for tensor in model.graph.initializer:
        if tensor.name == name:
            return bool(numpy_helper.to_array(tensor))
    for node in model.graph.node:
        if node.op_type == "Constant" and name in node.output and node.attribute[0].HasField("t"):
            return bool(numpy_helper.to_array(node.attribute[0].t))
    return True


REPAIR = GraphRepair(
    "drop_training",
    "switch Dropout and BatchNormalization from training to inference",
    rewrite,
    leave="drop-training",
    redefines=True,
)
