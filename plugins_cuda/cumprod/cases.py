"""Inputs that CumProd must get right: every axis, both flags, every type, lengths 0 and 1 and about a tile."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np

TYPES = (np.float32, np.float16, ml_dtypes.bfloat16, np.int32, np.int64)


def cases(rng):
    for shape, exclusive, reverse in itertools.product([(7,), (3, 5), (2, 3, 4), (1, 1)], (0, 1), (0, 1)):
        for axis in range(-len(shape), len(shape)):
            for dtype in TYPES:
                attributes = {"axis": axis, "exclusive": exclusive, "reverse": reverse}
                yield f"{shape}-{attributes}-{np.dtype(dtype).name}", [_values(rng, shape, dtype)], attributes
    for length in (0, 1, 31, 32, 33, 1023, 1025):
        yield f"length-{length}", [_values(rng, (3, length), np.float32)], {"axis": 1}
    yield "zero inside", [np.array([1.5, 0, np.inf, 2], np.float32)], {"axis": 0}
    yield "negative zero", [np.array([-0.0, 1, -1], np.float32)], {"axis": 0}


def _values(rng, shape, dtype):
    if np.dtype(dtype).kind == "i":
        return rng.integers(-3, 4, shape).astype(dtype)
    return (rng.choice([-1, 1], shape) * rng.uniform(0.97, 1.03, shape)).astype(dtype)
