"""Inverse: the definition of correct (ONNX Runtime's com.microsoft.Inverse, torch.linalg.inv)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def reference(x: NDArray) -> tuple[NDArray]:
    """Inverses of the matrices in the last two axes; in float64, rounded once; NaN for a singular matrix."""
    order = x.shape[-1]
    matrices = x.astype(np.float64).reshape(-1, order, order)
    inverses = [_inverse(matrix) for matrix in matrices]
    return (np.array(inverses, np.float64).reshape(x.shape).astype(x.dtype),)


def _inverse(matrix: NDArray) -> NDArray:
    try:
        return np.linalg.inv(matrix)
    except np.linalg.LinAlgError:
        return np.full_like(matrix, np.nan)
