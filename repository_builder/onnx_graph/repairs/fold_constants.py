"""Computing what does not depend on inputs: constants of constants, and shapes that are static."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from repository_builder.onnx_graph import walk
from repository_builder.onnx_graph.facts import Facts
from repository_builder.onnx_graph.rewrite import GraphRepair

if TYPE_CHECKING:
    import onnx

_LARGEST = 2**16
"""Elements of a folded tensor: the graph must not grow."""

_NEVER = frozenset(
    [
        "RandomNormal",
        "RandomUniform",
        "RandomNormalLike",
        "RandomUniformLike",
        "Multinomial",
        "Bernoulli",
        "If",
        "Loop",
        "Scan",
    ]
)


def rewrite(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """The graph with constants computed, or None if there was nothing to compute."""
    import onnx
    from onnx import helper, numpy_helper

    facts = Facts(model)
    known: dict[str, Any] = {}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        values = _folded(node, facts, known, model)
        if values is None:
            nodes.append(node)
            continue
        for name, value in values.items():
            known[name] = value
            nodes.append(
                helper.make_node("Constant", [], [name], name=name, value=numpy_helper.from_array(value, name))
            )
    if not known:
        return None
    folded = onnx.ModelProto()
    folded.CopyFrom(model)
    del folded.graph.node[:]
    folded.graph.node.extend(nodes)
    return folded


def _folded(node: onnx.NodeProto, facts: Facts, known: dict[str, Any], model: onnx.ModelProto) -> dict[str, Any] | None:
    """Values of the node's outputs, or None if they depend on inputs."""
    import numpy as np

    if node.domain not in walk.STANDARD_DOMAINS or node.op_type in _NEVER or node.op_type == "Constant":
        return None
    if node.op_type in {"Shape", "Size"}:
        shape = facts.static(node.input[0])
        if shape is None:
            return None
        inputs = {node.input[0]: np.broadcast_to(np.float32(0), shape)}
    else:
        found = {name: known.get(name, facts.value(name)) for name in node.input if name}
        if any(value is None for value in found.values()) or (not found and node.op_type != "Constant"):
            return None
        inputs = found
    return _evaluated(node, inputs, model)


def _evaluated(node: onnx.NodeProto, inputs: dict[str, Any], model: onnx.ModelProto) -> dict[str, Any] | None:
    """The node alone, by the reference evaluator."""
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    empty = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in inputs]
    outputs = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in node.output if name]
    single = helper.make_model(helper.make_graph([node], "fold", empty, outputs), opset_imports=model.opset_import)
    try:
        values = ReferenceEvaluator(single).run(None, inputs)
    except (RuntimeError, ArithmeticError, ValueError, TypeError, LookupError, AttributeError, AssertionError):
        return None
    names = [name for name in node.output if name]
    if any(not hasattr(value, "size") or value.size > _LARGEST for value in values):
        return None
    return dict(zip(names, values, strict=True))


REPAIR = GraphRepair("fold_constants", "compute what does not depend on inputs", rewrite)
