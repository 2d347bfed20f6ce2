"""Inputs that CumProd must get right: every axis, both flags, every type, sizes about accesses, tiles and groups of tiles."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np

TYPES = (np.float32, np.float16, ml_dtypes.bfloat16, np.int32, np.int64)
FLAGS = tuple(itertools.product((0, 1), (0, 1)))


def cases(rng):
    for shape, (exclusive, reverse) in itertools.product([(7,), (3, 5), (2, 3, 4), (1, 1)], FLAGS):
        for axis in range(-len(shape), len(shape)):
            for dtype in TYPES:
                attributes = {"axis": axis, "exclusive": exclusive, "reverse": reverse}
                yield f"{shape}-{attributes}-{np.dtype(dtype).name}", [_values(rng, shape, dtype)], attributes
    for length in (0, 1, 31, 32, 33, 1023, 1025):
        yield f"length-{length}", [_values(rng, (3, length), np.float32)], {"axis": 1}
    yield "zero inside", [np.array([1.5, 0, np.inf, 2], np.float32)], {"axis": 0}
    yield "negative zero", [np.array([-0.0, 1, -1], np.float32)], {"axis": 0}
    yield from _tiled(rng)


def _tiled(rng):
    """Every way that the kernels divide a tensor: short and long lines, few and many, with and without wide accesses."""
    innermost = [(5, 8), (3, 24), (2, 64), (9, 200), (2, 1024), (3, 2048), (2, 3000), (2, 9000), (4, 24575), (1, 70016)]
    shapes = [(shape, 1) for shape in innermost] + [((4100, 1, 520), 2), ((2, 8 * 2048 * 3), 1), ((1, 2048 * 260), 1)]
    shapes += [((40, 3), 0), ((300, 8), 0), ((129, 64), 0), ((500, 33), 0), ((2, 700, 136), 1), ((2300, 40), 0)]
    shapes += [((6000, 24), 0), ((2, 3, 41, 32), 2), ((70000, 3), 0), ((4100, 20, 40), 1), ((520, 300, 4), 1)]
    for index, (shape, axis) in enumerate(shapes):
        for dtype in (np.float32, np.float16, TYPES[index % len(TYPES)]):
            exclusive, reverse = FLAGS[(index + (dtype == np.float16)) % len(FLAGS)]
            attributes = {"axis": axis, "exclusive": exclusive, "reverse": reverse}
            yield f"tiled-{shape}-{attributes}-{np.dtype(dtype).name}", [_steady(rng, shape, dtype)], attributes


def _values(rng, shape, dtype):
    if np.dtype(dtype).kind == "i":
        return rng.integers(-3, 4, shape).astype(dtype)
    return (rng.choice([-1, 1], shape) * rng.uniform(0.97, 1.03, shape)).astype(dtype)


def _steady(rng, shape, dtype):
    """Numbers whose product neither grows nor shrinks however long the line: powers of two that meet their inverses."""
    if np.dtype(dtype).kind == "i":
        return (2 * rng.integers(-3, 4, shape) + 1).astype(dtype)  # odd: never 0, however far it wraps
    exponents = rng.integers(-2, 3, shape)
    exponents[..., 1::2] = -exponents[..., : exponents.shape[-1] // 2 * 2 : 2]
    if len(shape) > 1:
        exponents[..., 1::2, :] = -exponents[..., : shape[-2] // 2 * 2 : 2, :]
    return (rng.choice([-1, 1], shape) * 2.0**exponents).astype(dtype)
