"""ScatterElements: the definition of correct (ONNX ScatterElements-18)."""

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
    axis: int = 0,
    reduction: str = "none",
    deterministic: int = 1,  # noqa: ARG001
) -> tuple[NDArray]:
    """`data` with each element of `updates` combined in, in row-major order; indices outside are ignored."""
    result = data.copy()
    size = data.shape[axis]
    for place in np.ndindex(*indices.shape):
        index = int(indices[place])
        index = index + size if index < 0 else index
        if 0 <= index < size:
            target = list(place)
            target[axis] = index
            with np.errstate(over="ignore", invalid="ignore"):
                result[tuple(target)] = COMBINE[reduction](result[tuple(target)], updates[place])
    return (result,)
