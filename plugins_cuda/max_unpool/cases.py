"""Inputs that MaxUnpool must get right: 1-D to 3-D pools, pads, larger and smaller outputs, indices outside."""

from __future__ import annotations

import ml_dtypes
import numpy as np


def cases(rng):
    for kernel in ([2], [3], [2, 2], [3, 2], [2, 2, 2]):
        rank = len(kernel)
        for pads in ([], [0] * rank + [1] * rank):
            for batch, channels in ((1, 1), (2, 3), (0, 2)):
                attributes = {"kernel_shape": kernel, "strides": kernel, "pads": pads}
                pooled = [4 * k - (1 if pads else 0) for k in kernel]
                for dtype in (np.float32, np.float16, ml_dtypes.bfloat16):
                    x = rng.normal(size=(batch, channels, *[4] * rank)).astype(dtype)
                    indices = _indices(rng, x.size, batch * channels * int(np.prod(pooled))).reshape(x.shape)
                    name = f"{kernel}-{pads}-{batch}-{np.dtype(dtype).name}"
                    yield name, [x, indices], attributes
                    if not batch:
                        continue
                    for extra in (1, -1):
                        shape = [batch, channels, *[size + extra for size in pooled]]
                        yield f"{name}-{shape}", [x, indices], {**attributes, "output_shape": shape}
    x = np.ones((1, 1, 2), np.float32)
    yield "outside", [x, np.array([[[-1, 4]]])], {"kernel_shape": [2], "strides": [2]}


def _indices(rng, count, below):
    """Distinct, so that the result does not depend on the order of writing."""
    return rng.permutation(below)[:count].astype(np.int64) if count else np.zeros(0, np.int64)
