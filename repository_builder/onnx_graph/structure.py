"""Whether a parsed ONNX message is a valid graph: versions, names, order, tensors, operators' signatures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from repository_builder.errors import GraphError, Problem
from repository_builder.onnx_graph import external, walk

if TYPE_CHECKING:
    import onnx

SMALL = 1024
"""Elements: a tensor up to this size may be a shape, an axis or an index, and stays in a skeleton."""


def validate(model: onnx.ModelProto, path: Path) -> None:
    """Raise one GraphError with every fault of the graph's structure; `path` is only named in messages."""
    problems = [*_versions(model, path)]
    if not problems:
        for where, graph in walk.graphs(model):
            problems += _names(graph, path, where)
        problems += _tensors(model, path)
    if not problems:
        problems += _order(model.graph, path)
    if not problems:
        problems += _checker(model, path)
    if problems:
        raise GraphError.many(problems[:20])


def skeleton(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph without the values of large weights, which become inputs of the same type and shape.

    What the ONNX checker and shape inference need, at a small part of the memory. Constants of up to `SMALL` elements
    stay: shapes depend on them.
    """
    import onnx
    from onnx import helper

    # IR 3 wants every initializer among the inputs; graphs that leave them out are common and every runtime takes them
    light = onnx.ModelProto(ir_version=max(model.ir_version, 4), producer_name=model.producer_name)
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    source, graph = model.graph, light.graph
    graph.name = source.name or "graph"
    graph.node.extend(source.node)
    graph.input.extend(source.input)
    graph.output.extend(source.output)
    graph.value_info.extend(source.value_info)
    known = {value.name for value in source.input}
    for tensor in source.initializer:
        if _elements(tensor) <= SMALL and not external.is_external(tensor):
            graph.initializer.append(tensor)
        elif tensor.name not in known:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    graph.sparse_initializer.extend(source.sparse_initializer)
    return light


def unknown_operators(model: onnx.ModelProto) -> tuple[onnx.NodeProto, ...]:
    """Nodes in the standard domain whose operator the standard does not have: custom operators in the wrong domain."""
    functions = {(function.domain, function.name) for function in model.functions}
    return tuple(
        node
        for node in walk.nodes(model)
        if node.domain in walk.STANDARD_DOMAINS
        and (node.domain, node.op_type) not in functions
        and not _standard(node.op_type)
    )


def _standard(op_type: str) -> bool:
    from onnx import defs

    return bool(defs.has(op_type))


def _elements(tensor: onnx.TensorProto) -> int:
    import math

    return math.prod(tensor.dims)


def _versions(model: onnx.ModelProto, path: Path) -> Iterator[Problem]:
    import onnx

    what = f"cannot use the ONNX graph `{path.name}`"
    if model.ir_version > onnx.IR_VERSION:
        yield Problem(
            what,
            str(path),
            f"its IR version is {model.ir_version}; onnx {onnx.__version__} reads up to {onnx.IR_VERSION}",
            "upgrade the `onnx` package, or save the graph with `model.ir_version = "
            f"{onnx.IR_VERSION}` if its opset allows",
        )
    newest = onnx.defs.onnx_opset_version()
    declared = {opset.domain or "ai.onnx": opset.version for opset in model.opset_import}
    if "ai.onnx" not in declared and any(n.domain in walk.STANDARD_DOMAINS for n in walk.nodes(model)):
        yield Problem(
            what, str(path), "it declares no opset, so its operators have no meaning", "the file may be cut off; "
            "export it again",
        )  # fmt: skip
    elif declared.get("ai.onnx", 1) > newest:
        yield Problem(
            what,
            str(path),
            f"its opset is {declared['ai.onnx']}; onnx {onnx.__version__} knows up to {newest}",
            f"export with `opset_version={min(newest, 20)}`, or upgrade the `onnx` package",
        )


def _names(graph: onnx.GraphProto, path: Path, where: str) -> Iterator[Problem]:
    """Each tensor is computed once (static single assignment)."""
    what = f"the ONNX graph `{path.name}` is invalid"
    origin: dict[str, str] = {}
    for value in graph.input:
        if value.name in origin:
            yield Problem(what, _place(path, where), f"two inputs are named `{value.name}`", "rename one of them")
        origin[value.name] = "an input"
    seen: set[str] = set()
    for tensor in graph.initializer:
        if tensor.name in seen:
            yield Problem(
                what, _place(path, where), f"two initializers are named `{tensor.name}`", "rename one of them"
            )
        seen.add(tensor.name)
        origin.setdefault(tensor.name, "an initializer")
    for index, node in enumerate(graph.node):
        here = walk.label(node, index)
        for name in filter(None, node.output):
            if name in origin:
                why = f"the tensor `{name}` is computed twice: it is also {origin[name]}"
                yield Problem(what, _place(path, where, here), why, "give one of the two outputs another name")
            origin[name] = f"an output of {here}"


def _tensors(model: onnx.ModelProto, path: Path) -> Iterator[Problem]:
    """Stored values have the number of bytes that type and shape call for."""
    for tensor in walk.tensors(model):
        expected = external.expected_bytes(tensor)
        stored = len(tensor.raw_data) if tensor.HasField("raw_data") else expected
        if any(dim < 0 for dim in tensor.dims) or stored != expected or not _complete(tensor):
            yield Problem(
                f"the ONNX graph `{path.name}` is invalid",
                f"{path} (tensor `{tensor.name}`)",
                f"its shape {list(tensor.dims)} needs {expected} bytes, but {stored} are stored"
                if stored != expected
                else f"the number of stored values does not fit its shape {list(tensor.dims)}",
                "the file is damaged: export or copy it again",
            )


_FIELDS = {1: "float_data", 7: "int64_data", 8: "string_data", 11: "double_data", 12: "uint64_data", 13: "uint64_data"}
_PER_VALUE = {14: 2, 15: 2}
"""Types whose values take two entries (complex numbers)."""
_PACKED = {21: 2, 22: 2, 23: 2, 25: 4, 26: 4}
"""Types of which several values share one entry."""


def _complete(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor that is not stored as raw bytes has as many entries as its shape calls for."""
    if tensor.HasField("raw_data") or external.is_external(tensor) or not tensor.data_type:
        return True
    field = {14: "float_data", 15: "double_data"}.get(tensor.data_type, _FIELDS.get(tensor.data_type, "int32_data"))
    packed = _PACKED.get(tensor.data_type, 1)
    wanted = -(-_elements(tensor) * _PER_VALUE.get(tensor.data_type, 1) // packed)
    return len(getattr(tensor, field)) == wanted


def _order(graph: onnx.GraphProto, path: Path) -> Iterator[Problem]:
    """Nodes come after what they read, so that there is no cycle. Only the main graph; the checker sees the others."""
    what = f"the ONNX graph `{path.name}` is invalid"
    producer = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    known = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    known |= {sparse.values.name for sparse in graph.sparse_initializer}
    for index, node in enumerate(graph.node):
        for name in filter(None, node.input):
            if name not in known and name not in producer:
                why = f"it reads `{name}`, which is no input, initializer or output of a node"
                yield Problem(what, _place(path, "", walk.label(node, index)), why, "export the graph again")
            elif name not in known and producer[name] >= index:
                yield _misplaced(graph, path, producer, index)
                return
        known.update(node.output)


def _misplaced(graph: onnx.GraphProto, path: Path, producer: dict[str, int], index: int) -> Problem:
    what = f"the ONNX graph `{path.name}` is invalid"
    if cycle := find_cycle(graph, producer):
        names = " → ".join(walk.label(graph.node[i], i) for i in (*cycle, cycle[0]))
        return Problem(what, str(path), f"its nodes form a cycle: {names}", "export the graph again: it has no result")
    place = _place(path, "", walk.label(graph.node[index], index))
    why = "a node stands before a node whose result it reads"
    return Problem(what, place, why, "`triton-repo repair` sorts the nodes")


def find_cycle(graph: onnx.GraphProto, producer: dict[str, int]) -> list[int]:
    """Indices of nodes that form a cycle, in order; empty if there is none."""
    from graphlib import CycleError, TopologicalSorter

    needs = {i: {producer[n] for n in reads(node) if n in producer} for i, node in enumerate(graph.node)}
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        found: list[int] = error.args[1]
        return found[:-1]
    return []


def reads(node: onnx.NodeProto) -> Iterable[str]:
    """Names that a node reads, also from within its subgraphs."""
    yield from filter(None, node.input)
    for _, graph in walk.subgraphs(node):
        inner = {name for inner_node in graph.node for name in inner_node.output}
        inner |= {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
        for inner_node in graph.node:
            yield from (name for name in reads(inner_node) if name not in inner)
        yield from (value.name for value in graph.output if value.name not in inner)


def _checker(model: onnx.ModelProto, path: Path) -> Iterator[Problem]:
    """ONNX's own checker, on the skeleton; unknown operators of the standard domain are left to the verdict."""
    import onnx

    light = skeleton(model)
    if unknown := unknown_operators(light):
        light.opset_import.add(domain="unknown.operators", version=1)
        for node in unknown:
            node.domain = "unknown.operators"
    try:
        onnx.checker.check_model(light)
    except onnx.checker.ValidationError as error:
        yield _translated(str(error), path)
    except UnicodeDecodeError:  # the checker quotes a damaged text
        what = f"the ONNX graph `{path.name}` is invalid"
        yield Problem(what, str(path), "a text in it is not UTF-8: the file is damaged", "export or copy it again")


_CONTEXT = re.compile(r"Bad node spec for node\. Name: (?P<name>.*?) OpType: (?P<op>\w+)")

_TRANSLATIONS: tuple[tuple[str, str, str], ...] = (
    (
        r"No Op registered for (\S+) with domain_version of (\d+)",
        r"the operator {0} does not exist in opset {1}",
        "declare the opset that the graph was written for, or export again with a newer `opset_version`",
    ),
    (
        r"No opset import for domain '?(\S*?)'?\s*(?:optype (\S+))?$",
        r"it uses the domain `{0}` without declaring its opset",
        "add the domain to `opset_import`",
    ),
    (r"Unrecognized attribute: (\S+) for operator (\S+)", r"{1} has no attribute `{0}`", "remove the attribute"),
    (r"Required attribute '(\S+)' is missing", r"the required attribute `{0}` is missing", "add it, or export again"),
    (
        r"has input size (\d+) not in range \[min=(\d+), max=(\d+)\]",
        r"it has {0} inputs, but the operator takes {1} to {2}",
        "export again",
    ),
    (
        r"has output size (\d+) not in range \[min=(\d+), max=(\d+)\]",
        r"it has {0} outputs, but the operator gives {1} to {2}",
        "export again",
    ),
)
"""Pattern of a checker message → why, fix."""


def _translated(message: str, path: Path) -> Problem:
    first = message.strip().splitlines()[0]
    why, fix = f"ONNX's checker says: {first}", "correct the named place, or export the graph again"
    for pattern, sentence, advice in _TRANSLATIONS:
        if found := re.search(pattern, first):
            why, fix = sentence.format(*found.groups()), advice
            break
    node = _CONTEXT.search(message)
    place = f"node `{node['name']}` ({node['op']})" if node else ""
    return Problem(f"the ONNX graph `{path.name}` is invalid", _place(path, "", place), why, fix)


def _place(path: Path, where: str, node: str = "") -> str:
    inside = (where + node).rstrip(", ")
    return f"{path} ({inside})" if inside else str(path)
