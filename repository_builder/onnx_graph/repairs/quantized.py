"""Integer-arithmetic operators (QLinear*, *Integer, DynamicQuantizeLinear) in floating point.

The integers are small and their sums stay below 2^24, so FLOAT holds them exactly; larger sums are left alone.
"""

from __future__ import annotations

from math import prod
from typing import Any

from repository_builder.onnx_graph.rewrite import Builder, Repair

_EXACT = 2**24
_RANGES = {2: (0, 255), 3: (-128, 127), 4: (0, 65535), 5: (-32768, 32767)}
_FLOAT, _UINT8, _INT32 = 1, 2, 6


def rewrite(b: Builder) -> bool:
    """Replace one operator."""
    return {
        "QLinearMatMul": _matmul,
        "QLinearConv": _conv,
        "MatMulInteger": _matmul_integer,
        "ConvInteger": _conv_integer,
        "DynamicQuantizeLinear": _dynamic,
        "DequantizeLinear": _dequantize,
        "QuantizeLinear": _quantize_linear,
    }[b.node.op_type](b)


def _centred(b: Builder, value: str, zero: str, axis: int | None = None) -> str:
    """The integers minus their zero point, as FLOAT. A zero point per `axis` gets its place."""
    wide = b.cast(value, _FLOAT)
    if not zero:
        return wide
    point = b.cast(zero, _FLOAT)
    return b.Sub(wide, _placed(b, point, zero, value, axis))


def _placed(b: Builder, value: str, name: str, reference: str, axis: int | None) -> str:
    """A vector along `axis` shaped for broadcasting against `reference`."""
    shape, rank = b.facts.shape(name), b.facts.rank(reference)
    if axis is None or shape is None or len(shape) != 1 or shape == (1,) or rank is None:
        return value
    wanted = [1] * rank
    wanted[axis] = -1
    return b.Reshape(value, b.const(wanted))


def _quantized(b: Builder, value: str, zero: str, dtype: int) -> str:
    """Rounded, shifted, saturated and cast. `value` is already divided by the scale."""
    low, high = _RANGES[dtype]
    shifted = b.Round(value)
    if zero:
        shifted = b.Add(shifted, b.cast(zero, _FLOAT))
    return b.cast(b.Clip(shifted, b.const(low, _FLOAT), b.const(high, _FLOAT)), dtype)


def _exact(terms: int | None) -> bool:
    return terms is not None and terms * 255 * 255 < _EXACT


def _depth(b: Builder, name: str) -> int | None:
    shape = b.facts.shape(name)
    return shape[-1] if shape and isinstance(shape[-1], int) else None


def _kernel_size(b: Builder, name: str) -> int | None:
    shape = b.facts.static(name)
    return prod(shape[1:]) if shape else None


def _matmul(b: Builder) -> bool:
    if not _exact(_depth(b, b.input(0))):
        return False
    product = b.MatMul(_centred(b, b.input(0), b.input(2)), _centred(b, b.input(3), b.input(5)))
    scale = b.Mul(b.cast(b.input(1), _FLOAT), b.cast(b.input(4), _FLOAT))
    scaled = b.Div(b.Mul(product, scale), b.cast(b.input(6), _FLOAT))
    b.give(_quantized(b, scaled, b.input(7), b.facts.dtype(b.output(0))))
    return True


def _conv(b: Builder) -> bool:
    if not _exact(_kernel_size(b, b.input(3))):
        return False
    x, w = _centred(b, b.input(0), b.input(2)), _centred(b, b.input(3), b.input(5), 0)
    result = b.Conv(x, w, *([b.cast(b.input(8), _FLOAT)] if b.input(8) else []), **b.attributes)
    scale = b.Div(b.Mul(b.input(1), b.input(4)), b.input(6))
    shape = b.facts.shape(b.input(4))
    if shape is not None and len(shape) == 1 and shape != (1,):
        spatial = (b.facts.rank(b.input(0)) or 4) - 2
        scale = b.Reshape(scale, b.const([1, -1, *[1] * spatial]))
    b.give(_quantized(b, b.Mul(result, scale), b.input(7), b.facts.dtype(b.output(0))))
    return True


def _matmul_integer(b: Builder) -> bool:
    if not _exact(_depth(b, b.input(0))):
        return False
    rank = b.facts.rank(b.input(0)) or 0
    left = _centred(b, b.input(0), b.input(2), rank - 2 if rank >= 2 else None)
    b.give(b.cast(b.MatMul(left, _centred(b, b.input(1), b.input(3))), _INT32))
    return True


def _conv_integer(b: Builder) -> bool:
    if not _exact(_kernel_size(b, b.input(1))):
        return False
    x, w = _centred(b, b.input(0), b.input(2)), _centred(b, b.input(1), b.input(3), 0)
    b.give(b.cast(b.Conv(x, w, **b.attributes), _INT32))
    return True


def _dynamic(b: Builder) -> bool:
    """The standard's formula; UINT8 appears only in the final casts."""
    x, zero = b.input(0), b.const(0.0, _FLOAT)
    high = b.Max(b.ReduceMax(x, keepdims=0), zero)
    low = b.Min(b.ReduceMin(x, keepdims=0), zero)
    width = b.Sub(high, low)
    flat = b.Equal(width, zero)  # all zero: any scale fits, and a division by zero does not
    scale = b.Where(flat, b.const(1.0, _FLOAT), b.Div(width, b.const(255.0, _FLOAT)))
    point = b.Round(b.Clip(b.Div(b.Neg(low), scale), zero, b.const(255.0, _FLOAT)))
    shifted = b.Add(b.Round(b.Div(x, scale)), point)
    b.give(b.cast(b.Clip(shifted, zero, b.const(255.0, _FLOAT)), _UINT8), 0)
    b.give(scale, 1)
    b.give(b.cast(point, _UINT8), 2)
    return True


def _dequantize(b: Builder) -> bool:
    if b.facts.dtype(b.input(0)) not in _RANGES:
        return False
    axis = int(b.attributes.get("axis", 1))
    block = int(b.attributes.get("block_size", 0))
    scale = _spread(b, b.cast(b.input(1), _FLOAT), b.input(1), axis, block)
    value = b.cast(b.input(0), _FLOAT)
    if b.input(2):
        value = b.Sub(value, _spread(b, b.cast(b.input(2), _FLOAT), b.input(2), axis, block))
    b.give(b.cast(b.Mul(value, scale), b.facts.dtype(b.output(0)) or _FLOAT))
    return True


def _quantize_linear(b: Builder) -> bool:
    dtype = b.facts.dtype(b.output(0))
    if dtype not in _RANGES:
        return False
    axis, block = int(b.attributes.get("axis", 1)), int(b.attributes.get("block_size", 0))
    scale = _spread(b, b.cast(b.input(1), _FLOAT), b.input(1), axis, block)
    shifted = b.Round(b.Div(b.cast(b.input(0), _FLOAT), scale))
    if b.input(2) and b.facts.dtype(b.input(1)) != _FLOAT:
        return False
    if b.input(2):
        shifted = b.Add(shifted, _spread(b, b.cast(b.input(2), _FLOAT), b.input(2), axis, block))
    low, high = _RANGES[dtype]
    b.give(b.cast(b.Clip(shifted, b.const(low, _FLOAT), b.const(high, _FLOAT)), dtype))
    return True


def _spread(b: Builder, value: str, name: str, axis: int, block: int) -> str:
    """Scale or zero point in the shape of the data: per tensor, per axis, or per block along an axis."""
    if not block:
        return _placed(b, value, name, b.input(0), axis)
    shape: Any = b.facts.static(name)
    size: Any = b.facts.static(b.input(0))
    if shape is None or size is None:
        return value
    axis %= len(shape)
    index = b.const([place // block for place in range(size[axis])])
    return b.Gather(value, index, axis=axis)


REPAIR = Repair(
    "quantized",
    "write integer-arithmetic operators in floating point, where that is exact",
    (
        "QLinearMatMul", "QLinearConv", "MatMulInteger", "ConvInteger", "DynamicQuantizeLinear", "DequantizeLinear",
        "QuantizeLinear",
    ),
    rewrite,
    exact_on_special_values=False,
)  # fmt: skip
