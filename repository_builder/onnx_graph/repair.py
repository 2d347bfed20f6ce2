"""Repairing a graph until the judge takes it: only rejected nodes are rewritten, and only equal results are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from repository_builder.onnx_graph import equal, walk
from repository_builder.onnx_graph.facts import Facts
from repository_builder.onnx_graph.repairs import GRAPH_REPAIRS, NODE_REPAIRS
from repository_builder.onnx_graph.rewrite import Builder
from repository_builder.onnx_graph.verdict import Judge, Verdict

if TYPE_CHECKING:
    import onnx

ROUNDS = 24
"""Upper bound of judging again after a change; each round rewrites all nodes that were rejected."""


@dataclass(frozen=True)
class Applied:
    """One repair of one node."""

    repair: str
    node: str
    """The node in words; empty for a change of the whole graph."""

    def as_json(self) -> dict[str, str]:
        """Plain JSON values."""
        return {"repair": self.repair, "node": self.node}


@dataclass(frozen=True)
class Rejected:
    """A repair that was tried and dropped, because it changed results."""

    repair: str
    why: str

    def as_json(self) -> dict[str, str]:
        """Plain JSON values."""
        return {"repair": self.repair, "why": self.why}


@dataclass(frozen=True)
class Repaired:
    """The best equal graph that was found, and how it came about."""

    model: onnx.ModelProto
    before: Verdict
    after: Verdict
    applied: tuple[Applied, ...]
    rejected: tuple[Rejected, ...]
    difference: float
    """Largest absolute difference of a floating-point output from the original's."""
    samples: int
    """How many inputs were compared."""

    @property
    def accepted(self) -> bool:
        """Whether the graph converts now."""
        return self.after.accepted


@dataclass
class _Attempt:
    model: onnx.ModelProto
    verdict: Verdict
    history: list[tuple[str, onnx.ModelProto]] = field(default_factory=list)
    """Name of the repair and the graph after it, step by step."""
    applied: list[Applied] = field(default_factory=list)


def repair(
    model: onnx.ModelProto,
    judge: Judge,
    *,
    given: Sequence[Mapping[str, Any]] = (),
    leave: frozenset[str] = frozenset(),
) -> Repaired:
    """Rewrite what `judge` rejects. The model must hold its weights; it is not changed.

    `given` are inputs known to be valid, added to the generated ones of the proof. `leave` names changes that are not
    exact and that the user allows (`double-as-float`).
    """
    before = judge.judge(model)
    if before.accepted:
        return Repaired(model, before, before, (), (), 0.0, 0)
    banned: dict[str, str] = {}
    while True:
        attempt = _attempt(model, before, judge, frozenset(banned), leave)
        rejected = tuple(Rejected(name, why) for name, why in banned.items())
        nothing = Repaired(model, before, before, (), rejected, 0.0, 0)
        if not attempt.history:
            return nothing
        comparison = _compare(model, attempt.model, attempt, given)
        if comparison.equal:
            return replace(
                nothing,
                model=attempt.model,
                after=attempt.verdict,
                applied=tuple(attempt.applied),
                difference=comparison.difference,
                samples=comparison.samples,
            )
        if not comparison.samples and "valid inputs" in comparison.why:
            unproven = tuple(Rejected(name, f"not proven: {comparison.why}") for name, _ in attempt.history)
            return replace(nothing, rejected=rejected + unproven)
        name, why = _culprit(model, attempt, given)
        banned[name] = why


def _attempt(
    model: onnx.ModelProto, verdict: Verdict, judge: Judge, banned: frozenset[str], leave: frozenset[str]
) -> _Attempt:
    attempt = _Attempt(model, verdict)
    for number in range(ROUNDS):
        changed = _nodes_rewritten(attempt, banned, number) or _graph_rewritten(attempt, banned, leave)
        if not changed:
            break
        attempt.verdict = judge.judge(attempt.model)
        if attempt.verdict.accepted:
            break
    return attempt


def _nodes_rewritten(attempt: _Attempt, banned: frozenset[str], number: int) -> bool:
    """Rewrite the nodes that the verdict names, each by the first repair that applies."""
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(attempt.model)
    facts = Facts(model)
    wanted = _rejected_nodes(model, attempt.verdict)
    applied: list[Applied] = []
    for where, graph in list(walk.graphs(model)):
        applied += _rewrite_graph(
            graph,
            lambda index, node, where=where: wanted(where, index, node),  # type: ignore[misc]
            lambda index, node: _replacement(node, facts, banned, f"fix{number}_{index}"),
        )
    if not applied:
        return False
    attempt.model = model
    attempt.applied += applied
    attempt.history.append((applied[0].repair, model))
    return True


def _rejected_nodes(model: onnx.ModelProto, verdict: Verdict) -> Callable[[str, int, onnx.NodeProto], bool]:
    """Which nodes are meant: by position and operator, else every node of the operator, also in subgraphs."""
    exact, operators = set(), set()
    nodes = model.graph.node
    for complaint in verdict.complaints:
        if 0 <= complaint.index < len(nodes) and nodes[complaint.index].op_type == complaint.operator:
            exact.add(complaint.index)
        else:
            operators.add(complaint.operator)
    return lambda where, index, node: (not where and index in exact) or node.op_type in operators


def _rewrite_graph(
    graph: onnx.GraphProto,
    wanted: Callable[[int, onnx.NodeProto], bool],
    replace_node: Callable[[int, onnx.NodeProto], tuple[str, list[onnx.NodeProto]] | None],
) -> list[Applied]:
    """Replace the wanted nodes of one graph, in place; what was done."""
    applied: list[Applied] = []
    result: list[onnx.NodeProto] = []
    for index, node in enumerate(graph.node):
        replacement = replace_node(index, node) if wanted(index, node) else None
        if replacement is None:
            result.append(node)
        else:
            name, nodes = replacement
            applied.append(Applied(name, walk.label(node, index)))
            result.extend(nodes)
    if applied:
        copies = [type(node).FromString(node.SerializeToString()) for node in result]
        del graph.node[:]
        graph.node.extend(copies)
    return applied


def _replacement(
    node: onnx.NodeProto, facts: Facts, banned: frozenset[str], tag: str
) -> tuple[str, list[onnx.NodeProto]] | None:
    for candidate in NODE_REPAIRS:
        if candidate.name in banned or (candidate.operators and node.op_type not in candidate.operators):
            continue
        builder = Builder(node, facts, f"{node.output[0]}/{tag}")
        if candidate.rewrite(builder) and builder.complete:
            return candidate.name, builder.nodes
    return None


def _graph_rewritten(attempt: _Attempt, banned: frozenset[str], leave: frozenset[str]) -> bool:
    done = {name for name, _ in attempt.history}
    for candidate in GRAPH_REPAIRS:
        if candidate.name in banned | done or (candidate.leave and candidate.leave not in leave):
            continue
        model = candidate.rewrite(attempt.model)
        if model is not None:
            attempt.model = model
            attempt.applied.append(Applied(candidate.name, ""))
            attempt.history.append((candidate.name, model))
            return True
    return False


def _compare(
    model: onnx.ModelProto, repaired: onnx.ModelProto, attempt: _Attempt, given: Sequence[Mapping[str, Any]]
) -> equal.Comparison:
    inexact = {candidate.name for candidate in NODE_REPAIRS if not candidate.exact_on_special_values}
    special = not any(applied.repair in inexact for applied in attempt.applied)
    return equal.compare(model, repaired, given, special=special)


def _culprit(model: onnx.ModelProto, attempt: _Attempt, given: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The first step after which results differ, and how."""
    for name, state in attempt.history:
        comparison = _compare(model, state, attempt, given)
        if not comparison.equal:
            return name, comparison.why
    name, _ = attempt.history[-1]
    return name, "results differ"
