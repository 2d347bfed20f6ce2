"""Inputs that ScatterElements must get right: every axis, reduction and type; repeated, negative and wrong indices."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np

TYPES = (np.float32, np.float16, ml_dtypes.bfloat16, np.int32, np.int64)
REDUCTIONS = ("none", "add", "mul", "min", "max")


def cases(rng):
    shapes = [
        ((8,), (5,), 0),
        ((4, 3), (6, 2), 0),
        ((4, 3), (4, 7), -1),
        ((3, 2, 4), (2, 5, 4), 1),
        ((3, 2), (0, 2), 0),
    ]
    for (data, indices, axis), reduction, dtype, order in itertools.product(shapes, REDUCTIONS, TYPES, (0, 1)):
        size = data[axis]
        where = rng.integers(-size, size, indices).astype(np.int32 if order else np.int64)
        name = f"{data}-{indices}-{axis}-{reduction}-{np.dtype(dtype).name}-{order}"
        attributes = {"axis": axis, "reduction": reduction, "deterministic": order}
        yield name, [_values(rng, data, dtype), where, _values(rng, indices, dtype)], attributes
    for rows in (1, 31, 32, 33, 1023, 1025):
        inputs = [
            _values(rng, (50, 2), np.float32),
            rng.integers(0, 50, (rows, 2)),
            _values(rng, (rows, 2), np.float32),
        ]
        yield f"rows-{rows}", inputs, {"reduction": "add", "deterministic": 1}, None, 1e-3
    yield from _larger(rng)
    nan = np.array([np.nan, 1], np.float32)
    for reduction in ("min", "max"):
        yield f"nan-{reduction}", [np.ones(2, np.float32), np.array([0, 1]), nan], {"reduction": reduction}
    yield "outside", [np.ones(2, np.float32), np.array([-3, 2]), nan], {"reduction": "add"}


def _larger(rng):
    """More updates than a block has threads, all types; halves at odd places."""
    for reduction, dtype, order in itertools.product(REDUCTIONS, TYPES, (0, 1)):
        where = rng.integers(-300, 301, (150, 9))  # some outside
        inputs = [_values(rng, (300, 9), dtype), where, _values(rng, (150, 9), dtype)]
        name = f"larger-{reduction}-{np.dtype(dtype).name}-{order}"
        yield name, inputs, {"reduction": reduction, "deterministic": order}, None, 0.05 if reduction == "mul" else None
    odd = [np.zeros(7, np.float16), np.array([6, 0, 3]), np.array([1, 2, 3], np.float16)]
    yield "halves at both ends", odd, {"reduction": "add"}


def _values(rng, shape, dtype):
    if np.dtype(dtype).kind == "i":
        return rng.integers(-3, 4, shape).astype(dtype)
    return rng.uniform(0.5, 1.5, shape).astype(dtype)
