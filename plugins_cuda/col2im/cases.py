"""Inputs that Col2Im must get right: ranks 1 to 4, strides, pads, dilations, every type, empty batches."""

from __future__ import annotations

import ml_dtypes
import numpy as np

SHAPES = (
    ([3, 259], [3, 3], {"strides": [1, 1], "pads": [1, 1, 1, 1], "dilations": [1, 1]}),  # rows of several stretches
    ([4, 131], [2, 5], {"pads": [0, 2, 1, 3]}),
    ([2, 600], [3, 2], {"pads": [1, 0, 0, 1]}),
    ([300], [3], {"pads": [1, 1]}),
    ([48, 32], [16, 16], {"strides": [16, 16]}),
    ([7, 70], [3, 4], {"strides": [1, 2], "dilations": [2, 3], "pads": [3, 2, 1, 0]}),
    ([5], [2], {}),
    ([9], [3], {"strides": [2], "pads": [1, 0]}),
    ([5, 5], [1, 5], {}),
    ([5, 5], [2, 3], {"dilations": [2, 1]}),
    ([6, 7], [3, 3], {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ([33, 31], [3, 3], {"pads": [1, 1, 1, 1]}),
    ([8, 8], [2, 2], {"strides": [2, 2]}),
    ([8, 8], [2, 2], {"strides": [3, 3]}),
    ([4, 5, 6], [2, 2, 2], {"strides": [1, 2, 1], "pads": [0, 1, 0, 0, 0, 1]}),
    ([3, 3, 3, 3], [2, 1, 2, 1], {"dilations": [2, 1, 1, 1]}),
)
TYPES = (np.float32, np.float16, ml_dtypes.bfloat16, np.int32, np.int64)


def cases(rng):
    for (image, block, rest), (batch, channels) in ((s, b) for s in SHAPES for b in ((1, 1), (2, 3), (0, 2))):
        attributes = {"image_shape": image, "block_shape": block, **rest}
        shape = (batch, channels * int(np.prod(block)), _positions(image, block, rest))
        for dtype in TYPES:
            values = rng.integers(-50, 50, shape) if np.dtype(dtype).kind == "i" else rng.normal(size=shape)
            yield f"{image}-{block}-{rest}-{batch}-{np.dtype(dtype).name}", [values.astype(dtype)], attributes


def _positions(image, block, rest):
    rank = len(image)
    pads = rest.get("pads", [0] * 2 * rank)
    strides, dilations = rest.get("strides", [1] * rank), rest.get("dilations", [1] * rank)
    total = 1
    for a in range(rank):
        total *= (image[a] + pads[a] + pads[rank + a] - dilations[a] * (block[a] - 1) - 1) // strides[a] + 1
    return total
