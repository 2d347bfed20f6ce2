"""Repairing a graph until the judge takes it: only rejected nodes are rewritten, and only equal results are kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from repository_builder.onnx_graph import equal, walk
from repository_builder.onnx_graph.facts import Facts
from repository_builder.onnx_graph.repairs import GRAPH_REPAIRS, NODE_REPAIRS, convert_opset
from repository_builder.onnx_graph.rewrite import Builder, GraphRepair
from repository_builder.onnx_graph.verdict import Judge, Verdict

if TYPE_CHECKING:
    import onnx

HISTORY_BYTES = 2**26
"""Size up to which the graph after each step is kept, to find the step that changed results."""

ROUNDS = 24
"""Upper bound of judging again after a change; each round rewrites all nodes that were rejected."""

_STANDARD_OPSET = 17


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
    first: Verdict
    verdict: Verdict
    history: list[tuple[str, onnx.ModelProto | None]] = field(default_factory=list)
    """Name of the repair and the graph after it, step by step; large graphs are not kept."""
    applied: list[Applied] = field(default_factory=list)


def repair(
    model: onnx.ModelProto,
    judge: Judge,
    *,
    given: Sequence[Mapping[str, Any]] = (),
    leave: frozenset[str] = frozenset(),
    optimize: bool = False,
    keep_interface: bool = False,
) -> Repaired:
    """Rewrite what `judge` rejects. The model must hold its weights; it is not changed.

    `given` are inputs known to be valid, added to the generated ones of the proof. `leave` names changes that are not
    exact and that the user allows (`double-as-float`, `drop-training`). `optimize` adds changes that only make the
    graph better. `keep_interface` leaves out changes of types at inputs and outputs.
    """
    before = judge.judge(model)
    wish = _Wish(leave, optimize, keep_interface)
    reference, redefined = _redefined(model, leave)
    banned: dict[str, str] = {}
    while True:
        attempt = _attempt(reference, before if not redefined else judge.judge(reference), judge, wish, banned.keys())
        rejected = tuple(Rejected(name, why) for name, why in banned.items())
        nothing = Repaired(reference, before, attempt.first, tuple(redefined), rejected, 0.0, 0)
        if not attempt.history:
            return nothing
        comparison = _compare(reference, attempt.model, attempt, given)
        if comparison.equal:
            return replace(
                nothing,
                model=attempt.model,
                after=attempt.verdict,
                applied=(*redefined, *attempt.applied),
                difference=comparison.difference,
                samples=comparison.samples,
            )
        if not comparison.samples and comparison.why.startswith(equal.UNPROVEN):
            names = dict.fromkeys(name for name, _ in attempt.history)
            return replace(nothing, rejected=(*rejected, *(Rejected(name, comparison.why) for name in names)))
        name, why = _culprit(reference, attempt, given)
        banned[name] = why


@dataclass(frozen=True)
class _Wish:
    leave: frozenset[str]
    optimize: bool
    keep_interface: bool

    def allows(self, candidate: GraphRepair) -> bool:
        return not candidate.leave or candidate.leave in self.leave


def _redefined(model: onnx.ModelProto, leave: frozenset[str]) -> tuple[onnx.ModelProto, list[Applied]]:
    """The graph after changes of meaning that the user allows: the reference of all proofs."""
    applied = []
    for candidate in GRAPH_REPAIRS:
        if candidate.redefines and candidate.leave in leave and (changed := candidate.rewrite(model)) is not None:
            model = changed
            applied.append(Applied(candidate.name, ""))
    return model, applied


def _attempt(model: onnx.ModelProto, verdict: Verdict, judge: Judge, wish: _Wish, banned: Collection[str]) -> _Attempt:
    attempt = _Attempt(model, verdict, verdict)
    if not verdict.accepted and convert_opset.REPAIR.name not in banned and (modern := convert_opset.raised(model)):
        _take(attempt, convert_opset.REPAIR.name, modern)
        attempt.verdict = judge.judge(modern)
    for number in range(ROUNDS):
        if attempt.verdict.accepted:
            break
        if not _changed(attempt, banned, wish, number):
            break
        attempt.verdict = judge.judge(attempt.model)
    if wish.optimize and attempt.verdict.accepted:
        _optimized(attempt, judge, banned)
    return attempt


def _optimized(attempt: _Attempt, judge: Judge, banned: Collection[str]) -> None:
    """Optional repairs, as long as the judge still takes the graph."""
    for candidate in GRAPH_REPAIRS:
        model = candidate.rewrite(attempt.model) if candidate.optional and candidate.name not in banned else None
        if model is not None and (verdict := judge.judge(model)).accepted:
            attempt.verdict = verdict
            _take(attempt, candidate.name, model)


def _changed(attempt: _Attempt, banned: Collection[str], wish: _Wish, number: int) -> bool:
    """One round: the nodes that the verdict names, else the graph, else (if it names none) whatever may be meant."""
    if _nodes_rewritten(attempt, banned, number, _rejected_nodes(attempt.model, attempt.verdict)):
        return True
    if _graph_rewritten(attempt, banned, wish):
        return True
    if any(complaint.operator for complaint in attempt.verdict.complaints):
        return False
    dedicated = {name for candidate in NODE_REPAIRS for name in candidate.operators}
    return _nodes_rewritten(attempt, banned, number, lambda _where, _index, node: node.op_type in dedicated)


def _nodes_rewritten(
    attempt: _Attempt, banned: Collection[str], number: int, wanted: Callable[[str, int, onnx.NodeProto], bool]
) -> bool:
    """Rewrite the wanted nodes, each by the first repair that applies."""
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(attempt.model)
    if not any(entry.domain in walk.STANDARD_DOMAINS for entry in model.opset_import):
        model.opset_import.add(domain="", version=_STANDARD_OPSET)  # a graph of another domain alone
    facts = Facts(model)
    applied: list[Applied] = []
    for where, graph in list(walk.graphs(model)):
        applied += _rewrite_graph(
            graph,
            lambda index, node, where=where: wanted(where, index, node),  # type: ignore[misc]
            lambda index, node: _replacement(node, facts, banned, f"fix{number}_{index}"),
        )
    if not applied:
        return False
    attempt.applied += applied
    _remember(attempt, applied[0].repair, model)
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
    node: onnx.NodeProto, facts: Facts, banned: Collection[str], tag: str
) -> tuple[str, list[onnx.NodeProto]] | None:
    for candidate in NODE_REPAIRS:
        if candidate.name in banned or (candidate.operators and node.op_type not in candidate.operators):
            continue
        builder = Builder(node, facts, f"{node.output[0]}/{tag}")
        if candidate.rewrite(builder) and builder.complete:
            return candidate.name, builder.nodes
    return None


def _graph_rewritten(attempt: _Attempt, banned: Collection[str], wish: _Wish) -> bool:
    done = {name for name, _ in attempt.history}
    for candidate in GRAPH_REPAIRS:
        if candidate.name in done or candidate.name in banned or candidate.optional or candidate.redefines:
            continue
        model = candidate.rewrite(attempt.model) if wish.allows(candidate) else None
        if model is not None and not (wish.keep_interface and _edge_types(model) != _edge_types(attempt.model)):
            _take(attempt, candidate.name, model)
            return True
    return False


def _edge_types(model: onnx.ModelProto) -> dict[str, int]:
    return {value.name: value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}


def _take(attempt: _Attempt, name: str, model: onnx.ModelProto) -> None:
    attempt.applied.append(Applied(name, ""))
    _remember(attempt, name, model)


def _remember(attempt: _Attempt, name: str, model: onnx.ModelProto) -> None:
    attempt.model = model
    attempt.history.append((name, model if model.ByteSize() < HISTORY_BYTES else None))


def _compare(
    model: onnx.ModelProto, repaired: onnx.ModelProto, attempt: _Attempt, given: Sequence[Mapping[str, Any]]
) -> equal.Comparison:
    inexact = {candidate.name for candidate in NODE_REPAIRS if not candidate.exact_on_special_values}
    special = not any(applied.repair in inexact for applied in attempt.applied)
    return equal.compare(model, repaired, given, special=special)


def _culprit(model: onnx.ModelProto, attempt: _Attempt, given: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The first step after which results differ, and how; of a large graph the last step is suspected."""
    for name, state in attempt.history:
        if state is None:
            continue
        comparison = _compare(model, state, attempt, given)
        if not comparison.equal:
            return name, comparison.why
    name, _ = attempt.history[-1]
    return name, "results differ"
