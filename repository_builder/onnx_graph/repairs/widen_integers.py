"""Integer types that TensorRT lacks, held in wider ones: exactly, overflow included.

8- and 16-bit integers become INT32, 32- and 64-bit unsigned ones INT64 (UINT64 with the same bits). Results that may
leave the range of the type are wrapped, as the type itself would. UINT8 stays UINT8 at the graph's inputs and outputs,
where TensorRT has it; other types change there, which the report says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from repository_builder.onnx_graph import walk
from repository_builder.onnx_graph.facts import Facts, attributes
from repository_builder.onnx_graph.rewrite import Builder, GraphRepair

if TYPE_CHECKING:
    import onnx

WIDER = {2: 6, 3: 6, 4: 6, 5: 6, 12: 7, 13: 7}
"""Narrow type → the type that holds it."""

BITS = {2: (8, False), 3: (8, True), 4: (16, False), 5: (16, True), 12: (32, False), 13: (64, False)}

_UNSIGNED_ORDER = frozenset(
    {"Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Min", "Max", "Clip", "Mod", "Div", "ReduceMax", "ReduceMin"}
    | {"ArgMax", "ArgMin", "TopK", "Sign"}
)
"""Operators that see the sign: not for UINT64, whose upper half is negative in INT64, unless written anew below."""

_SAME = _UNSIGNED_ORDER | frozenset(
    {"Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Concat", "Split", "Slice", "Gather"}
    | {"GatherElements", "GatherND", "Expand", "Tile", "Where", "Pad", "Shape", "Size", "Equal", "Scatter"}
    | {"ScatterElements", "ScatterND", "OneHot", "Trilu", "DepthToSpace", "SpaceToDepth", "ReverseSequence", "EyeLike"}
)
"""Operators whose result on wider integers is that on the narrow ones."""

_WRAPPING = frozenset({"Add", "Sub", "Mul", "Neg", "Abs", "Sum", "Pow", "ReduceSum", "ReduceProd", "CumSum", "MatMul"})
"""Operators whose result may overflow, and is the same modulo the type's range."""


def rewrite(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """The graph with wider types, or None if there are no narrow ones or an operator is not known to allow it."""
    import onnx

    facts = Facts(model)
    if not _applies(model, facts):
        return None
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    nodes: list[onnx.NodeProto] = []
    edges = _edges(wide, nodes)
    for index, node in enumerate(model.graph.node):
        if not _rewrite_node(node, facts, f"wide{index}", nodes):
            return None
    nodes += edges
    del wide.graph.node[:]
    wide.graph.node.extend(nodes)
    del wide.graph.value_info[:]
    for tensor in wide.graph.initializer:
        if tensor.data_type in WIDER:
            tensor.CopyFrom(_widened(tensor))
    return wide


def _applies(model: onnx.ModelProto, facts: Facts) -> bool:
    names = {name for node in walk.nodes(model) for name in (*node.input, *node.output)}
    narrow = any(facts.dtype(name) in WIDER for name in names)
    return narrow and not any(True for node in model.graph.node for _ in walk.subgraphs(node))


def _edges(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Change the types of inputs and outputs; UINT8 is cast just inside. Returns the casts before the outputs."""
    from onnx import helper

    initializers = {tensor.name for tensor in model.graph.initializer}
    last = []
    for value in model.graph.input:
        described = value.type.tensor_type
        if described.elem_type == 2 and value.name not in initializers:
            nodes.append(helper.make_node("Cast", [value.name], [f"{value.name}/wide"], to=6))
        elif described.elem_type in WIDER:
            described.elem_type = WIDER[described.elem_type]
    for value in model.graph.output:
        described = value.type.tensor_type
        if described.elem_type == 2:
            last.append(helper.make_node("Cast", [f"{value.name}/wide"], [value.name], to=2))
        elif described.elem_type in WIDER:
            described.elem_type = WIDER[described.elem_type]
    return last


def _rewrite_node(node: onnx.NodeProto, facts: Facts, tag: str, nodes: list[onnx.NodeProto]) -> bool:
    """Append the node on wider types. False if that is not known to be exact."""
    kinds = {facts.dtype(name) for name in (*node.input, *node.output)}
    if not kinds & WIDER.keys():
        nodes.append(node)
        return True
    build = _SPECIAL.get(node.op_type)
    if build is None and not _allowed(node, kinds):
        return False
    renamed = _renamed(node, facts)
    b = Builder(renamed, facts, f"{node.output[0]}/{tag}")
    if build is not None and kinds & _SPECIAL_TYPES.get(node.op_type, {13}):
        if build is None or not build(b, node):
            return False
        nodes += b.nodes
        return True
    if node.op_type in _WRAPPING:
        value = b.op(node.op_type, list(renamed.input), **b.attributes)[0]
        b.give(wrapped(b, value, facts.dtype(node.output[0])))
        nodes += b.nodes
        return True
    nodes.append(renamed)
    return True


def _allowed(node: onnx.NodeProto, kinds: set[int]) -> bool:
    if node.domain not in walk.STANDARD_DOMAINS:
        return False
    if 13 in kinds and node.op_type in _UNSIGNED_ORDER:
        return False
    return node.op_type in _SAME | _WRAPPING


def _renamed(node: onnx.NodeProto, facts: Facts) -> onnx.NodeProto:
    """UINT8 inputs and outputs of the graph have a wide twin inside."""
    copy = type(node).FromString(node.SerializeToString())
    copy.input[:] = [_twin(name, facts) for name in node.input]
    copy.output[:] = [_twin(name, facts) for name in node.output]
    return copy


def _twin(name: str, facts: Facts) -> str:
    return f"{name}/wide" if name in facts.edges and facts.dtype(name) == 2 else name


def wrapped(b: Builder, value: str, dtype: int) -> str:
    """A wide value modulo the range of the narrow type."""
    if dtype not in BITS or dtype == 13:
        return value
    bits, signed = BITS[dtype]
    wide = WIDER[dtype]
    if not signed:
        return b.Mod(value, b.const(2**bits, wide))
    half = b.const(2 ** (bits - 1), wide)
    return b.Sub(b.Mod(b.Add(value, half), b.const(2**bits, wide)), half)


def _widened(tensor: onnx.TensorProto) -> onnx.TensorProto:
    from onnx import helper, numpy_helper

    array = numpy_helper.to_array(tensor).astype(helper.tensor_dtype_to_np_dtype(WIDER[tensor.data_type]))
    return numpy_helper.from_array(array, tensor.name)


def _cast(b: Builder, node: onnx.NodeProto) -> bool:
    """A Cast from or to a narrow type."""
    source, target = b.facts.dtype(node.input[0]), b.facts.dtype(node.output[0])
    if 13 in (source, target) and not {source, target} <= {13, 7, 12, 6, 4, 2}:
        return False
    value = b.Cast(b.input(0), to=WIDER.get(target, target))
    if target in WIDER and source not in (1, 10, 11, 16):
        if target != 12 and source in (7, 12, 13):  # wrap before the narrowing of INT64 to INT32 may saturate
            value = b.Cast(wrapped64(b, b.input(0), target), to=WIDER[target])
        else:
            value = wrapped(b, value, target)
    b.give(value)
    return True


def wrapped64(b: Builder, value: str, dtype: int) -> str:
    """Like `wrapped`, on INT64."""
    if dtype not in BITS or dtype == 13:
        return value
    bits, signed = BITS[dtype]
    if not signed:
        return b.Mod(value, b.const(2**bits))
    half = b.const(2 ** (bits - 1))
    return b.Sub(b.Mod(b.Add(value, half), b.const(2**bits)), half)


def _constant(b: Builder, node: onnx.NodeProto) -> bool:
    array = b.facts.value(node.output[0])
    b.give(b.const(array, WIDER[b.facts.dtype(node.output[0])]))
    return True


_MIN = -(2**63)


def _flipped(b: Builder, value: str) -> str:
    """INT64 whose signed order is the unsigned order of the bits."""
    return b.Add(value, b.const(_MIN))


def _ordered(b: Builder, node: onnx.NodeProto) -> bool:
    """A comparison of UINT64."""
    inputs = [_flipped(b, name) for name in b.node.input]
    b.give(b.op(node.op_type, inputs, **attributes(node))[0])
    return True


def _extreme(b: Builder, node: onnx.NodeProto) -> bool:
    """Min or Max as a choice: ONNX Runtime 1.31 compares only the low half of INT64 in its own."""
    wide = 13 in {b.facts.dtype(name) for name in node.input}
    greater = b.Greater if node.op_type == "Max" else b.Less
    value = b.node.input[0]
    for other in b.node.input[1:]:
        pair = [_flipped(b, name) for name in (value, other)] if wide else [value, other]
        value = b.Where(greater(*pair), value, other)
    b.give(value)
    return True


def _half(b: Builder, value: str) -> str:
    """Logical shift to the right by one."""
    once = b.Div(b.Sub(value, b.Mod(value, b.const(2))), b.const(2))
    return b.Where(b.Less(value, b.const(0)), b.Add(once, b.const(_MIN)), once)


def _quotient(b: Builder, x: str, y: str) -> str:
    """Unsigned division: of the halved number, doubled, and corrected by at most one; divisors from 2^63 on apart."""
    rough = b.Mul(b.Div(_half(b, x), y), b.const(2))
    rest = b.Sub(x, b.Mul(rough, y))
    more = b.cast(b.GreaterOrEqual(_flipped(b, rest), _flipped(b, y)), 7)
    huge = b.cast(b.GreaterOrEqual(_flipped(b, x), _flipped(b, y)), 7)
    return b.Where(b.Less(y, b.const(0)), huge, b.Add(rough, more))


def _divided(b: Builder, node: onnx.NodeProto) -> bool:
    x, y = b.node.input
    quotient = _quotient(b, x, y)
    b.give(quotient if node.op_type == "Div" else b.Sub(x, b.Mul(quotient, y)))
    return True


_SPECIAL: dict[str, Callable[[Builder, Any], bool]] = {
    "Cast": _cast,
    "CastLike": _cast,
    "Constant": _constant,
    "Less": _ordered,
    "Greater": _ordered,
    "LessOrEqual": _ordered,
    "GreaterOrEqual": _ordered,
    "Min": _extreme,
    "Max": _extreme,
    "Div": _divided,
    "Mod": _divided,
}
"""Operators written anew."""

_ALL = frozenset(WIDER)
_SPECIAL_TYPES: dict[str, frozenset[int] | set[int]] = {
    "Cast": _ALL, "CastLike": _ALL, "Constant": _ALL, "Min": {12, 13}, "Max": {12, 13},
}  # fmt: skip
"""Narrow types for which an operator is written anew, where not for UINT64 alone."""


REPAIR = GraphRepair(
    "widen_integers",
    "hold integer types that TensorRT lacks in wider ones, with the same overflow",
    rewrite,
)
