"""Inputs that ScatterND must get right: every reduction and type, repeated, negative and wrong indices, both orders."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np

TYPES = (np.float32, np.float16, ml_dtypes.bfloat16, np.int32, np.int64)
REDUCTIONS = ("none", "add", "mul", "min", "max")


def cases(rng):
    shapes = [((8,), (5, 1)), ((4, 3), (6, 1)), ((4, 3), (2, 5, 2)), ((3, 2, 4), (7, 2)), ((5, 2), (0, 1))]
    for (data, indices), reduction, dtype, order in itertools.product(shapes, REDUCTIONS, TYPES, (0, 1)):
        depth = indices[-1]
        where = np.stack([rng.integers(-size, size, indices[:-1]) for size in data[:depth]], axis=-1)
        updates = _values(rng, (*indices[:-1], *data[depth:]), dtype)
        name = f"{data}-{indices}-{reduction}-{np.dtype(dtype).name}-{order}"
        yield name, [_values(rng, data, dtype), where, updates], {"reduction": reduction, "deterministic": order}
    for rows in (1, 31, 32, 33, 1023, 1025):
        inputs = [
            _values(rng, (50, 2), np.float32),
            rng.integers(0, 50, (rows, 1)),
            _values(rng, (rows, 2), np.float32),
        ]
        yield f"rows-{rows}", inputs, {"reduction": "add", "deterministic": 1}, None, 1e-3
    yield from _larger(rng)
    nan = np.array([np.nan, 1], np.float32)
    for reduction in ("min", "max"):
        yield f"nan-{reduction}", [np.ones(2, np.float32), np.array([[0], [1]]), nan], {"reduction": reduction}
    yield "outside", [np.ones(2, np.float32), np.array([[-3], [2]]), nan], {"reduction": "add"}


def _larger(rng):
    """Wide rows, of whole and of broken packs of 16 bytes; one target for nearly all updates; few updates."""
    for width, reduction, dtype, order in itertools.product((64, 33), REDUCTIONS, TYPES, (0, 1)):
        where = rng.integers(-20, 21, (40, 1))  # some outside, many at one place
        inputs = [_values(rng, (20, width), dtype), where, _values(rng, (40, width), dtype)]
        name = f"width-{width}-{reduction}-{np.dtype(dtype).name}-{order}"
        yield name, inputs, {"reduction": reduction, "deterministic": order}, None, 0.05 if reduction == "mul" else None
    for dtype, order in itertools.product((np.float32, np.float16, ml_dtypes.bfloat16), (0, 1)):
        where = np.where(rng.random((700, 1)) < 0.5, 3, rng.integers(0, 40, (700, 1)))
        inputs = [np.zeros((40, 32), dtype), where, rng.integers(0, 2, (700, 32)).astype(dtype)]  # sums are exact
        inputs[2][rng.random(700) < 0.7] = 0
        yield f"one place-{np.dtype(dtype).name}-{order}", inputs, {"reduction": "add", "deterministic": order}
    sparse = [_values(rng, (300, 16), np.float32), np.array([[299], [0], [299]]), _values(rng, (3, 16), np.float32)]
    for reduction in ("none", "add"):
        yield f"few updates-{reduction}", sparse, {"reduction": reduction, "deterministic": 1}
    odd = [np.zeros(7, np.float16), np.array([[6], [0], [3]]), np.array([1, 2, 3], np.float16)]
    yield "halves at both ends", odd, {"reduction": "add"}


def _values(rng, shape, dtype):
    if np.dtype(dtype).kind == "i":
        return rng.integers(-3, 4, shape).astype(dtype)
    return rng.uniform(0.5, 1.5, shape).astype(dtype)
