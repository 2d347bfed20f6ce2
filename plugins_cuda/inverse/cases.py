"""Inputs that Inverse must get right: orders 1 to 8, permutations, singular and badly scaled matrices, empty batches."""

from __future__ import annotations

import ml_dtypes
import numpy as np


def cases(rng):
    for order in range(1, 9):
        for batch in ((), (1,), (33,), (2, 3), (0,), (128,), (259,)):
            x = np.eye(order) * 2 + rng.uniform(-1, 1, (*batch, order, order)) * (1.5 / order)
            for dtype in (np.float32, np.float16, ml_dtypes.bfloat16):
                yield f"{order}-{batch}-{np.dtype(dtype).name}", [x.astype(dtype)], {}
        yield f"permutation-{order}", [rng.permutation(np.eye(order)).astype(np.float32)], {}
        yield f"random-{order}", [rng.normal(size=(20, order, order)).astype(np.float32)], {}, None, 2e-3
    yield "zero pivot", [np.array([[0, 1, 2], [1, 0, 3], [4, -3, 8]], np.float32)], {}, None, 1e-4
    yield "singular", [np.array([[1, 2], [2, 4]], np.float32)], {}
    yield "zeros", [np.zeros((2, 3, 3), np.float32)], {}
    yield "scaled", [np.diag([1e-8, 1e4, 1e3]).astype(np.float32)], {}
