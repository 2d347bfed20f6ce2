"""MaxUnpool: the definition of correct (ONNX MaxUnpool-22)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def reference(
    x: NDArray,
    indices: NDArray,
    *,
    kernel_shape: Sequence[int],
    pads: Sequence[int] = (),
    strides: Sequence[int] = (),
    output_shape: Sequence[int] = (),
) -> tuple[NDArray]:
    """Zeros, and every value of `x` at the place that its index names in the unpooled shape.

    With `output_shape` the unpooled tensor is put into the beginning of one of that shape. Indices outside are ignored.
    """
    rank = len(kernel_shape)
    pads, strides = pads or [0] * (2 * rank), strides or [1] * rank
    sizes = [(x.shape[2 + a] - 1) * strides[a] + kernel_shape[a] - pads[a] - pads[rank + a] for a in range(rank)]
    pooled = np.zeros((x.shape[0], x.shape[1], *sizes), x.dtype)
    inside = (indices >= 0) & (indices < pooled.size)
    pooled.reshape(-1)[indices[inside]] = x[inside]
    result = np.zeros(tuple(output_shape) or pooled.shape, x.dtype)
    common = tuple(slice(0, min(a, b)) for a, b in zip(result.shape, pooled.shape, strict=True))
    result[common] = pooled[common]
    return (result,)
