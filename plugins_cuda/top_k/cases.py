"""Inputs that TopK must get right: every type and axis, ties, NaN, infinities, both zeros, K above TensorRT's 3,840."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np

TYPES = (np.float32, np.float16, ml_dtypes.bfloat16, np.int32, np.int64)


def cases(rng):
    for shape, dtype, largest in itertools.product([(9,), (3, 7), (2, 5, 4), (1, 1)], TYPES, (0, 1)):
        for axis in range(-len(shape), len(shape)):
            for k in sorted({0, 1, shape[axis]}):
                attributes = {"k": k, "axis": axis, "largest": largest}
                yield f"{shape}-{np.dtype(dtype).name}-{attributes}", [_values(rng, shape, dtype)], attributes
    special = [0.0, -0.0, np.nan, np.inf, -np.inf, 1, 1, -1, np.nan, 1e-40, -1e-40, 3e38]
    for dtype, largest in itertools.product((np.float32, np.float16, ml_dtypes.bfloat16), (0, 1)):
        with np.errstate(over="ignore"):
            yield (
                f"special-{np.dtype(dtype).name}-{largest}",
                [np.array(special).astype(dtype)],
                {"k": 12, "largest": largest},
            )
    edges = np.array([0, -1, 1, 2**31 - 1, -(2**31)], np.int32)
    yield "integer edges", [edges], {"k": 5}
    yield "long edges", [np.array([0, -1, 2**63 - 1, -(2**63)], np.int64)], {"k": 4, "largest": 0}
    for length in (31, 32, 33, 1023, 1025, 5000):
        yield f"length-{length}", [_values(rng, (2, length), np.float32)], {"k": length, "sorted": 0}
    yield "no lines", [np.zeros((0, 4), np.float32)], {"k": 2}


def _values(rng, shape, dtype):
    return rng.integers(-4, 5, shape).astype(dtype)  # few different values: many ties
