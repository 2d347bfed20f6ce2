"""Profiles from recorded request shapes: the k profiles that cost the least padded work, by dynamic programming.

Requests are grouped along one dimension at a time (the batch, or a sequence length); a group becomes a profile, and a
request in it costs the volume of the group's largest shape. Groups are contiguous along that dimension, so the
optimum over all partitions follows from the optimum over prefixes: O(k·n²) for n distinct sizes.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from repository_builder.errors import Problem, SpecError
from repository_builder.shapes.profile import Profile, Range, Shape, batch_dim, concrete
from repository_builder.tensor import Tensor

Sizes = tuple[int, ...]
"""Sizes of the dynamic dimensions of one request, in the order of `Traffic.symbols`."""


@dataclass(frozen=True)
class Traffic:
    """Recorded requests: how often each combination of dynamic sizes was asked for."""

    inputs: tuple[Tensor, ...]
    symbols: tuple[str, ...]
    counts: Mapping[Sizes, int]

    @cached_property
    def total(self) -> int:
        """Number of recorded requests."""
        return sum(self.counts.values())

    def volume(self, sizes: Sizes) -> int:
        """Elements of all inputs for these sizes: the work that one execution is taken to cost."""
        shapes = concrete(self.inputs, dict(zip(self.symbols, sizes, strict=True)))
        return sum(math.prod(shape) for shape in shapes.values())

    def shapes(self, sizes: Sizes) -> dict[str, Shape]:
        """Full shapes of all inputs for these sizes."""
        return concrete(self.inputs, dict(zip(self.symbols, sizes, strict=True)))


@dataclass(frozen=True)
class Suggestion:
    """Profiles, the dimension along which they are split, and the share of their work that is padding."""

    profiles: tuple[Profile, ...]
    axis: str
    waste: float
    """Padded elements divided by all elements computed: 0 is none."""
    requests: tuple[int, ...]
    """Recorded requests per profile."""
    wastes: tuple[float, ...]
    """Waste of each profile alone."""


def read_traffic(path: Path, inputs: Sequence[Tensor]) -> Traffic:
    """Read JSON lines like `{"image": [4, 1, 8, 8]}`, optionally `{"shapes": {…}, "count": 12}`; all problems at
    once.
    """
    symbols = tuple(dict.fromkeys(dim for t in inputs for dim in t.shape if isinstance(dim, str)))
    if not symbols:
        raise SpecError("there is nothing to choose: the graph has no dynamic dimension", where=path)
    counts: Counter[Sizes] = Counter()
    problems: list[Problem] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"cannot read recorded requests from {path}", why=str(error)) from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                sizes, count = _request(line, inputs, symbols)
                counts[sizes] += count
            except ValueError as error:
                problems.append(Problem("a recorded request cannot be used", f"{path}:{number}", str(error)))
    if not counts and not problems:
        problems.append(Problem("no request is recorded", str(path), fix='write lines like {"image": [4, 1, 8, 8]}'))
    if problems:
        raise SpecError.many(problems)
    return Traffic(tuple(inputs), symbols, dict(counts))


def suggest(traffic: Traffic, k: int) -> Suggestion:
    """At most `k` profiles with the least padded work, over every dimension along which they may be split.

    Together the profiles cover the batch from 1 and every size up to the largest one recorded, without a gap.
    """
    options = [_along(traffic, axis, k) for axis in range(len(traffic.symbols))]
    return min(options, key=lambda option: (option.waste, len(option.profiles)))


def _request(line: str, inputs: Sequence[Tensor], symbols: Sequence[str]) -> tuple[Sizes, int]:
    record = json.loads(line)
    if not isinstance(record, dict):
        raise ValueError('not an object like {"image": [4, 1, 8, 8]}')
    shapes = record.get("shapes", record)
    count = record.get("count", 1) if "shapes" in record else 1
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"count is {count!r}")
    sizes: dict[str, int] = {}
    for tensor in inputs:
        shape = shapes.get(tensor.name)
        if not isinstance(shape, list) or len(shape) != len(tensor.shape):
            raise ValueError(f"input `{tensor.name}` has the shape {shape}, but the graph has {tensor}")
        for axis, (size, dim) in enumerate(zip(shape, tensor.shape, strict=True)):
            expected = dim if isinstance(dim, int) else sizes.setdefault(dim, size)
            if not isinstance(size, int) or size < 1 or size != expected:
                raise ValueError(f"dimension {axis} of `{tensor.name}` is {size!r}, expected {expected} ({tensor})")
    return tuple(sizes[symbol] for symbol in symbols), count


def _along(traffic: Traffic, axis: int, k: int) -> Suggestion:
    """The best partition of the requests into at most k groups contiguous along one dimension."""
    points = sorted({sizes[axis] for sizes in traffic.counts})
    hull = _hull(traffic.counts)
    groups = {
        (start, end): _group(traffic, axis, points[start], points[end - 1], hull)
        for start, end in itertools.combinations(range(len(points) + 1), 2)
    }
    best: list[dict[int, tuple[int, tuple[int, ...]]]] = [{0: (0, ())}]
    for _ in range(min(k, len(points))):
        row: dict[int, tuple[int, tuple[int, ...]]] = {}
        for (start, end), (work, _) in groups.items():
            if start in best[-1]:
                cost = best[-1][start][0] + work
                if end not in row or cost < row[end][0]:
                    row[end] = (cost, (*best[-1][start][1], end))
        best.append(row)
    work, ends = min((row[len(points)] for row in best if len(points) in row), key=lambda found: found[0])
    return _suggestion(traffic, axis, points, ends, work)


def _group(traffic: Traffic, axis: int, low: int, high: int, hull: Sizes) -> tuple[int, int]:
    """Work and requests of one group: every request is padded to the largest shape of its profile."""
    count = sum(n for sizes, n in traffic.counts.items() if low <= sizes[axis] <= high)
    largest = tuple(high if i == axis else size for i, size in enumerate(hull))
    return count * traffic.volume(largest), count


def _hull(counts: Mapping[Sizes, int]) -> Sizes:
    return tuple(map(max, zip(*counts, strict=True)))


def _suggestion(traffic: Traffic, axis: int, points: list[int], ends: tuple[int, ...], work: int) -> Suggestion:
    hull = _hull(traffic.counts)
    batch = batch_dim(traffic.inputs)
    seen = tuple(map(min, zip(*traffic.counts, strict=True)))
    lows = tuple(1 if symbol == batch else low for symbol, low in zip(traffic.symbols, seen, strict=True))
    profiles, requests, wastes = [], [], []
    previous = lows[axis] - 1
    for number, end in enumerate(ends, 1):
        high = points[end - 1]
        inside = {sizes: n for sizes, n in traffic.counts.items() if previous < sizes[axis] <= high}
        low_corner = tuple(previous + 1 if i == axis else low for i, low in enumerate(lows))
        high_corner = tuple(high if i == axis else size for i, size in enumerate(hull))
        opt = _usual(inside)
        corners = [traffic.shapes(sizes) for sizes in (low_corner, opt, high_corner)]
        name = f"{traffic.symbols[axis]}_{high}" if len(ends) > 1 else "default"
        ranges = {t.name: Range(*(corner[t.name] for corner in corners)) for t in traffic.inputs}
        profiles.append(Profile(_identifier(name, number), ranges))
        requests.append(sum(inside.values()))
        wastes.append(1 - _used(traffic, inside) / (sum(inside.values()) * traffic.volume(high_corner)))
        previous = high
    waste = 1 - _used(traffic, traffic.counts) / work
    return Suggestion(tuple(profiles), traffic.symbols[axis], waste, tuple(requests), tuple(wastes))


def _usual(counts: Mapping[Sizes, int]) -> Sizes:
    """The most frequent request; of equally frequent ones the largest."""
    return max(counts, key=lambda sizes: (counts[sizes], sizes))


def _used(traffic: Traffic, counts: Mapping[Sizes, int]) -> int:
    return sum(n * traffic.volume(sizes) for sizes, n in counts.items())


def _identifier(name: str, number: int) -> str:
    return name if name.replace("_", "").isalnum() else f"profile_{number}"
