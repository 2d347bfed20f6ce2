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
    nan = np.array([np.nan, 1], np.float32)
    for reduction in ("min", "max"):
        yield f"nan-{reduction}", [np.ones(2, np.float32), np.array([[0], [1]]), nan], {"reduction": reduction}
    yield "outside", [np.ones(2, np.float32), np.array([[-3], [2]]), nan], {"reduction": "add"}


def _values(rng, shape, dtype):
    if np.dtype(dtype).kind == "i":
        return rng.integers(-3, 4, shape).astype(dtype)
    return rng.uniform(0.5, 1.5, shape).astype(dtype)
