"""DFT and STFT as multiplication with constant matrices of sines and cosines.

Exact up to rounding, O(n²): right for the small transforms of audio front ends, and said so in the report.
"""

from __future__ import annotations

from typing import Any

from repository_builder.onnx_graph.repairs._choice import by_axis, inverse, last
from repository_builder.onnx_graph.rewrite import Builder, Repair

_LONGEST = 4096


def rewrite(b: Builder) -> bool:
    """Replace a transform of known length."""
    shape, result = b.facts.static(b.input(0)), b.facts.static(b.output(0))
    if shape is None or result is None or b.facts.dtype(b.input(0)) not in (1, 10, 11):
        return False
    if b.node.op_type == "STFT":
        return _short_time(b, shape, result)
    if b.attributes.get("onesided", 0) and b.attributes.get("inverse", 0):
        return False
    return _full(b, shape, result)


def _full(b: Builder, shape: tuple[int, ...], result: tuple[int, ...]) -> bool:
    rank = len(shape)
    length = b.facts.value(b.input(1)) if b.input(1) else None
    fits = [axis for axis in range(rank - 1) if _result_shape(b, shape, axis, length) in (result, None)]
    if not fits or max(shape[axis] for axis in fits) > _LONGEST or (b.input(1) and length is None):
        return False
    default = -2 if b.facts.opset >= 20 else int(b.attributes.get("axis", 1))
    axis_input = b.input(2) if b.facts.opset >= 20 else ""
    value = by_axis(b, axis_input, lambda axis: _along(b, shape, axis, length), default=default, rank=rank, fits=fits)
    b.give(value)
    return True


def _result_shape(b: Builder, shape: tuple[int, ...], axis: int, length: Any) -> tuple[int, ...]:
    n = shape[axis] if length is None else int(length)
    bins = n // 2 + 1 if b.attributes.get("onesided", 0) else n
    return (*shape[:axis], bins, *shape[axis + 1 : -1], 2)


def _along(b: Builder, shape: tuple[int, ...], axis: int, length: Any) -> str:
    rank = len(shape) - 1
    n = shape[axis] if length is None else int(length)
    bins = n // 2 + 1 if b.attributes.get("onesided", 0) else n
    order = last(axis, rank)
    parts = [b.Gather(b.input(0), b.const(part), axis=-1) for part in range(shape[-1])]
    moved = [b.Transpose(part, perm=order) for part in parts]
    real, imaginary = _transform(
        b, moved, rows=shape[axis], n=n, bins=bins, backward=bool(b.attributes.get("inverse", 0))
    )
    back = [b.Unsqueeze(b.Transpose(part, perm=inverse(order)), b.const([-1])) for part in (real, imaginary)]
    return b.Concat(*back, axis=-1)


def _transform(b: Builder, parts: list[str], *, rows: int, n: int, bins: int, backward: bool) -> tuple[str, str]:
    """Real and imaginary part of the transform along the last axis; one part in means that the input is real."""
    import numpy as np

    angle = 2 * np.pi * (np.outer(np.arange(rows), np.arange(bins)) % n) / n
    inside = (np.arange(rows) < n)[:, None] / (n if backward else 1)
    cos = b.like(np.cos(angle) * inside, b.input(0))
    sin = b.like(np.sin(angle) * inside * (-1 if backward else 1), b.input(0))
    real, imaginary = b.MatMul(parts[0], cos), b.Neg(b.MatMul(parts[0], sin))
    if len(parts) == 2:
        real = b.Add(real, b.MatMul(parts[1], sin))
        imaginary = b.Add(imaginary, b.MatMul(parts[1], cos))
    return real, imaginary


def _short_time(b: Builder, shape: tuple[int, ...], result: tuple[int, ...]) -> bool:
    """Frames are gathered; their step may be known at run time only."""
    window = b.facts.static(b.input(2)) if b.input(2) else None
    stated = b.facts.value(b.input(3)) if b.input(3) else None
    onesided = bool(b.attributes.get("onesided", 1))
    length = window[0] if window else int(stated) if stated is not None else None if onesided else result[2]
    if length is None or length > _LONGEST or (length // 2 + 1 if onesided else length) != result[2]:
        return False
    starts = b.Mul(b.const([[frame] for frame in range(result[1])]), b.Reshape(b.cast(b.input(1), 7), b.const([1])))
    places = b.Add(starts, b.const([list(range(length))]))
    parts = []
    for part in range(shape[2] if len(shape) == 3 else 1):
        signal = b.Gather(b.input(0), b.const(part), axis=-1) if len(shape) == 3 else b.input(0)
        frames = b.Gather(signal, places, axis=1)
        parts.append(b.Mul(frames, b.input(2)) if window else frames)
    real, imaginary = _transform(b, parts, rows=length, n=length, bins=result[2], backward=False)
    b.give(b.Concat(*(b.Unsqueeze(part, b.const([-1])) for part in (real, imaginary)), axis=-1))
    return True


REPAIR = Repair(
    "fourier",
    "write a Fourier transform of known length as multiplication with constant matrices",
    ("DFT", "STFT"),
    rewrite,
    exact_on_special_values=False,
)
