"""Scores of classes to the best ones. Pure NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def softmax(scores: Array) -> Array:
    """Probabilities along the last axis, in FP32; rows with NaN or +inf become NaN."""
    with np.errstate(invalid="ignore", over="ignore"):
        shifted = scores.astype(np.float32) - scores.max(axis=-1, keepdims=True).astype(np.float32)
        powers = np.exp(shifted)
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def best(scores: Array, k: int) -> Array:
    """Indices [n, k] of the k largest of each row, best first; of equal ones the lower index comes first."""
    n, classes = scores.shape
    if k == classes:
        return np.argsort(-scores, axis=-1, kind="stable")
    candidates = np.sort(np.argpartition(-scores, k, axis=-1)[:, :k], axis=-1)
    values = np.take_along_axis(scores, candidates, axis=-1)
    order = np.argsort(-values, axis=-1, kind="stable")
    chosen = np.take_along_axis(candidates, order, axis=-1)
    last = values.min(axis=-1, keepdims=True)
    # argpartition takes any of several that are equal to the last one: such rows are sorted whole.
    tied = np.flatnonzero((scores == last).sum(-1) > (values == last).sum(-1)) if n else ()
    for row in tied:
        chosen[row] = np.argsort(-scores[row], kind="stable")[:k]
    return chosen


def labels_of(text: str) -> list[str]:
    """One label per line; blank lines at the end do not count."""
    return text.rstrip().splitlines()
