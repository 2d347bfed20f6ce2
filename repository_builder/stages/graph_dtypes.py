"""Which arithmetic an ONNX graph asks for: the data types in which its heavy nodes compute."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

HEAVY = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_PASSING = ("Transpose", "Reshape", "Identity", "Squeeze", "Unsqueeze", "Flatten")


def roles(model: onnx.ModelProto) -> dict[str, str]:
    """Names of the nodes in which the network spends its arithmetic, in order, and the role of each.

    A role is the operator and the shape of its weights: equal in every block of a network that repeats blocks.
    """
    sizes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    return {
        node.name: f"{node.op_type} {[sizes.get(name) for name in node.input]}"
        for node in model.graph.node
        if node.op_type in HEAVY
    }


def heavy_types(model: onnx.ModelProto) -> Counter[str]:
    """Data type → number of heavy nodes that compute in it (`INT8` and `FP8`: both operands come out of Q/DQ)."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model)
    types = {t.name: t.data_type for t in model.graph.initializer}
    values = (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    types |= {value.name: value.type.tensor_type.elem_type for value in values}
    producer = {name: node for node in model.graph.node for name in node.output}
    return Counter(_computes_in(node, types, producer) for node in model.graph.node if node.op_type in HEAVY)


def share(model: onnx.ModelProto, precision: str) -> float:
    """Share of the heavy nodes that compute in a precision (`fp16`, `int8`); 1.0 without heavy nodes."""
    counts = heavy_types(model)
    wanted = {"fp32": "FP32", "fp16": "FP16", "bf16": "BF16", "int8": "INT8", "fp8": "FP8"}[precision]
    return counts[wanted] / counts.total() if counts.total() else 1.0


def _computes_in(node: Any, types: dict[str, int], producer: dict[str, Any]) -> str:
    import onnx

    quantized = [_quantized(name, types, producer) for name in node.input[:2]]
    if all(quantized):
        return str(quantized[0])
    kind = types.get(node.output[0]) or types.get(node.input[0]) or 0
    name = str(onnx.TensorProto.DataType.Name(kind))
    return {"FLOAT": "FP32", "FLOAT16": "FP16", "BFLOAT16": "BF16", "DOUBLE": "FP64"}.get(name, name)


def _quantized(name: str, types: dict[str, int], producer: dict[str, Any]) -> str | None:
    """The type before the DequantizeLinear from which a tensor comes, seen through nodes that only pass values on."""
    import onnx

    while name in producer:
        node = producer[name]
        if node.op_type == "DequantizeLinear":
            zero = node.input[2] if len(node.input) > 2 else node.input[0]
            kind = types.get(zero) or types.get(node.input[0])
            eights = (onnx.TensorProto.FLOAT8E4M3FN, onnx.TensorProto.FLOAT8E5M2)
            return "FP8" if kind in eights else "INT8"
        if node.op_type not in _PASSING:
            return None
        name = node.input[0]
    return None
