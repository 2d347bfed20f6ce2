"""Token vectors to one vector per text. Pure NumPy, in FP32."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def mean(vectors: Array, mask: Array | None) -> Array:
    """[n, tokens, dim] and mask [n, tokens] → [n, dim]: the mean of the vectors whose mask is not 0.

    Rows without any such vector become 0.
    """
    vectors = vectors.astype(np.float32, copy=False)
    if mask is None:
        return vectors.mean(axis=1) if vectors.shape[1] else np.zeros((len(vectors), vectors.shape[2]), np.float32)
    weights = (mask != 0).astype(np.float32)
    # Where the mask is 0 the vector may be anything, also NaN, which a product with 0 would keep.
    kept = np.where(weights[:, :, np.newaxis] > 0, vectors, np.float32(0))
    counts = np.maximum(weights.sum(axis=1, keepdims=True), np.float32(1))
    return np.asarray(kept.sum(axis=1) / counts)


def normalise(vectors: Array, epsilon: float) -> Array:
    """Vectors divided by their L2 norm, or by `epsilon` where that is larger."""
    norms = np.sqrt(np.square(vectors).sum(axis=-1, keepdims=True))
    return np.asarray(vectors / np.maximum(norms, np.float32(epsilon)))
