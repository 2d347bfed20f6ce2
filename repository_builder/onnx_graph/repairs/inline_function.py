"""Operators that the parser rejects, written out as the ONNX standard itself defines them.

Many operators are *functions*: the standard gives their body in simpler operators. The body replaces the node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from repository_builder.onnx_graph import walk
from repository_builder.onnx_graph.rewrite import Builder, Repair

if TYPE_CHECKING:
    import onnx


def rewrite(b: Builder) -> bool:
    """Replace the node by its function body, where the standard has one for this opset and these types."""
    function = body(b)
    if function is None or _random(function):
        return False
    renamed = _renaming(b, function)
    for node in function.node:
        b.nodes.append(_instance(node, b, function, renamed))
    for index, name in enumerate(function.output):
        if b.output(index):
            b.give(renamed[name], index)
    return True


def body(b: Builder) -> onnx.FunctionProto | None:
    """The function that defines the node's operator."""
    schema = _schema(b)
    if schema is None:
        return None
    opset = b.facts.opset if b.node.domain in walk.STANDARD_DOMAINS else b.facts.opsets[b.node.domain]
    parsed: onnx.FunctionProto | None = None
    if schema.has_function:
        parsed = schema.function_body if not schema.function_opset_versions else _plain(schema, opset)
    elif schema.has_context_dependent_function:
        parsed = _dependent(schema, b, opset)
    return parsed if parsed is not None and parsed.node else None


def _schema(b: Builder) -> Any:
    """The operator's schema in the opset that the graph declares; None outside the ONNX standards."""
    import onnx

    domain = "" if b.node.domain in walk.STANDARD_DOMAINS else b.node.domain
    version = b.facts.opset if not domain else b.facts.opsets.get(domain, 0)
    try:
        return onnx.defs.get_schema(b.node.op_type, version, domain)
    except onnx.defs.SchemaError:
        return None


def _plain(schema: Any, opset: int) -> onnx.FunctionProto | None:
    import onnx

    versions = [version for version in schema.function_opset_versions if version <= opset]
    if not versions:
        return None
    return onnx.FunctionProto.FromString(schema.get_function_with_opset_version(max(versions)))


def _dependent(schema: Any, b: Builder, opset: int) -> onnx.FunctionProto | None:
    import onnx

    versions = [version for version in schema.context_dependent_function_opset_versions if version <= opset]
    types = [_type(b, name) for name in b.node.input]
    if not versions or None in types:
        return None
    content = schema.get_context_dependent_function_with_opset_version(max(versions), b.node.SerializeToString(), types)
    return onnx.FunctionProto.FromString(content) if content else None


def _type(b: Builder, name: str) -> bytes | None:
    """The serialized TypeProto of an input; empty for one left out."""
    import onnx

    if not name:
        return b""
    dtype, shape = b.facts.dtype(name), b.facts.shape(name)
    if not dtype:
        return None
    described = onnx.helper.make_tensor_type_proto(dtype, None if shape is None else list(shape))
    return bytes(described.SerializeToString())


def _random(function: onnx.FunctionProto) -> bool:
    return any(node.op_type.startswith("Random") for node in function.node)


def _renaming(b: Builder, function: onnx.FunctionProto) -> dict[str, str]:
    """Name in the body → name in the graph."""
    renamed = {"": ""}
    for index, name in enumerate(function.input):
        renamed[name] = b.input(index)
    for node in function.node:
        for name in node.output:
            if name and name not in renamed:
                renamed[name] = b.fresh(f"{b.node.op_type}.{name}")
    return renamed


def _instance(
    node: onnx.NodeProto, b: Builder, function: onnx.FunctionProto, renamed: dict[str, str]
) -> onnx.NodeProto:
    import onnx

    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    _rename(copy, renamed)
    _bind(copy, b, function)
    copy.name = next((name for name in copy.output if name), "")
    return copy


def _rename(node: onnx.NodeProto, renamed: dict[str, str]) -> None:
    node.input[:] = [renamed.get(name, name) for name in node.input]
    node.output[:] = [renamed.get(name, name) for name in node.output]
    for _, graph in walk.subgraphs(node):
        own = {value.name for value in graph.input} | {name for inner in graph.node for name in inner.output}
        outer = {key: value for key, value in renamed.items() if key not in own}
        for inner in graph.node:
            _rename(inner, outer)
        for value in graph.output:
            value.name = outer.get(value.name, value.name)


def _bind(node: onnx.NodeProto, b: Builder, function: onnx.FunctionProto) -> None:
    """Attributes that refer to those of the call get its values, or the defaults."""
    import onnx

    call = {attribute.name: attribute for attribute in b.node.attribute}
    defaults = {attribute.name: attribute for attribute in function.attribute_proto}
    schema = _schema(b)
    bound = []
    for attribute in node.attribute:
        if not attribute.ref_attr_name:
            bound.append(attribute)
            continue
        source = call.get(attribute.ref_attr_name) or defaults.get(attribute.ref_attr_name)
        if source is None and attribute.ref_attr_name in schema.attributes:
            default = schema.attributes[attribute.ref_attr_name].default_value
            source = default if default.name else None
        if source is not None:
            copy = onnx.AttributeProto()
            copy.CopyFrom(source)
            copy.name = attribute.name
            bound.append(copy)
    copies = [onnx.AttributeProto.FromString(attribute.SerializeToString()) for attribute in bound]
    del node.attribute[:]
    node.attribute.extend(copies)
    for _, graph in walk.subgraphs(node):
        for inner in graph.node:
            _bind(inner, b, function)


REPAIR = Repair(
    "inline_function",
    "write an operator out as the ONNX standard defines it in simpler ones",
    (),
    rewrite,
)
