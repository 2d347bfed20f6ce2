"""Which nodes of a graph need a plugin under TensorRT, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from repository_builder.errors import GraphError, Problem
from repository_builder.plugins.binding import plugin_attributes
from repository_builder.plugins.operators import Operator

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

STANDARD = ("", "ai.onnx", "ai.onnx.ml")
PLUGIN_DOMAIN = "trt.plugins"
"""Domain of nodes that are plugins already: their names are TensorRT's, not ONNX's."""


@dataclass(frozen=True)
class Use:
    """A node that needs a plugin."""

    node: onnx.NodeProto
    operator: Operator
    why: str
    constants: Mapping[str, NDArray[Any]]
    """Constant tensors that the node can see, by name."""


def uses(model: onnx.ModelProto, operators: Sequence[Operator]) -> list[Use]:
    """The nodes that need one of `operators`, in subgraphs too; GraphError with all nodes that cannot be bound."""
    found = list(_uses(model.graph, {(o.domain, o.operator): o for o in operators}, {}))
    if problems := [problem for use in found for problem in _unbound(use)]:
        raise GraphError.many(problems)
    return found


def unknown(model: onnx.ModelProto, operators: Sequence[Operator]) -> list[str]:
    """Custom operators (`acme::MyOp`) of the graph that neither a plugin nor a function of the graph defines."""
    known = {(o.domain, o.operator) for o in operators} | {(f.domain, f.name) for f in model.functions}
    return sorted({
        f"{node.domain}::{node.op_type}"
        for node in nodes(model.graph)
        if node.domain not in (*STANDARD, "com.microsoft", PLUGIN_DOMAIN) and (node.domain, node.op_type) not in known
    })  # fmt: skip


def nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Every node of a graph and of its subgraphs."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from nodes(attribute.g)


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes as Python values."""
    from onnx.helper import get_attribute_value

    return {attribute.name: get_attribute_value(attribute) for attribute in node.attribute}


def _uses(
    graph: onnx.GraphProto, known: Mapping[tuple[str, str], Operator], outer: Mapping[str, NDArray[Any]]
) -> Iterator[Use]:
    constants = {**outer, **_constants(graph)}
    for node in graph.node:
        operator = known.get(("" if node.domain in STANDARD else node.domain, node.op_type))
        if operator is not None and (why := _why(node, operator, constants)):
            yield Use(node, operator, why, constants)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _uses(attribute.g, known, constants)


def _why(node: onnx.NodeProto, operator: Operator, constants: Mapping[str, NDArray[Any]]) -> str:
    """Why TensorRT's own layer will not do; empty: it will."""
    if operator.needed == "always":
        return "TensorRT has no right layer for it"
    if rule := operator.needed.get("attribute_not"):
        ((name, native),) = rule.items()
        value = attributes_of(node).get(name, native)
        text = value.decode() if isinstance(value, bytes) else value
        return "" if text == native else f"TensorRT ignores {name} = {text}"
    ((name, limit),) = operator.needed["above"].items()
    given = constants.get(node.input[operator.bake[name]])
    return f"{name} is {int(given.reshape(-1)[0])}, above {limit}" if given is not None and given.max() > limit else ""


def _unbound(use: Use) -> Iterable[Problem]:
    """What stands in the way of making a plugin of this node."""
    where = f"node `{use.node.name or use.node.op_type}`"
    try:
        plugin_attributes(use.operator, attributes_of(use.node), where)
    except GraphError as error:
        yield from error.problems
    for name, position in use.operator.bake.items():
        given = use.node.input[position] if position < len(use.node.input) else ""
        if given and given not in use.constants:
            yield Problem(
                f"input `{given}` ({name}) of {where} is not a constant",
                why=f"the plugin {use.operator.plugin} fixes it when the engine is built",
                fix="export with a constant, or fold constants first (`triton-repo doctor --fix`)",
            )


def _constants(graph: onnx.GraphProto) -> dict[str, NDArray[Any]]:
    from onnx import numpy_helper

    made = {t.name: t for t in graph.initializer if t.data_location != t.EXTERNAL}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            made[node.output[0]] = node.attribute[0].t
    small = {name: t for name, t in made.items() if len(t.dims) <= 1}  # shapes, axes and counts
    return {name: numpy_helper.to_array(t) for name, t in small.items()}
