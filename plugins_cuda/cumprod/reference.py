"""CumProd: the definition of correct (ONNX CumProd-26)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def reference(x: NDArray, *, axis: int, exclusive: int = 0, reverse: int = 0) -> tuple[NDArray]:
    """Products of everything up to each element along `axis`; in float64 or the integer type, rounded once."""
    wide = x.astype(x.dtype if x.dtype.kind == "i" else np.float64)
    line = np.flip(wide, axis) if reverse else wide
    with np.errstate(over="ignore", invalid="ignore"):
        result = np.cumprod(line, axis=axis, dtype=wide.dtype)
        if exclusive:
            result = np.roll(result, 1, axis)
            first = [slice(None)] * x.ndim
            first[axis] = slice(0, 1)
            result[tuple(first)] = 1
        return (np.ascontiguousarray(np.flip(result, axis) if reverse else result).astype(x.dtype),)
