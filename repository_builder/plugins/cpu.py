"""The graph as ONNX Runtime can run it: operators that it lacks get a function body in simpler operators.

Bodies come from two places: the ONNX standard itself (for operators newer than the runtime, such as LinearAttention),
and `function.onnxtxt` in the folder of a user's operator. ONNX Runtime inlines functions of the graph, so such a model
runs wherever ONNX Runtime does: in the parity gate, in the embedded server, in Triton's own backend.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from repository_builder.errors import GraphError, SpecError
from repository_builder.plugins.needed import PLUGIN_DOMAIN, STANDARD, nodes, unknown
from repository_builder.plugins.operators import Operator

if TYPE_CHECKING:
    import onnx

BODY = "function.onnxtxt"
BODIES = "trb.bodies"
ORIGINAL = "trb.node"
"""Key of a node's metadata under which the node stands as it was."""
RUNTIME_OPSET = 26
"""Newest opset that ONNX Runtime 1.27 to 1.31 reads."""


def define(model: onnx.ModelProto, operators: Sequence[Operator]) -> onnx.ModelProto:
    """A copy in which every operator of ours that ONNX Runtime lacks has a function body.

    Raises GraphError for a custom operator without plugin or function, SpecError for a plugin without or with a wrong body.
    """
    import onnx

    if missing := unknown(model, operators):
        raise GraphError(
            f"nobody defines the operator `{missing[0]}`",
            where=f"graph `{model.graph.name}`" + (f" (also {', '.join(missing[1:])})" if missing[1:] else ""),
            why="it belongs to no standard, no plugin folder was given for it, and the graph has no function of its name",
            fix=f"write a plugin: `triton-repo plugin new {missing[0]} --like model.onnx`, then name its folder in `plugins`",
        )
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _add_user_bodies(copy, operators)
    _add_standard_bodies(copy)
    lower(copy, RUNTIME_OPSET)
    return copy


def restore(model: onnx.ModelProto) -> None:
    """Undo what `define` did to operators of the standard, in place: plugins are found by the operator's own name."""
    import onnx

    for node in nodes(model.graph):
        kept = [entry.value for entry in node.metadata_props if entry.key == ORIGINAL]
        if node.domain == BODIES and kept:
            original = onnx.NodeProto.FromString(base64.b64decode(kept[0]))
            node.op_type, node.domain = original.op_type, original.domain
            del node.attribute[:], node.metadata_props[:]
            node.attribute.extend(original.attribute)


def read_body(operator: Operator) -> onnx.FunctionProto:
    """The operator's `function.onnxtxt`; its name, domain, inputs and outputs must be those of the operator."""
    import onnx.parser

    path = operator.folder / BODY
    if not path.is_file():
        raise SpecError(
            f"`{operator.qualified}` has no definition for the CPU",
            where=operator.folder,
            why="ONNX Runtime does not know the operator, so neither parity nor serving without a GPU is possible",
            fix=f"write {BODY}: the operator as an ONNX function",
        )
    text = "\n".join(line.partition("//")[0] for line in path.read_text(encoding="utf-8").splitlines())
    try:
        body = onnx.parser.parse_function(text)
    except onnx.parser.ParseError as error:
        raise SpecError("the function body cannot be read", where=path, why=str(error), fix="correct it") from error
    if any(node.op_type == "FILL_IN" for node in body.node):
        raise SpecError(
            f"the definition of `{operator.qualified}` for the CPU is not written yet",
            where=path,
            fix="replace FILL_IN by ONNX operators that compute what reference.py says",
        )
    _agree(operator, body, str(path))
    return body


def _agree(operator: Operator, body: onnx.FunctionProto, where: str) -> None:
    wrong = {
        "domain": (operator.domain, body.domain),
        "name": (operator.operator, body.name),
        "number of inputs": (len(operator.inputs), len(body.input)),
        "number of outputs": (len(operator.outputs), len(body.output)),
        "attributes": (sorted(operator.attributes), sorted([*body.attribute, *(a.name for a in body.attribute_proto)])),
    }
    for what, (expected, found) in wrong.items():
        if expected != found:
            raise SpecError(
                f"the {what} of the function body is `{found}`, that of operator.yaml `{expected}`",
                where=where,
                fix="make both the same",
            )


def _add_user_bodies(model: onnx.ModelProto, operators: Sequence[Operator]) -> None:
    from onnx.helper import make_opsetid

    there = {(f.domain, f.name) for f in model.functions}
    used = {(node.domain, node.op_type) for node in nodes(model.graph)}
    imported = {entry.domain: entry.version for entry in model.opset_import}
    for operator in operators:
        key = (operator.domain, operator.operator)
        if operator.domain in (*STANDARD, "com.microsoft", PLUGIN_DOMAIN) or key in there or key not in used:
            continue
        body = read_body(operator)
        for entry in body.opset_import:  # one opset per graph: ONNX's checker wants it, and refuses what does not fit
            entry.version = imported.get(entry.domain, entry.version)
        model.functions.append(body)
        if operator.domain not in {entry.domain for entry in model.opset_import}:
            model.opset_import.append(make_opsetid(operator.domain, 1))


def _add_standard_bodies(model: onnx.ModelProto) -> None:
    """Operators newer than the runtime become calls of the body that the standard gives, one body per node."""
    from onnx.helper import make_opsetid

    standard = next((entry for entry in model.opset_import if entry.domain in STANDARD[:2]), None)
    if standard is None or standard.version <= RUNTIME_OPSET:
        return
    types = _types(model)
    count = 0
    for node in nodes(model.graph):
        if node.domain in STANDARD[:2] and _since(node.op_type, standard.version) > RUNTIME_OPSET:
            body = _standard_body(node, standard.version, types)
            body.domain, body.name = BODIES, f"{node.op_type}_{count}"
            count += 1
            original = base64.b64encode(node.SerializeToString()).decode()
            node.metadata_props.add(key=ORIGINAL, value=original)
            _call(node, body)
            model.functions.append(body)
    if count:
        model.opset_import.append(make_opsetid(BODIES, 1))


def lower(model: onnx.ModelProto, opset: int) -> None:
    """Mark the graph, in place, as of an older opset, if that changes the meaning of no operator in it."""
    standard = next((entry for entry in model.opset_import if entry.domain in STANDARD[:2]), None)
    if standard is None or standard.version <= opset:
        return
    own = [node for node in nodes(model.graph) if node.domain in STANDARD[:2]]
    own += [node for function in model.functions for node in function.node if node.domain in STANDARD[:2]]
    if all(_meaning(node.op_type, standard.version) == _meaning(node.op_type, opset) for node in own):
        for function in model.functions:
            for entry in function.opset_import:
                entry.version = min(entry.version, opset) if entry.domain in STANDARD[:2] else entry.version
        standard.version = opset


def _standard_body(node: onnx.NodeProto, opset: int, types: Mapping[str, bytes]) -> onnx.FunctionProto:
    import onnx

    schema = onnx.defs.get_schema(node.op_type, opset, "")
    if schema.has_context_dependent_function:
        given = [types.get(name, b"") for name in node.input]
        body = schema.get_context_dependent_function(node.SerializeToString(), given)
    elif schema.has_function:
        body = schema.function_body.SerializeToString()
    else:
        body = b""
    if not body:
        raise GraphError(
            f"`{node.op_type}` of opset {opset} is newer than ONNX Runtime",
            where=f"node `{node.name or node.op_type}`",
            why="and the standard has no function body for it",
            fix=f"export with opset {RUNTIME_OPSET} or older",
        )
    made = onnx.FunctionProto.FromString(body)
    for entry in made.opset_import:
        entry.version = min(entry.version, RUNTIME_OPSET)
    return made


def _call(node: onnx.NodeProto, body: onnx.FunctionProto) -> None:
    known = {*body.attribute, *(attribute.name for attribute in body.attribute_proto)}
    kept = [attribute for attribute in node.attribute if attribute.name in known]
    del node.attribute[:]
    node.attribute.extend(kept)
    node.domain, node.op_type = body.domain, body.name


def _since(op_type: str, opset: int) -> int:
    import onnx

    try:
        return int(onnx.defs.get_schema(op_type, opset, "").since_version)
    except onnx.defs.SchemaError:
        return 0


def _meaning(op_type: str, opset: int) -> Any:
    """What an operator is at an opset, types left out: most new versions of operators only add data types."""
    import onnx

    try:
        schema = onnx.defs.get_schema(op_type, opset, "")
    except onnx.defs.SchemaError:
        return None
    attributes = {a.name: (a.required, a.default_value.SerializeToString()) for a in schema.attributes.values()}
    tensors = [port.name for port in (*schema.inputs, *schema.outputs)]
    return attributes, tensors, schema.min_input, schema.max_input, schema.doc


def _types(model: onnx.ModelProto) -> dict[str, bytes]:
    import onnx

    try:
        inferred: Any = onnx.shape_inference.infer_shapes(model)
    except onnx.shape_inference.InferenceError as error:
        raise GraphError(
            "the graph's types cannot be inferred", why=str(error), fix="export the graph again"
        ) from error
    graph = inferred.graph
    found = {value.name: value.type for value in (*graph.input, *graph.value_info, *graph.output)}
    for tensor in graph.initializer:
        found[tensor.name] = onnx.helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
    return {name: value.SerializeToString() for name, value in found.items()}
