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
    yield from _long_lines(rng)


def _long_lines(rng):
    """Lines that are searched digit by digit on a GPU: few of them, many of them, K at and across edges, mostly ties."""
    length = 8193  # just too long for the way of short lines
    for dtype, k in itertools.product(TYPES, (1, 2, 2047, 2048, 2049, length // 2)):
        yield f"ties-{np.dtype(dtype).name}-{k}", [_values(rng, (2, length), dtype)], {"k": k, "largest": k % 2}
    equal = np.full((1, 20011), 1.5, np.float32)
    for k in (1, 4000, 10005, 20010, 20011):
        yield f"all equal-{k}", [equal], {"k": k}
    for dtype, largest in itertools.product((np.float32, np.float16, ml_dtypes.bfloat16), (0, 1)):
        wide = (rng.standard_normal((1, 30011)) * 100).astype(dtype)
        wide[0, ::7], wide[0, 3::11], wide[0, 5::13] = np.nan, -0.0, 0.0
        yield f"wide-{np.dtype(dtype).name}-{largest}", [wide], {"k": 9000 if largest else 4001, "largest": largest}
    every = rng.integers(-(2**63), 2**63 - 1, (1, 16390), np.int64)
    yield "all digits of INT64", [every], {"k": 8200, "largest": 0}
    yield "all digits of INT32", [(every >> 32).astype(np.int32)], {"k": 5000}
    yield "an axis in the middle", [_values(rng, (1, 9001, 3), np.float16)], {"k": 3841, "axis": 1}
    yield "many lines", [_values(rng, (300, 1001), np.float32)], {"k": 400}
    yield "many lines, an axis in front", [_values(rng, (1001, 300), np.int32)], {"k": 1, "axis": 0}
    yield "many lines, few elements", [_values(rng, (5003, 3), ml_dtypes.bfloat16)], {"k": 2}


def _values(rng, shape, dtype):
    return rng.integers(-4, 5, shape).astype(dtype)  # few different values: many ties
