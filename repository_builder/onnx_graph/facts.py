"""What is known of a graph's tensors without running it: types, shapes and small constants, subgraphs included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from repository_builder.onnx_graph import structure, walk

if TYPE_CHECKING:
    import onnx


_ELEMENTWISE = frozenset(
    {"Abs", "Cast", "CastLike", "Exp", "Identity", "Log", "Neg", "Not", "Reciprocal", "Relu", "Sigmoid", "Sqrt", "Tanh"}
)
"""Operators whose first input has the shape of the result."""


class Facts:
    """Types, shapes and constants by tensor name. Computed once from a model; not updated when it changes."""

    def __init__(self, model: onnx.ModelProto) -> None:
        light = _inferred(structure.skeleton(model))
        self.opset = opset(model)
        self.opsets = {entry.domain: int(entry.version) for entry in model.opset_import}
        self.large = {tensor.name for tensor in model.graph.initializer} - {t.name for t in light.graph.initializer}
        self._types: dict[str, Any] = {}
        self._tensors: dict[str, onnx.TensorProto] = {}
        self._values: dict[str, Any] = {}
        for _, graph in walk.graphs(light):
            self._take(graph)
        for _, graph in walk.graphs(light):
            self._backwards(graph)
        self.edges = {value.name for value in (*model.graph.input, *model.graph.output)}
        """Names of the graph's inputs and outputs."""
        self.read = {value.name for _, graph in walk.graphs(model) for value in graph.output}
        self.read |= {name for node in walk.nodes(model) for name in node.input}
        """Names that somebody reads."""

    def _take(self, graph: onnx.GraphProto) -> None:
        for value in (*graph.value_info, *graph.input, *graph.output):
            if value.type.HasField("tensor_type"):
                self._types[value.name] = value.type.tensor_type
        for tensor in graph.initializer:
            self._tensors[tensor.name] = tensor
        for node in graph.node:
            if node.op_type == "Constant" and node.domain in walk.STANDARD_DOMAINS:
                tensor = _constant(node)
                if tensor is not None:
                    self._tensors[node.output[0]] = tensor

    def _backwards(self, graph: onnx.GraphProto) -> None:
        """What reads a tensor element by element tells its shape, where only the result's is declared."""
        for node in reversed(graph.node):
            if node.op_type not in _ELEMENTWISE or not node.input or self.shape(node.input[0]) is not None:
                continue
            if (result := self._types.get(node.output[0])) is not None and result.HasField("shape"):
                known = type(result)()
                known.CopyFrom(result)
                known.elem_type = self.dtype(node.input[0])
                self._types[node.input[0]] = known

    def dtype(self, name: str) -> int:
        """TensorProto.DataType, or 0 where it is not known."""
        if name in self._tensors:
            return int(self._tensors[name].data_type)
        return int(self._types[name].elem_type) if name in self._types else 0

    def shape(self, name: str) -> tuple[int | str | None, ...] | None:
        """Sizes, symbols, or None for an unknown dim; None where the rank is not known."""
        if name in self._tensors:
            return tuple(self._tensors[name].dims)
        described = self._types.get(name)
        if described is None or not described.HasField("shape"):
            return None
        return tuple(
            int(dim.dim_value) if dim.HasField("dim_value") else (dim.dim_param or None) for dim in described.shape.dim
        )

    def static(self, name: str) -> tuple[int, ...] | None:
        """The shape if all of it is known."""
        shape = self.shape(name)
        if shape is None:
            return None
        sizes = tuple(dim for dim in shape if isinstance(dim, int) and dim >= 0)
        return sizes if len(sizes) == len(shape) else None

    def rank(self, name: str) -> int | None:
        """Number of dimensions, if known."""
        shape = self.shape(name)
        return None if shape is None else len(shape)

    def value(self, name: str) -> Any:
        """The constant as an array, or None if the tensor is not a small constant."""
        if name in self._tensors and name not in self._values:
            from onnx import numpy_helper

            self._values[name] = numpy_helper.to_array(self._tensors[name])
        return self._values.get(name)


def opset(model: onnx.ModelProto, domain: str = "") -> int:
    """The opset that the model declares for a domain; 1 if it declares none."""
    wanted = walk.STANDARD_DOMAINS if domain == "" else (domain,)
    return next((int(entry.version) for entry in model.opset_import if entry.domain in wanted), 1)


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Attribute values by name: numbers, lists, texts, tensors, graphs."""
    from onnx import helper

    table = {}
    for attribute in node.attribute:
        value = helper.get_attribute_value(attribute)
        table[attribute.name] = value.decode() if isinstance(value, bytes) else value
    return table


def _constant(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """The tensor that a Constant node holds; None for sparse ones and for nodes without a value."""
    import numpy as np
    from onnx import numpy_helper

    if len(node.attribute) != 1:
        return None
    (attribute,) = node.attribute
    if attribute.name == "value":
        return attribute.t if attribute.HasField("t") else None
    kinds = {"value_float": "f4", "value_floats": "f4", "value_int": "i8", "value_ints": "i8"}
    if attribute.name not in kinds:
        return None  # texts and sparse tensors: nothing here asks for them
    return numpy_helper.from_array(np.asarray(attributes(node)[attribute.name], kinds[attribute.name]))


def _inferred(light: onnx.ModelProto) -> onnx.ModelProto:
    import onnx

    try:
        return onnx.shape_inference.infer_shapes(light, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError):
        return light
