"""Col2Im: the definition of correct (ONNX Col2Im-18)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def reference(
    columns: NDArray,
    *,
    image_shape: Sequence[int],
    block_shape: Sequence[int],
    dilations: Sequence[int] = (),
    pads: Sequence[int] = (),
    strides: Sequence[int] = (),
) -> tuple[NDArray]:
    """The image whose pixels are the sums of the block elements that cover them; sums in float64 or the integer type."""
    rank = len(image_shape)
    dilations, strides, pads = dilations or [1] * rank, strides or [1] * rank, pads or [0] * (2 * rank)
    wide = columns.dtype if columns.dtype.kind == "i" else np.float64
    reach = [d * (b - 1) + 1 for d, b in zip(dilations, block_shape, strict=True)]
    padded = [size + pads[a] + pads[rank + a] for a, size in enumerate(image_shape)]
    blocks = [(p - r) // s + 1 for p, r, s in zip(padded, reach, strides, strict=True)]
    batch = columns.shape[0]
    channels = columns.shape[1] // int(np.prod(block_shape))
    source = columns.reshape(batch, channels, *block_shape, *blocks).astype(wide)
    image = np.zeros((batch, channels, *padded), wide)
    for element in itertools.product(*map(range, block_shape)):
        starts = [e * d for e, d in zip(element, dilations, strict=True)]
        where = tuple(slice(b, b + s * (n - 1) + 1, s) for b, s, n in zip(starts, strides, blocks, strict=True))
        image[(slice(None), slice(None), *where)] += source[(slice(None), slice(None), *element)]
    inside = tuple(slice(pads[a], pads[a] + size) for a, size in enumerate(image_shape))
    return (image[(slice(None), slice(None), *inside)].astype(columns.dtype),)
