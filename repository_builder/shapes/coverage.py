"""The proof that every shape which may be served fits exactly one optimization profile, and Triton's own choice.

All profiles are boxes over the graph's dynamic dimensions. Cutting every axis wherever a profile begins or ends
gives cells in which the answer to "which profiles fit?" is constant, so looking at one corner of each cell is a
proof for all shapes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from repository_builder.errors import Problem
from repository_builder.shapes.profile import Profile, Shape, batch_dim, concrete, symbol_ranges, text
from repository_builder.tensor import Tensor


@dataclass(frozen=True)
class Cell:
    """A box of shapes that the same profiles fit."""

    low: Mapping[str, int]
    high: Mapping[str, int]
    profiles: tuple[int, ...]
    """Indexes of the profiles that hold these shapes."""


def cells(profiles: Sequence[Profile], inputs: Sequence[Tensor], *, max_batch: int | None = None) -> Iterator[Cell]:
    """Every cell of the served shapes: the hull of all profiles, the batch from 1 to `max_batch` (default: the
    largest).
    """
    boxes = [symbol_ranges(profile, inputs) for profile in profiles]
    batch = batch_dim(inputs)
    axes = []
    for symbol in boxes[0]:
        low, high = min(box[symbol][0] for box in boxes), max(box[symbol][1] for box in boxes)
        if symbol == batch:
            low, high = 1, max_batch or high
        cuts = {low, high + 1} | {cut for box in boxes for cut in (box[symbol][0], box[symbol][1] + 1)}
        inside = sorted(cut for cut in cuts if low <= cut <= high + 1)
        axes.append([(start, end - 1) for start, end in itertools.pairwise(inside)])
    for intervals in itertools.product(*axes):
        lows = {symbol: start for symbol, (start, _) in zip(boxes[0], intervals, strict=True)}
        highs = {symbol: end for symbol, (_, end) in zip(boxes[0], intervals, strict=True)}
        fits = tuple(i for i, box in enumerate(boxes) if all(box[s][0] <= lows[s] <= box[s][1] for s in box))
        yield Cell(lows, highs, fits)


def faults(
    profiles: Sequence[Profile], inputs: Sequence[Tensor], *, max_batch: int | None = None, where: str = "profiles"
) -> list[Problem]:
    """Holes (shapes that no profile fits) and overlaps (shapes that several fit); empty if the profiles are proven.

    A hole fails when a request of that shape comes. In an overlap Triton chooses by a distance that compares each
    dimension but the batch with its neighbour, so the choice is an accident (tensorrt_backend,
    EvaluateTensorRTContext).
    """
    problems = []
    for cell in cells(profiles, inputs, max_batch=max_batch):
        low, high = text(concrete(inputs, cell.low)), text(concrete(inputs, cell.high))
        span = low if low == high else f"{low} … {high}"
        if not cell.profiles:
            problems.append(
                Problem(
                    f"no optimization profile fits {low}",
                    where,
                    f"{span} may be asked for, but lies in none of {_names(profiles)}",
                    "extend a profile, add one, or lower the largest batch and shapes",
                )
            )
        elif len(cell.profiles) > 1:
            names = _names([profiles[i] for i in cell.profiles])
            problems.append(
                Problem(
                    f"profiles {names} overlap at {low}",
                    where,
                    f"{span} fits each of them; Triton's choice between them is arbitrary",
                    "let each profile begin where the one before ends",
                )
            )
    return problems


def triton_choice(
    profiles: Sequence[Profile], listed: Sequence[int], shapes: Mapping[str, Shape], batch: int
) -> int | None:
    """The profile that Triton's TensorRT backend runs for full `shapes`, or None where it logs an error and fails.

    Source: tensorrt_backend, instance_state.cc, GetMostOptimizedProfile and EvaluateTensorRTContext (main, 2026-07):
    the smallest Manhattan distance to `opt` wins, the lower index on ties, and dimension i ≥ 1 of `opt` is compared
    with dimension i − 1.
    """
    if len(listed) == 1:
        return listed[0] if profiles[listed[0]].holds(shapes) else None
    valid = [index for index in sorted(listed) if profiles[index].holds(shapes)]
    return min(valid, key=lambda index: (_distance(profiles[index], shapes, batch), index), default=None)


def _distance(profile: Profile, shapes: Mapping[str, Shape], batch: int) -> int:
    return sum(
        abs(bounds.opt[0] - batch)
        + sum(abs(opt - shapes[name][axis]) for axis, opt in enumerate(bounds.opt[1:]))  # off by one, as in the source
        for name, bounds in profile.shapes.items()
    )


def _names(profiles: Sequence[Profile]) -> str:
    return ", ".join(f"`{profile.name}`" for profile in profiles)
