"""The graph as TensorRT's parser shall see it: nodes that need a plugin carry its name, version and attributes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from repository_builder.plugins.binding import bind
from repository_builder.plugins.cpu import restore
from repository_builder.plugins.needed import PLUGIN_DOMAIN, Use, attributes_of, nodes, uses
from repository_builder.plugins.operators import Operator

if TYPE_CHECKING:
    import onnx


def rewrite(model: onnx.ModelProto, operators: Sequence[Operator]) -> tuple[onnx.ModelProto, list[Operator]]:
    """A copy in which every node that needs a plugin is one, and the operators in use.

    Constant inputs that the plugin bakes become attributes, absent inputs are marked in `present`. Functions of the
    graph that nobody calls any more are removed: the parser would prefer them.
    """
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    restore(copy)
    found = uses(copy, operators)
    for use in found:
        _rename(use)
    _keep_called_functions(copy)
    if PLUGIN_DOMAIN not in {entry.domain for entry in copy.opset_import}:
        copy.opset_import.append(onnx.helper.make_opsetid(PLUGIN_DOMAIN, 1))
    return copy, sorted({use.operator.key: use.operator for use in found}.values(), key=lambda o: o.key)


def _rename(use: Use) -> None:
    from onnx.helper import make_attribute

    node, operator = use.node, use.operator
    given = [use.constants.get(name) if position in operator.bake.values() else None for position, name in _all(node)]
    _, attributes = bind(operator, attributes_of(node), given, node.name)
    kept = [name for position, name in _all(node) if position not in operator.bake.values()]
    if operator.optional_inputs:
        present = [int(bool(name)) for name in kept] + [0] * (len(operator.inputs) - len(kept))
        attributes["present"] = present
        kept = [name for name in kept if name]
    attributes |= {"plugin_version": operator.version, "plugin_namespace": operator.namespace}
    del node.input[:], node.attribute[:]
    node.input.extend(kept)
    node.op_type, node.domain = operator.plugin, PLUGIN_DOMAIN
    node.attribute.extend(make_attribute(name, value) for name, value in attributes.items() if value != [])


def _all(node: onnx.NodeProto) -> list[tuple[int, str]]:
    return list(enumerate(node.input))


def _keep_called_functions(model: onnx.ModelProto) -> None:
    called = {(node.domain, node.op_type) for node in nodes(model.graph)}
    for _ in model.functions:  # functions call functions: as many rounds as there can be levels
        called |= {
            (node.domain, node.op_type) for f in model.functions if (f.domain, f.name) in called for node in f.node
        }
    kept = [function for function in model.functions if (function.domain, function.name) in called]
    del model.functions[:]
    model.functions.extend(kept)
