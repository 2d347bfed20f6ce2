"""Inputs that MaxUnpool must get right: 1-D to 3-D pools, pads, larger and smaller outputs, indices outside."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np

TYPES = (np.float32, np.float16, ml_dtypes.bfloat16)


def cases(rng):
    for size, dtype, strays in itertools.product(([40, 44], [41, 45], [39, 46], [4100], [4099]), TYPES, (1, 0)):
        yield _pooled(rng, size, dtype, strays)
    for kernel in ([3, 3], [2, 2, 2]):  # no cells of two: zeros first
        x = rng.normal(size=(1, 2, *[24] * len(kernel))).astype(np.float16)
        unpooled = x.size * int(np.prod(kernel))
        attributes = {"kernel_shape": kernel, "strides": kernel}
        yield f"large-{kernel}", [x, _indices(rng, x.size, unpooled).reshape(x.shape)], attributes
    for kernel in ([2], [3], [2, 2], [3, 2], [2, 2, 2]):
        rank = len(kernel)
        for pads in ([], [0] * rank + [1] * rank):
            for batch, channels in ((1, 1), (2, 3), (0, 2)):
                attributes = {"kernel_shape": kernel, "strides": kernel, "pads": pads}
                pooled = [4 * k - (1 if pads else 0) for k in kernel]
                for dtype in TYPES:
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


def _pooled(rng, size, dtype, strays):
    """Windows of two along each axis, as a MaxPool leaves them; with `strays`, some values belong elsewhere."""
    x = rng.normal(size=(2, 3, *size)).astype(dtype)
    shape = (2, 3, *[2 * extent for extent in size])
    corner = np.stack(np.meshgrid(*[np.arange(extent) for extent in x.shape], indexing="ij"))
    corner[2:] = 2 * corner[2:] + rng.integers(0, 2, corner[2:].shape)
    indices = np.ravel_multi_index(tuple(corner), shape).reshape(-1)
    if strays:
        some = rng.choice(x.size, 50, replace=False)
        indices[some] = np.roll(indices[some], 1)
        indices[some[:2]] = [-1, 2 * x.size * 2 ** len(size)]
    attributes = {"kernel_shape": [2] * len(size), "strides": [2] * len(size)}
    attributes |= {"pads": [], "output_shape": list(shape)}
    return f"pooled-{size}-{np.dtype(dtype).name}-{strays}", [x, indices.reshape(x.shape)], attributes


def _indices(rng, count, below):
    """Distinct, so that the result does not depend on the order of writing."""
    return rng.permutation(below)[:count].astype(np.int64) if count else np.zeros(0, np.int64)
