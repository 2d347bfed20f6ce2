"""Operators of ONNX Runtime's own domain `com.microsoft`, written back in standard ones.

ONNX Runtime's optimizer leaves them in graphs that were saved after optimization. Their meaning is that of ONNX
Runtime's contrib-operator documentation; the proof runs ONNX Runtime's own kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt

from repository_builder.onnx_graph.rewrite import Builder, Repair

_DOMAIN = "com.microsoft"


def rewrite(b: Builder) -> bool:
    """Replace one operator."""
    if b.node.domain == _DOMAIN and b.node.op_type in _WRITERS:
        return _WRITERS[b.node.op_type](b)
    if b.node.op_type == "SimplifiedLayerNormalization":  # ONNX Runtime registers it in the standard domain
        return _simplified(b)
    return False


def _fused_matmul(b: Builder) -> bool:
    left, right = (_transposed(b, index, side) for index, side in ((0, "transA"), (1, "transB")))
    if not left or not right or b.attributes.get("transBatchA", 0) or b.attributes.get("transBatchB", 0):
        return False
    b.give(_scaled(b, b.MatMul(left, right), float(b.attributes.get("alpha", 1.0))))
    return True


def _transposed(b: Builder, index: int, flag: str) -> str:
    if not b.attributes.get(flag, 0):
        return b.input(index)
    rank = b.facts.rank(b.input(index))
    if rank is None or rank < 2:
        return ""
    return b.Transpose(b.input(index), perm=[*range(rank - 2), rank - 1, rank - 2])


def _scaled(b: Builder, value: str, alpha: float) -> str:
    return value if alpha == 1 else b.Mul(value, b.like(alpha, b.input(0)))


def _erf_gelu(b: Builder, x: str) -> str:
    half = b.Mul(x, b.like(0.5, b.input(0)))
    return b.Mul(half, b.Add(b.Erf(b.Mul(x, b.like(1 / sqrt(2), b.input(0)))), b.like(1, b.input(0))))


def _gelu(b: Builder) -> bool:
    b.give(_erf_gelu(b, b.input(0)))
    return True


def _bias_gelu(b: Builder) -> bool:
    b.give(_erf_gelu(b, b.Add(b.input(0), b.input(1))))
    return True


def _fast_gelu(b: Builder) -> bool:
    """The approximation by tanh."""
    x = b.Add(b.input(0), b.input(1)) if b.input(1) else b.input(0)
    cubic = b.Mul(b.Mul(b.Mul(x, x), x), b.like(0.044715, b.input(0)))
    inner = b.Mul(b.Add(x, cubic), b.like(sqrt(2 / pi), b.input(0)))
    b.give(b.Mul(b.Mul(x, b.like(0.5, b.input(0))), b.Add(b.Tanh(inner), b.like(1, b.input(0)))))
    return True


def _quick_gelu(b: Builder) -> bool:
    alpha = b.like(b.attributes.get("alpha", 1.702), b.input(0))
    b.give(b.Mul(b.input(0), b.Sigmoid(b.Mul(b.input(0), alpha))))
    return True


def _mean(b: Builder, value: str) -> str:
    """Over the last axis; the axes became an input in opset 18."""
    return b.ReduceMean(value, b.const([-1])) if b.facts.opset >= 18 else b.ReduceMean(value, axes=[-1])


def _normalized(b: Builder, x: str, scale: str, bias: str, epsilon: float, *, centre: bool) -> str:
    """Layer normalization over the last axis in plain operators, which every opset has."""
    x = b.Sub(x, _mean(b, x)) if centre else x
    spread = b.Sqrt(b.Add(_mean(b, b.Mul(x, x)), b.like(epsilon, b.input(0))))
    result = b.Mul(b.Div(x, spread), scale)
    return b.Add(result, bias) if bias else result


def _skip_layer_norm(b: Builder) -> bool:
    return _skip(b, centre=True)


def _skip_simplified(b: Builder) -> bool:
    return _skip(b, centre=False)


def _skip(b: Builder, *, centre: bool) -> bool:
    if b.output(1) or b.output(2):
        return False
    x = b.Add(b.input(0), b.input(1))
    shift, bias = (b.input(3), b.input(4)) if centre else ("", b.input(3))
    x = b.Add(x, bias) if bias else x
    epsilon = float(b.attributes.get("epsilon", 1e-12 if centre else 1e-6))
    b.give(_normalized(b, x, b.input(2), shift, epsilon, centre=centre))
    b.give(x, 3)
    return True


def _simplified(b: Builder) -> bool:
    if b.output(1) or int(b.attributes.get("axis", -1)) != -1:
        return False
    b.give(_normalized(b, b.input(0), b.input(1), "", float(b.attributes.get("epsilon", 1e-5)), centre=False))
    return True


def _embed_layer_norm(b: Builder) -> bool:
    """Word, position and segment embeddings, summed and normalized; no mask."""
    if b.input(7) or b.input(8) or b.output(2):
        return False
    size = b.Shape(b.input(0))
    places = b.Range(b.const(0), b.Gather(size, b.const(1)), b.const(1))
    total = b.Add(b.Gather(b.input(2), b.input(0)), b.Gather(b.input(3), b.Unsqueeze(places, b.const([0]))))
    if b.input(1):
        total = b.Add(total, b.Gather(b.input(4), b.input(1)))
    centred = b.Sub(total, _mean(b, total))
    epsilon = b.const(float(b.attributes.get("epsilon", 1e-12)), b.facts.dtype(b.input(2)) or 1)
    spread = b.Sqrt(b.Add(_mean(b, b.Mul(centred, centred)), epsilon))
    b.give(b.Add(b.Mul(b.Div(centred, spread), b.input(5)), b.input(6)))
    if b.output(1):  # without a mask, ONNX Runtime gives zeros
        b.give(b.cast(b.Expand(b.const(0), b.Gather(size, b.const([0]))), 6), 1)
    return True


_ACTIVATIONS = {"Relu": "Relu", "Tanh": "Tanh", "Sigmoid": "Sigmoid"}


def _fused_conv(b: Builder) -> bool:
    """Conv, an optional sum, and an activation."""
    activation = b.attributes.pop("activation", "")
    b.attributes.pop("activation_params", None)
    if activation not in {*_ACTIVATIONS, ""}:
        return False
    value = b.Conv(*(name for name in b.node.input[:3] if name), **b.attributes)
    if b.input(3):
        value = b.Add(value, b.input(3))
    b.give(b.op(_ACTIVATIONS[activation], [value])[0] if activation else value)
    return True


def _fused_gemm(b: Builder) -> bool:
    activation = b.attributes.pop("activation", "")
    if activation not in _ACTIVATIONS:
        return False
    options = {key: b.attributes[key] for key in ("alpha", "beta", "transA", "transB") if key in b.attributes}
    b.give(b.op(_ACTIVATIONS[activation], [b.op("Gemm", list(b.node.input), **options)[0]])[0])
    return True


def _standard(b: Builder) -> bool:
    """The same operator exists in the standard."""
    b.give(b.op(b.node.op_type, list(b.node.input), **b.attributes)[0])
    return True


_WRITERS: dict[str, Callable[[Builder], bool]] = {
    "FusedMatMul": _fused_matmul,
    "TransposeMatMul": _fused_matmul,
    "Gelu": _gelu,
    "BiasGelu": _bias_gelu,
    "FastGelu": _fast_gelu,
    "QuickGelu": _quick_gelu,
    "SkipLayerNormalization": _skip_layer_norm,
    "SkipSimplifiedLayerNormalization": _skip_simplified,
    "EmbedLayerNormalization": _embed_layer_norm,
    "FusedConv": _fused_conv,
    "FusedGemm": _fused_gemm,
    "DequantizeLinear": _standard,
    "QuantizeLinear": _standard,
    "Trilu": _standard,
}


REPAIR = Repair(
    "contrib",
    "write operators of ONNX Runtime's own domain back in standard ones",
    (*_WRITERS, "SimplifiedLayerNormalization"),
    rewrite,
)
