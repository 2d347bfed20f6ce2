"""Optimization profiles as values, and everything that can be wrong with them before an engine is built."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from repository_builder.errors import Problem, SpecError, nearest
from repository_builder.tensor import Dim, Tensor

Shape = tuple[int, ...]
Bounds = Mapping[str, tuple[int, int, int]]
"""Name of a dynamic dimension → its smallest, usual and largest size."""

INFERRED_BATCH = (1, 8, 32)
"""Batches of the profile that is inferred when nobody says otherwise."""


@dataclass(frozen=True)
class Range:
    """Smallest, optimal and largest full shape of one input, batch included."""

    min: Shape
    opt: Shape
    max: Shape

    def holds(self, shape: Sequence[int]) -> bool:
        """Whether a full shape lies within the range."""
        return len(shape) == len(self.min) and all(
            low <= size <= high for low, size, high in zip(self.min, shape, self.max, strict=True)
        )

    def as_json(self) -> dict[str, list[int]]:
        """The range as plain JSON values."""
        return {"min": list(self.min), "opt": list(self.opt), "max": list(self.max)}


@dataclass(frozen=True)
class Profile:
    """A named optimization profile: one range for every input."""

    name: str
    shapes: Mapping[str, Range]

    def holds(self, shapes: Mapping[str, Sequence[int]]) -> bool:
        """Whether the full shapes of all inputs lie within the profile."""
        return all(name in shapes and bounds.holds(shapes[name]) for name, bounds in self.shapes.items())

    def batch(self, which: str) -> int:
        """The batch at `min`, `opt` or `max`: the first dimension, over which all inputs agree; 1 for scalars."""
        sizes: Iterable[Shape] = (getattr(bounds, which) for bounds in self.shapes.values())
        return min((shape[0] for shape in sizes if shape), default=1)

    def corner(self, which: str) -> dict[str, Shape]:
        """Full shapes of all inputs at `min`, `opt` or `max`."""
        return {name: getattr(bounds, which) for name, bounds in self.shapes.items()}

    def as_json(self) -> dict[str, Any]:
        """The profile as plain JSON values."""
        return {"name": self.name, "shapes": {name: bounds.as_json() for name, bounds in self.shapes.items()}}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Inverse of `as_json`."""
        shapes = {
            name: Range(tuple(bounds["min"]), tuple(bounds["opt"]), tuple(bounds["max"]))
            for name, bounds in value["shapes"].items()
        }
        return cls(value["name"], shapes)


def infer(inputs: Sequence[Tensor], *, batch: tuple[int, int, int] = INFERRED_BATCH, bounds: Bounds) -> Profile:
    """The one profile of a model for which none is given: `batch` for the first dimension, `bounds` for the others.

    A dynamic dimension that nothing bounds is an error: a guess would be served, and answered wrongly or slowly.
    """
    known: dict[Dim, tuple[int, int, int]] = dict(bounds.items())
    first = batch_dim(inputs)
    if first is not None:
        known.setdefault(first, batch)
    if problems := [*_unbounded(inputs, known)]:
        raise SpecError.many(problems)
    corners = [tuple(tuple(_size(dim, known, i) for dim in tensor.shape) for i in range(3)) for tensor in inputs]
    return Profile("default", {tensor.name: Range(*corner) for tensor, corner in zip(inputs, corners, strict=True)})


def batch_dim(inputs: Sequence[Tensor]) -> str | None:
    """Name of the dynamic first dimension that all inputs share, if they do."""
    firsts = {tensor.shape[0] if tensor.shape else None for tensor in inputs}
    only = firsts.pop() if len(firsts) == 1 else None
    return only if isinstance(only, str) else None


def problems_of(profiles: Sequence[Profile], inputs: Sequence[Tensor], *, where: str = "profiles") -> list[Problem]:
    """Everything that makes profiles impossible for a graph; empty if an engine can be built with them."""
    problems = [] if profiles else [Problem("a model needs at least one optimization profile", where)]
    for name in sorted({p.name for p in profiles if [q.name for q in profiles].count(p.name) > 1}):
        problems.append(Problem(f"two profiles are named `{name}`", where, fix="give each profile a name of its own"))
    for profile in profiles:
        problems += _profile_problems(profile, inputs, f"{where}.{profile.name}")
    return problems


def symbol_ranges(profile: Profile, inputs: Sequence[Tensor]) -> dict[str, tuple[int, int]]:
    """Dynamic dimension → smallest and largest size in the profile."""
    return {
        dim: (profile.shapes[tensor.name].min[axis], profile.shapes[tensor.name].max[axis])
        for tensor in inputs
        for axis, dim in enumerate(tensor.shape)
        if isinstance(dim, str)
    }


def concrete(inputs: Sequence[Tensor], sizes: Mapping[str, int]) -> dict[str, Shape]:
    """Full shapes of the inputs for given sizes of the dynamic dimensions."""
    return {t.name: tuple(d if isinstance(d, int) else sizes[d] for d in t.shape) for t in inputs}


def text(shapes: Mapping[str, Sequence[int]]) -> str:
    """Shapes for a reader: "image [4, 1, 8, 8]"."""
    return ", ".join(f"{name} [{', '.join(map(str, shape))}]" for name, shape in shapes.items())


def _size(dim: Dim, known: Mapping[Dim, tuple[int, int, int]], index: int) -> int:
    return dim if isinstance(dim, int) else known[dim][index]


def _unbounded(inputs: Sequence[Tensor], known: Mapping[Dim, object]) -> Iterator[Problem]:
    for tensor in inputs:
        for axis in tensor.dynamic:
            if tensor.shape[axis] not in known:
                example = [f"<{dim}>" if isinstance(dim, str) else dim for dim in tensor.shape]
                yield Problem(
                    f"no optimization profile can be inferred for input `{tensor.name}`",
                    "profiles",
                    f"{tensor} is dynamic in dimension {axis} (`{tensor.shape[axis]}`), and nothing bounds it",
                    f"add `profiles: {{default: {{{tensor.name}: {{min: {example}, opt: …, max: …}}}}}}`",
                )


def _profile_problems(profile: Profile, inputs: Sequence[Tensor], where: str) -> Iterator[Problem]:
    known = {tensor.name: tensor for tensor in inputs}
    for name in profile.shapes.keys() - known.keys():
        yield Problem(
            f"profile `{profile.name}` names an input `{name}` that the graph does not have{nearest(name, known)}",
            where,
            f"the graph's inputs are {', '.join(map(str, inputs))}",
        )
    for tensor in inputs:
        if tensor.name not in profile.shapes:
            yield Problem(
                f"profile `{profile.name}` says nothing about input `{tensor.name}`",
                where,
                "a profile needs min, opt and max for every input",
                f"add `{tensor.name}: {{min: …, opt: …, max: …}}` ({tensor})",
            )
        else:
            yield from _range_problems(profile.shapes[tensor.name], tensor, f"{where}.{tensor.name}")
    if known.keys() <= profile.shapes.keys():
        yield from _disagreements(profile, inputs, where)


def _range_problems(bounds: Range, tensor: Tensor, where: str) -> Iterator[Problem]:
    for which in ("min", "opt", "max"):
        shape: Shape = getattr(bounds, which)
        if len(shape) != len(tensor.shape):
            yield Problem(
                f"`{which}` has {len(shape)} dimensions, but input `{tensor.name}` has {len(tensor.shape)}",
                f"{where}.{which}",
                f"{list(shape)} against {tensor}; shapes of profiles are full shapes, with the batch",
            )
            return
        for axis, (size, dim) in enumerate(zip(shape, tensor.shape, strict=True)):
            if isinstance(dim, int) and size != dim:
                yield Problem(
                    f"`{which}` is outside the graph: dimension {axis} of input `{tensor.name}` is always {dim}",
                    f"{where}.{which}",
                    f"the profile says {size} there; the graph has {tensor}",
                    f"write {dim}, or export the graph with this dimension dynamic",
                )
            elif size < 1:
                yield Problem(f"`{which}` has a size of {size} in dimension {axis}", f"{where}.{which}")
    yield from _unordered(bounds, where)


def _unordered(bounds: Range, where: str) -> Iterator[Problem]:
    for axis, (low, opt, high) in enumerate(zip(bounds.min, bounds.opt, bounds.max, strict=True)):
        if not low <= opt <= high:
            yield Problem(
                f"min ≤ opt ≤ max does not hold in dimension {axis}",
                where,
                f"min {low}, opt {opt}, max {high}",
                "order the three shapes in every dimension",
            )


def _disagreements(profile: Profile, inputs: Sequence[Tensor], where: str) -> Iterator[Problem]:
    seen: dict[str, tuple[str, tuple[int, int, int]]] = {}
    for tensor in inputs:
        bounds = profile.shapes[tensor.name]
        if len(bounds.min) != len(tensor.shape):
            continue
        for axis in tensor.dynamic:
            dim, here = str(tensor.shape[axis]), (bounds.min[axis], bounds.opt[axis], bounds.max[axis])
            other, there = seen.setdefault(dim, (tensor.name, here))
            if here != there:
                yield Problem(
                    f"inputs `{other}` and `{tensor.name}` share the dimension `{dim}`, but the profile bounds differ",
                    where,
                    f"{other}: {there}, {tensor.name}: {here} (min, opt, max)",
                    "give both the same sizes",
                )
