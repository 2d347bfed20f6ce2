"""Inputs that a GridSample must get right: every mode, rank and type; points outside, on ties, NaN; sizes 0 and 1."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np

MODES = ("linear", "nearest", "cubic")
PADDINGS = ("zeros", "border", "reflection")


def cases(rng):
    types = (np.float32, np.float16, ml_dtypes.bfloat16)
    for rank, mode, padding, align in itertools.product((1, 2, 3), MODES, PADDINGS, (0, 1)):
        attributes = {"mode": mode, "padding_mode": padding, "align_corners": align}
        x = rng.normal(size=(2, 3, *rng.integers(1, 7, rank)))
        grid = rng.uniform(-3, 3, size=(2, *rng.integers(1, 6, rank), rank))
        name = f"{rank}d-{mode}-{padding}-{align}"
        for dtype in types:
            yield f"{name}-{np.dtype(dtype).name}", [x.astype(dtype), grid.astype(np.float32)], attributes
        yield f"{name}-grid16", [x.astype(np.float16), grid.astype(np.float16)], attributes
        yield f"{name}-edges", [_float(rng, (1, 1, *[4] * rank)), _edges(rank)], attributes
    x = _float(rng, (1, 1, 5, 5))
    for padding, value in itertools.product(PADDINGS, (np.nan, np.inf, -np.inf, 1e30, -1e30)):
        yield f"far-{padding}-{value}", [x, np.full((1, 1, 1, 2), value, np.float32)], {"padding_mode": padding}
    # Rows of positions as wide as a block of threads and wider; channels left over; points in and outside.
    for rank, mode, width, spread in itertools.product((2, 3), MODES, (32, 45), (0.9, 1.3)):
        grid = rng.uniform(-spread, spread, (2, *[3] * (rank - 2), 11, width, rank))
        for dtype in types:
            image = rng.normal(size=(2, 7, *[5, 9, 6][:rank])).astype(dtype)
            name = f"rows-{rank}d-{mode}-{width}-{spread}-{np.dtype(dtype).name}"
            yield name, [image, grid.astype(np.float32)], {"mode": mode}
    for positions in (0, 1, 31, 32, 33, 1023, 1025):
        yield f"positions-{positions}", [x, rng.uniform(-1, 1, (1, positions, 1, 2)).astype(np.float32)], {}
    for channels in (0, 1, 7, 64):
        yield (
            f"channels-{channels}",
            [_float(rng, (1, channels, 3, 3)), rng.uniform(-1, 1, (1, 2, 2, 2)).astype("f")],
            {},
        )


def _float(rng, shape):
    return rng.normal(size=shape).astype(np.float32)


def _edges(rank):
    """Exactly on borders, pixel centres and halfway between pixels of an axis of four."""
    values = np.array([-1.25, -1, -0.75, -0.5, -1 / 3, -0.25, 0, 0.25, 1 / 3, 0.5, 0.75, 1, 1.25], np.float32)
    return np.stack(np.meshgrid(*[values] * rank, indexing="ij"), axis=-1)[None]
