"""TopK: the definition of correct (ONNX TopK-24)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def reference(
    x: NDArray,
    *,
    k: int,
    axis: int = -1,
    largest: int = 1,
    sorted: int = 1,  # noqa: A002, ARG001  (ONNX's name)
) -> tuple[NDArray, NDArray]:
    """The first `k` along `axis` in descending (ascending) order and their indices; of equals the lower index first.

    NaN is greater than every number; -0 equals 0. The order is given with `sorted` 0 as well.
    """
    line = np.moveaxis(x, axis, -1)
    if line.dtype.kind == "i":
        return _first(line, (~line if largest else line,), k, axis)
    wide = line.astype(np.float64)
    nan = np.isnan(wide)
    return _first(line, (np.where(nan, 0, -wide if largest else wide), ~nan if largest else nan), k, axis)


def _first(line: NDArray, keys: tuple[NDArray, ...], k: int, axis: int) -> tuple[NDArray, NDArray]:
    """The first k in ascending order of `keys`, the last of which counts most; lexsort is stable."""
    order = np.lexsort(keys, axis=-1)[..., :k]
    values = np.take_along_axis(line, order, axis=-1)
    return np.moveaxis(values, -1, axis), np.moveaxis(order, -1, axis).astype(np.int64)
