"""`Reduce*` whose axes arrive as an input, although the declared shapes leave only few axes possible.

TensorRT wants constant axes. Where the shapes of input and output are static, they say which axes are reduced; where
two choices fit (a square), both are computed and the right one is selected at run time.
"""

from __future__ import annotations

from itertools import combinations

from repository_builder.onnx_graph.rewrite import Builder, Repair

_MOST_CANDIDATES = 8


def rewrite(b: Builder) -> bool:
    """One Reduce per possible choice of axes, and a selection."""
    axes, data = b.input(1), b.facts.static(b.input(0))
    result, count = b.facts.static(b.output(0)), b.facts.static(axes)
    if not axes or b.facts.value(axes) is not None or data is None or count is None or len(count) != 1:
        return False
    if count[0] == 0:
        b.give(_without_axes(b))
        return True
    if result is None:
        return False
    found = candidates(data, result, count[0], bool(b.attributes.get("keepdims", 1)))
    if not 1 <= len(found) <= _MOST_CANDIDATES:
        return False
    value = _reduced(b, found[0])
    if len(found) > 1:
        positive = b.Where(b.Less(axes, b.const([0])), b.Add(axes, b.const([len(data)])), axes)
        for choice in found[1:]:
            value = b.Where(_is_choice(b, positive, choice), _reduced(b, choice), value)
    b.give(value)
    return True


def candidates(data: tuple[int, ...], result: tuple[int, ...], count: int, keepdims: bool) -> list[tuple[int, ...]]:
    """Choices of `count` axes that lead from one shape to the other."""
    found = []
    for choice in combinations(range(len(data)), count):
        kept = [1 if axis in choice else size for axis, size in enumerate(data) if keepdims or axis not in choice]
        if tuple(kept) == result:
            found.append(choice)
    return found


def _without_axes(b: Builder) -> str:
    """No axes: all are reduced, or none."""
    options = {"keepdims": b.attributes.get("keepdims", 1)}
    if not b.attributes.get("noop_with_empty_axes", 0):
        return b.op(b.node.op_type, [b.input(0)], **options)[0]
    x = b.input(0)
    match b.node.op_type:
        case "ReduceL1" | "ReduceL2":
            return b.Abs(x)
        case "ReduceSumSquare":
            return b.Mul(x, x)
        case "ReduceLogSum":
            return b.Log(x)
        case _:
            return x


def _reduced(b: Builder, axes: tuple[int, ...]) -> str:
    return b.op(b.node.op_type, [b.input(0), b.const(list(axes))], keepdims=b.attributes.get("keepdims", 1))[0]


def _is_choice(b: Builder, axes: str, choice: tuple[int, ...]) -> str:
    """Whether the run-time axes are this choice, in any order: a scalar."""
    matches = b.Equal(b.Unsqueeze(axes, b.const([1])), b.const([list(choice)]))
    return b.Equal(b.ReduceSum(b.cast(matches, 7), keepdims=0), b.const(len(choice)))


REPAIR = Repair(
    "reduce_axes",
    "give a `Reduce*` operator constant axes where the declared shapes determine them",
    (
        "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare",
        "ReduceLogSum", "ReduceLogSumExp",
    ),
    rewrite,
)  # fmt: skip
