"""Proof by running: does the graph really take every size of its dynamic dims, and is its batch really one?

Exporters trace a model at one size. A `reshape(8, -1)` in the source, or a size read into a Python integer, bakes that
number into the graph, whose first dimension is still declared dynamic. Such a graph loads, and fails (or answers
wrongly) at the first request of another size. So it is run at two batch sizes, and at two sizes of every other dynamic
dim; where that fails, the node and the constant are named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repository_builder.errors import GraphError, Problem
from repository_builder.onnx_graph import execute, read, samples, structure, walk
from repository_builder.onnx_graph.batch import Batching, batching
from repository_builder.tensor import Interface

if TYPE_CHECKING:
    import onnx

SIZES = (2, 3)
"""Batch sizes that are tried: no exporter traces at 3, and 2 does not divide it."""

_RESHAPING = {"Reshape": 1, "Expand": 1, "ConstantOfShape": 0, "Tile": 1}
"""Operator → index of the input that holds a shape, where numbers get baked in."""


@dataclass(frozen=True)
class Probe:
    """What running the graph showed."""

    batching: Batching
    """The verdict by names, corrected by the runs."""
    sizes: Mapping[str, int]
    """Dynamic dim → a size at which the graph runs; empty if none was found."""
    problems: tuple[Problem, ...]
    """Why the batch, or another dynamic dim, is not what the graph declares."""

    def require(self) -> None:
        """Raise GraphError if there are problems."""
        if self.problems:
            raise GraphError.many(self.problems)


@dataclass(frozen=True)
class _Subject:
    """The graph under test."""

    path: Path
    model: onnx.ModelProto
    interface: Interface
    batching: Batching
    session: Any

    def run(self, sizes: Mapping[str, int], seed: int = 0) -> dict[str, Any]:
        return execute.run(self.session, samples.generate(self.interface, sizes, seed=seed))


def isolated(path: Path) -> Probe:
    """`probe` in a child process. A graph that kills ONNX Runtime becomes a GraphError, not our end."""
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(probe, path).result()
        except BrokenProcessPool as error:
            raise GraphError(
                f"ONNX Runtime died while it ran `{path.name}`",
                where=path,
                why="its process was killed (a crash, or out of memory)",
                fix="run the graph yourself with small inputs, or export it again; such a graph must not be served",
            ) from error


def probe(path: Path) -> Probe:
    """Run the graph at several sizes. Raises GraphError if ONNX Runtime does not take it at all.

    Graphs of unknown origin belong into a child process (`isolated`): a runtime may crash on them.
    """
    model = read.load(path)
    interface = read.interface(model)
    verdict = batching(interface)
    if not samples.symbols(interface):
        return Probe(verdict, {}, ())
    interface = _merged(interface, verdict)
    model = structure.skeleton(model)  # the session holds the weights: one copy is enough
    subject = _Subject(path, model, interface, verdict, execute.session(path))
    sizes, failure = _baseline(subject)
    if not sizes:
        return Probe(_refuted(verdict, failure), {}, tuple(_baked(subject, failure, verdict.dim)))
    problems = [*_batch_problems(subject, sizes)] if verdict.batched else []
    verdict = _refuted(verdict, problems[0]) if problems else _proven(verdict)
    problems += _other_problems(subject, sizes)
    return Probe(verdict, sizes, tuple(problems))


def _merged(interface: Interface, verdict: Batching) -> Interface:
    """All leading dims of inputs under the batch's name, which unnamed ones do not share yet."""
    if not verdict.batched or verdict.dim is None:
        return interface
    inputs = tuple(replace(tensor, shape=(verdict.dim, *tensor.shape[1:])) for tensor in interface.inputs)
    return Interface(inputs, interface.outputs)


def _baseline(subject: _Subject) -> tuple[dict[str, int], execute.NodeFailed | None]:
    """Sizes at which the graph runs with a batch of two, or the first failure."""
    batch = subject.batching.dim if subject.batching.batched else None
    first: execute.NodeFailed | None = None
    for sizes in samples.candidates(subject.interface, batch, SIZES[0]):
        try:
            subject.run(sizes)
        except execute.NodeFailed as failure:
            first = first or failure
        else:
            return sizes, None
    return {}, first


def _batch_problems(subject: _Subject, sizes: dict[str, int]) -> Iterator[Problem]:
    dim = subject.batching.dim
    assert dim is not None  # noqa: S101  (a batched verdict has one)
    for size in SIZES:
        try:
            outputs = subject.run(sizes | {dim: size})
        except execute.NodeFailed as failure:
            yield from _baked(subject, failure, dim)
            return
        if wrong := _wrong_output(subject, outputs, size):
            yield wrong
            return
    yield from _row_problems(subject, sizes | {dim: SIZES[0]}, dim)


def _row_problems(subject: _Subject, sizes: dict[str, int], dim: str) -> Iterator[Problem]:
    """Rows of a batch must not influence each other: the batch and its rows one by one give equal answers."""
    import numpy as np

    inputs = samples.generate(subject.interface, sizes)
    whole, again = execute.run(subject.session, inputs), execute.run(subject.session, inputs)
    try:
        parts = [execute.run(subject.session, samples.rows(inputs, i, i + 1)) for i in range(sizes[dim])]
    except execute.NodeFailed as failure:
        yield from _baked(subject, failure, dim)
        return
    for name, array in whole.items():
        if array.dtype.kind != "f" or not np.array_equal(array, again[name], equal_nan=True):
            continue  # a random operator, or indices: nothing to compare
        joined = np.concatenate([part[name] for part in parts])
        if joined.shape != array.shape or not np.allclose(joined, array, rtol=1e-2, atol=1e-3, equal_nan=True):
            yield Problem(
                f"the rows of a batch influence each other in output `{name}` of `{subject.path.name}`",
                _place(subject, name),
                f"a batch of {sizes[dim]} along `{dim}` gives other values than its rows one by one "
                "(a BatchNormalization in training mode, or a computation over the first dimension)",
                "export after `model.eval()`, or build with `max_batch_size: 0`",
            )
            return


def _other_problems(subject: _Subject, sizes: dict[str, int]) -> Iterator[Problem]:
    """Each other dynamic dim alone at twice its size; dims that only change together are no fault."""
    others = [name for name in sizes if name != subject.batching.dim]
    for name in others:
        try:
            outputs = subject.run(sizes | {name: 2 * sizes[name]})
        except execute.NodeFailed as failure:
            if not _runs(subject, sizes | {other: 2 * sizes[other] for other in others}):
                yield from _baked(subject, failure, name)
                return
        else:
            if subject.batching.batched and (wrong := _wrong_output(subject, outputs, SIZES[0])):
                yield wrong
                return


def _runs(subject: _Subject, sizes: Mapping[str, int]) -> bool:
    try:
        subject.run(sizes)
    except execute.NodeFailed:
        return False
    return True


def _proven(verdict: Batching) -> Batching:
    """The verdict by names, where running the graph has settled what names left open."""
    if not verdict.batched or not verdict.unproven:
        return verdict
    why = f"`{verdict.dim}` is the first dimension of every input and output (named differently; shown by running)"
    return replace(verdict, unproven=(), why=why)


def _refuted(verdict: Batching, reason: Problem | GraphError | None) -> Batching:
    if reason is None or not verdict.batched:
        return verdict
    why = reason.why if isinstance(reason, Problem) else reason.problems[0].why
    return Batching(False, None, f"running it at other batch sizes failed: {why}")


def _wrong_output(subject: _Subject, outputs: Mapping[str, Any], size: int) -> Problem | None:
    """The first output that does not begin with the batch, and the node that is to blame."""
    name = next((name for name, array in outputs.items() if array.ndim == 0 or array.shape[0] != size), None)
    if name is None:
        return None
    culprit = next(iter(_suspects(subject.model.graph, name)), None)
    baked = f": {culprit[1]}" if culprit else ""
    return Problem(
        f"the first dimension of output `{name}` of `{subject.path.name}` is not the batch",
        _place(subject, name) if culprit is None else f"{subject.path} ({walk.label(culprit[0])})",
        f"with a batch of {size}, output `{name}` has the shape {list(outputs[name].shape)}{baked}",
        _fix_of(subject.batching.dim),
    )


def _baked(subject: _Subject, failure: execute.NodeFailed | None, dim: str | None) -> Iterator[Problem]:
    """The failure in terms of its cause: the nearest constant upstream that fixes a size."""
    if failure is None:
        return
    reason = failure.problems[0]
    node = _failed_node(subject.model.graph, failure)
    place, why = (walk.label(node), reason.why) if node is not None else (reason.where, reason.why)
    for suspect, constant in _suspects(subject.model.graph, node.output[0] if node is not None else ""):
        place, why = walk.label(suspect), f"{constant}; {reason.what}: {reason.why}"
        break
    yield Problem(
        f"`{subject.path.name}` does not run at every size of `{dim}`"
        if dim
        else f"`{subject.path.name}` does not run",
        f"{subject.path} ({place})" if place else str(subject.path),
        why,
        _fix_of(dim),
    )


def _fix_of(dim: str | None) -> str:
    name = dim or "the dynamic dims"
    return (
        f"in the model's source take the size from the tensor (`x.shape[0]`, `-1`, `flatten(1)`) instead of a number, "
        f"and export again with `{name}` dynamic; or export it fixed and build with `max_batch_size: 0`"
    )


def _failed_node(graph: onnx.GraphProto, failure: execute.NodeFailed) -> onnx.NodeProto | None:
    """The node that ONNX Runtime named; a nameless one only if its operator occurs once."""
    if failure.node:
        return next((node for node in graph.node if node.name == failure.node), None)
    same = [node for node in graph.node if node.op_type == failure.operator]
    return same[0] if len(same) == 1 else None


def _suspects(graph: onnx.GraphProto, output: str) -> Iterator[tuple[onnx.NodeProto, str]]:
    """Nodes that give `output` a fixed size, the earliest first: a shape constant that begins with a number over 1.

    An empty `output` stands for all nodes.
    """
    constants = _constants(graph)
    wanted = _upstream(graph, output)
    for index, node in enumerate(graph.node):
        position = _RESHAPING.get(node.op_type)
        if position is None or index not in wanted or len(node.input) <= position:
            continue
        values = constants.get(node.input[position])
        if values is not None and values.ndim == 1 and values.size > 1 and int(values[0]) > 1:
            yield node, f"its shape {values.tolist()} is a constant with {int(values[0])} in the first place"


def _constants(graph: onnx.GraphProto) -> dict[str, Any]:
    from onnx import numpy_helper

    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            stored[node.output[0]] = node.attribute[0].t
    small = {name: t for name, t in stored.items() if t.data_type == t.INT64 and len(t.dims) <= 1 and sum(t.dims) < 16}
    return {name: numpy_helper.to_array(tensor) for name, tensor in small.items() if not tensor.external_data}


def _upstream(graph: onnx.GraphProto, output: str) -> set[int]:
    """Indices of the nodes on which a tensor depends."""
    if not output:
        return set(range(len(graph.node)))
    producer = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    found: set[int] = set()
    stack = [output]
    while stack:
        index = producer.get(stack.pop())
        if index is not None and index not in found:
            found.add(index)
            stack.extend(graph.node[index].input)
    return found


def _place(subject: _Subject, output: str) -> str:
    node = next((n for n in subject.model.graph.node if output in n.output), None)
    return f"{subject.path} ({walk.label(node)})" if node is not None else str(subject.path)
