"""Pooling with dilation, other norms, or indices, which TensorRT lacks: one strided slice per place of the kernel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from itertools import product
from math import prod
from typing import Any

from repository_builder.onnx_graph.rewrite import FLOATS, Builder, Repair

_MOST_TAPS = 343


@dataclass(frozen=True)
class _Window:
    """Geometry of a pooling, per spatial axis."""

    size: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]
    """Padding that the node declares behind the data; `needed` may be more (ceil_mode)."""
    result: tuple[int, ...]

    @property
    def needed(self) -> tuple[int, ...]:
        """Padding behind the data that the last window reaches."""
        reach = [
            (n - 1) * s + (k - 1) * d + 1
            for n, s, k, d in zip(self.result, self.strides, self.kernel, self.dilations, strict=True)
        ]
        return tuple(max(0, r - i - p) for r, i, p in zip(reach, self.size, self.begin, strict=True))

    @property
    def taps(self) -> list[tuple[int, ...]]:
        """Offsets of all places of the kernel."""
        steps = [[k * d for k in range(size)] for size, d in zip(self.kernel, self.dilations, strict=True)]
        return list(product(*steps))


def rewrite(b: Builder) -> bool:
    """One slice per tap, joined by Max or Sum."""
    window = _window(b)
    if window is None or prod(window.kernel) > _MOST_TAPS or b.facts.dtype(b.input(0)) not in FLOATS:
        return False
    if b.node.op_type == "MaxPool":
        return _maximum(b, window)
    if b.node.op_type == "AveragePool":
        total = reduce(b.Add, _slices(b, b.input(0), window, 0.0))
        b.give(b.Div(total, b.like(_counts(window, bool(b.attributes.get("count_include_pad", 0))), b.input(0))))
        return True
    power = float(b.attributes.get("p", 2))
    p, root = b.like(power, b.input(0)), b.like(1 / power, b.input(0))
    powers = _slices(b, b.Pow(b.Abs(b.input(0)), p), window, 0.0)
    b.give(b.Pow(reduce(b.Add, powers), root))
    return True


def _maximum(b: Builder, window: _Window) -> bool:
    slices = _slices(b, b.input(0), window, float("-inf"))
    b.give(reduce(b.Max, slices))
    if not b.output(1):
        return True
    shape = b.facts.static(b.input(0))
    if shape is None or b.attributes.get("storage_order", 0):
        return False
    stacked = b.op("Concat", [b.Unsqueeze(part, b.const([0])) for part in slices], axis=0)[0]
    best = b.ArgMax(stacked, axis=0, keepdims=0)
    places = _positions(window)
    index = reduce(b.Add, [b.Where(b.Equal(best, b.const(k)), b.const(p), b.const(0)) for k, p in enumerate(places)])
    planes = b.const(_plane_offsets(shape))
    b.give(b.Add(index, planes), 1)
    return True


def _slices(b: Builder, value: str, window: _Window, filler: float) -> list[str]:
    rank = len(window.size)
    axes = b.const(list(range(2, 2 + rank)))
    pads = [0, 0, *window.begin, 0, 0, *window.needed]
    padded = b.Pad(value, b.const(pads), b.like(filler, b.input(0))) if any(pads) else value
    steps = b.const(list(window.strides))
    found = []
    for offset in window.taps:
        ends = [o + (n - 1) * s + 1 for o, n, s in zip(offset, window.result, window.strides, strict=True)]
        found.append(b.Slice(padded, b.const(list(offset)), b.const(ends), axes, steps))
    return found


def _counts(window: _Window, with_padding: bool) -> Any:
    """How many places of each window count: those inside the data, or inside the declared padding too."""
    import numpy as np

    per_axis = []
    for axis, (size, n) in enumerate(zip(window.size, window.result, strict=True)):
        start = np.arange(n)[:, None] * window.strides[axis] - window.begin[axis]
        places = start + np.arange(window.kernel[axis]) * window.dilations[axis]
        low, high = (-window.begin[axis], size + window.end[axis]) if with_padding else (0, size)
        per_axis.append(((places >= low) & (places < high)).sum(axis=1))
    return reduce(np.multiply.outer, per_axis)[None, None].astype(np.float64)


def _positions(window: _Window) -> list[Any]:
    """For each tap, the flat index into the data's plane that every window reads there."""
    import numpy as np

    strides = [prod(window.size[axis + 1 :]) for axis in range(len(window.size))]
    found = []
    for offset in window.taps:
        parts = [
            (np.arange(n) * window.strides[axis] - window.begin[axis] + offset[axis]) * strides[axis]
            for axis, n in enumerate(window.result)
        ]
        found.append(reduce(np.add.outer, parts))
    return found


def _plane_offsets(shape: tuple[int, ...]) -> Any:
    import numpy as np

    plane = prod(shape[2:])
    planes = np.arange(shape[0] * shape[1]) * plane
    return planes.reshape(shape[0], shape[1], *[1] * (len(shape) - 2))


def _window(b: Builder) -> _Window | None:
    data, result = b.facts.shape(b.input(0)), b.facts.shape(b.output(0))
    if data is None or result is None:
        return None
    size, wanted = ([d for d in shape[2:] if isinstance(d, int)] for shape in (data, result))
    rank = len(data) - 2
    if len(size) != rank or len(wanted) != rank:
        return None
    kernel = tuple(b.attributes["kernel_shape"])
    strides = tuple(b.attributes.get("strides", [1] * rank))
    dilations = tuple(b.attributes.get("dilations", [1] * rank))
    pads = tuple(b.attributes.get("pads", [0] * 2 * rank))
    kind = b.attributes.get("auto_pad", "NOTSET")
    if kind.startswith("SAME"):
        total = [
            max(0, (n - 1) * s + (k - 1) * d + 1 - i)
            for n, s, k, d, i in zip(wanted, strides, kernel, dilations, size, strict=True)
        ]
        begin = [t // 2 if kind == "SAME_UPPER" else t - t // 2 for t in total]
        pads = (*begin, *(t - p for t, p in zip(total, begin, strict=True)))
    elif kind == "VALID":
        pads = (0,) * 2 * rank
    return _Window(tuple(size), kernel, strides, dilations, pads[:rank], pads[rank:], tuple(wanted))


REPAIR = Repair(
    "pooling",
    "write pooling with dilation, indices or another norm as strided slices",
    ("MaxPool", "AveragePool", "LpPool"),
    rewrite,
    exact_on_special_values=False,
)
