"""BF16 graphs on a CPU: the same rounding, computed in FP32, because ONNX Runtime has no BF16 kernels there.

Every BF16 tensor becomes an FP32 tensor that holds BF16 values: after each node that made one stand two casts, to
BF16 and back. Products are summed in FP32, as tensor cores do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx


def emulated(model: onnx.ModelProto) -> onnx.ModelProto:
    """An FP32 graph that rounds where `model` has BF16 tensors. Subgraphs (If, Loop) are left alone."""
    import onnx
    from onnx import helper

    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    bf16 = _bf16_names(model)
    for initializer in graph.initializer:
        _widen(initializer)
    nodes: list[Any] = []
    for node in graph.node:
        _retype(node)
        outputs = [name for name in node.output if name in bf16]
        for name in outputs:
            node.output[list(node.output).index(name)] = f"{name}__wide"
        nodes.append(node)
        for name in outputs:
            nodes.append(helper.make_node("Cast", [f"{name}__wide"], [f"{name}__bf16"], to=onnx.TensorProto.BFLOAT16))
            nodes.append(helper.make_node("Cast", [f"{name}__bf16"], [name], to=onnx.TensorProto.FLOAT))
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    del graph.value_info[:]
    return result


def uses_bf16(model: onnx.ModelProto) -> bool:
    """Whether the graph has BF16 weights or casts to BF16."""
    kind = 16  # TensorProto.BFLOAT16
    return any(tensor.data_type == kind for tensor in model.graph.initializer) or any(
        attribute.name == "to" and attribute.i == kind for node in model.graph.node for attribute in node.attribute
    )


def _bf16_names(model: onnx.ModelProto) -> set[str]:
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model, data_prop=False)
    kind = onnx.TensorProto.BFLOAT16
    return {value.name for value in inferred.graph.value_info if value.type.tensor_type.elem_type == kind}


def _retype(node: Any) -> None:
    import onnx

    for attribute in node.attribute:
        if attribute.name in ("to", "dtype") and attribute.i == onnx.TensorProto.BFLOAT16:
            attribute.i = onnx.TensorProto.FLOAT
        elif attribute.HasField("t"):
            _widen(attribute.t)


def _widen(tensor: Any) -> None:
    import numpy as np
    import onnx
    from onnx import numpy_helper

    if tensor.data_type == onnx.TensorProto.BFLOAT16:
        wide = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))
