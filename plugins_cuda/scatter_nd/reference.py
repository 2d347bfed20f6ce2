"""ScatterND: the definition of correct (ONNX ScatterND-18)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

COMBINE = {
    "none": lambda _, new: new,
    "add": lambda old, new: old + new,
    "mul": lambda old, new: old * new,
    "min": np.minimum,
    "max": np.maximum,
}


def reference(
    data: NDArray,
    indices: NDArray,
    updates: NDArray,
    *,
    reduction: str = "none",
    deterministic: int = 1,  # noqa: ARG001
) -> tuple[NDArray]:
    """`data` with each slice of `updates` combined in, in the order of the indices; indices outside are ignored."""
    result = data.copy()
    depth = indices.shape[-1]
    sizes = np.array(data.shape[:depth])
    rows = indices.reshape(-1, depth)
    slices = updates.reshape(len(rows), *data.shape[depth:])
    for row, update in zip(np.where(rows < 0, rows + sizes, rows), slices, strict=True):
        if np.all((row >= 0) & (row < sizes)):
            with np.errstate(over="ignore", invalid="ignore"):
                result[tuple(row)] = COMBINE[reduction](result[tuple(row)], update)
    return (result,)
