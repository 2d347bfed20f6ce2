"""BatchNormalization after Conv or Gemm, folded into the weights. A wish (`--optimize`), not a need: TensorRT fuses too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from repository_builder.onnx_graph.facts import attributes
from repository_builder.onnx_graph.rewrite import GraphRepair

if TYPE_CHECKING:
    import onnx


def rewrite(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """The graph without BatchNormalization after Conv, or None if there is none that can be folded."""
    import onnx

    folded = onnx.ModelProto()
    folded.CopyFrom(model)
    weights = {tensor.name: tensor for tensor in folded.graph.initializer}
    readers = _readers(folded.graph)
    producer = {name: node for node in folded.graph.node for name in node.output}
    dropped: set[str] = set()
    for norm in folded.graph.node:
        conv = producer.get(norm.input[0]) if norm.op_type == "BatchNormalization" else None
        if conv is not None and _foldable(conv, norm, weights, readers):
            _fold(folded.graph, conv, norm, weights)
            dropped.add(norm.output[0])
    if not dropped:
        return None
    kept = [n for n in folded.graph.node if not (n.op_type == "BatchNormalization" and n.output[0] in dropped)]
    copies = [type(node).FromString(node.SerializeToString()) for node in kept]
    del folded.graph.node[:]
    folded.graph.node.extend(copies)
    return folded


def _readers(graph: onnx.GraphProto) -> dict[str, int]:
    count: dict[str, int] = {}
    for name in (*(n for node in graph.node for n in node.input), *(value.name for value in graph.output)):
        count[name] = count.get(name, 0) + 1
    return count


def _foldable(conv: onnx.NodeProto, norm: onnx.NodeProto, weights: dict[str, Any], readers: dict[str, int]) -> bool:
    constant = all(name in weights for name in (*norm.input[1:], *conv.input[1:]) if name)
    alone = readers[conv.output[0]] == 1 and readers.get(conv.input[1], 0) == 1
    inference = len([name for name in norm.output if name]) == 1 and not attributes(norm).get("training_mode", 0)
    return conv.op_type == "Conv" and constant and alone and inference


def _fold(graph: onnx.GraphProto, conv: onnx.NodeProto, norm: onnx.NodeProto, weights: dict[str, Any]) -> None:
    import numpy as np
    from onnx import numpy_helper

    scale, shift, mean, variance = (numpy_helper.to_array(weights[name]).astype(np.float64) for name in norm.input[1:5])
    factor = scale / np.sqrt(variance + attributes(norm).get("epsilon", 1e-5))
    kernel = numpy_helper.to_array(weights[conv.input[1]])
    bias = numpy_helper.to_array(weights[conv.input[2]]) if len(conv.input) > 2 and conv.input[2] else 0.0
    scaled = kernel * factor.reshape(-1, *[1] * (kernel.ndim - 1))
    weights[conv.input[1]].CopyFrom(numpy_helper.from_array(scaled.astype(kernel.dtype), conv.input[1]))
    name = f"{norm.output[0]}/folded_bias"
    graph.initializer.append(numpy_helper.from_array(((bias - mean) * factor + shift).astype(kernel.dtype), name))
    del conv.input[2:]
    conv.input.append(name)
    conv.output[0] = norm.output[0]


REPAIR = GraphRepair("fold_batchnorm", "fold BatchNormalization into the convolution before it", rewrite, optional=True)
