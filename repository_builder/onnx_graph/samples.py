"""Inputs for running a graph whose meaning we do not know: valid for most graphs, seeded, of any size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from repository_builder.tensor import NUMPY_OF, Interface, Tensor

Arrays = dict[str, Any]

EDGE_KINDS = ("random", "zeros", "large", "negative")
"""Kinds of inputs that `generate` knows."""


def generate(interface: Interface, sizes: Mapping[str, int], *, seed: int = 0, kind: str = "random") -> Arrays:
    """One array per input; `sizes` gives each dynamic dim. Integers are 0 or 1: valid as index, mask or token."""
    import numpy as np

    random = np.random.default_rng(seed)
    return {tensor.name: _array(tensor, shape_of(tensor, sizes), random, kind) for tensor in interface.inputs}


def shape_of(tensor: Tensor, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """The tensor's shape with every dynamic dim replaced."""
    return tuple(dim if isinstance(dim, int) else sizes[dim] for dim in tensor.shape)


def symbols(interface: Interface) -> tuple[str, ...]:
    """Names of the dynamic dims of the inputs, in order."""
    return tuple(dict.fromkeys(dim for tensor in interface.inputs for dim in tensor.shape if isinstance(dim, str)))


def rows(arrays: Arrays, start: int, stop: int) -> Arrays:
    """Part of a batch."""
    return {name: array[start:stop] for name, array in arrays.items()}


def candidates(interface: Interface, batch: str | None, count: int) -> Iterator[dict[str, int]]:
    """Sizes to try for a graph that does not say which it takes: the batch is `count`, other dims small first."""
    others = [name for name in symbols(interface) if name != batch]
    base = {batch: count} if batch else {}
    for size in (16, 64, 224, 8, 512, 1) if others else (0,):
        yield base | dict.fromkeys(others, size)


def _array(tensor: Tensor, shape: tuple[int, ...], random: Any, kind: str) -> Any:
    import numpy as np

    if tensor.dtype == "STRING":
        return np.full(shape, "a b", dtype=object)
    dtype = _numpy_dtype(tensor.dtype)
    if tensor.dtype == "BOOL":
        return (random.random(shape) < 0.5) if kind != "zeros" else np.zeros(shape, dtype)
    if tensor.dtype.startswith(("INT", "UINT")):
        return random.integers(*_integer_range(tensor.dtype, kind), shape, endpoint=True).astype(dtype)
    values = random.standard_normal(shape)
    scaled = {"random": values, "zeros": values * 0, "large": values * 10, "negative": -np.abs(values)}[kind]
    return np.asarray(scaled, dtype)


def _integer_range(dtype: str, kind: str) -> tuple[int, int]:
    """Lowest and highest value. INT32 and INT64 may be indices or shapes, so they stay small; others get their range."""
    if kind in {"random", "zeros"}:
        return 0, int(kind == "random")
    if dtype in {"INT32", "INT64"}:
        return (1, 1) if kind == "large" else (-3, 7)
    bits = int(dtype.lstrip("UINT"))
    if dtype.startswith("U"):
        return 1, 2 ** min(bits, 63) - 1
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def _numpy_dtype(dtype: str) -> Any:
    import numpy as np

    if dtype == "BF16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(NUMPY_OF[dtype])
