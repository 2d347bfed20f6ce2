"""Arguments that arrive at run time but have few possible values: compute each case, select the right one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from repository_builder.onnx_graph.rewrite import Builder


def by_axis(
    b: Builder, name: str, compute: Callable[[int], str], *, default: int, rank: int, fits: Sequence[int]
) -> str:
    """`compute(axis)` for a constant axis, else for each axis that `fits`, and a selection by the run-time value."""
    known = b.facts.value(name) if name else default
    if known is not None:
        return compute(int(known) % rank)
    value = compute(fits[0])
    if len(fits) > 1:
        axis = b.Reshape(b.cast(name, 7), b.const([], 7))
        positive = b.Where(b.Less(axis, b.const(0)), b.Add(axis, b.const(rank)), axis)
        for choice in fits[1:]:
            value = b.Where(b.Equal(positive, b.const(choice)), compute(choice), value)
    return value


def by_vector(b: Builder, name: str, choices: Sequence[Sequence[int]], compute: Callable[[Sequence[int]], str]) -> str:
    """`compute(choice)` for the choice that equals the run-time vector `name`."""
    value = compute(choices[0])
    for choice in choices[1:]:
        same = b.ReduceSum(b.cast(b.Equal(name, b.const(list(choice))), 7), keepdims=0)
        value = b.Where(b.Equal(same, b.const(len(choice))), compute(choice), value)
    return value


def last(axis: int, rank: int) -> list[int]:
    """The permutation that moves `axis` to the end."""
    return [i for i in range(rank) if i != axis] + [axis]


def inverse(permutation: Sequence[int]) -> list[int]:
    """The permutation that undoes another."""
    return sorted(range(len(permutation)), key=lambda i: permutation[i])
