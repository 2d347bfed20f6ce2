"""Reading an ONNX graph: `load` validates it, `interface` says what goes in and out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repository_builder.errors import GraphError, Problem
from repository_builder.onnx_graph import external, file, structure
from repository_builder.tensor import Dim, Interface, Tensor

if TYPE_CHECKING:
    import onnx

DTYPES = {
    1: "FP32", 2: "UINT8", 3: "INT8", 4: "UINT16", 5: "INT16", 6: "INT32", 7: "INT64", 8: "STRING", 9: "BOOL",
    10: "FP16", 11: "FP64", 12: "UINT32", 13: "UINT64", 16: "BF16",
}  # fmt: skip
"""ONNX TensorProto.DataType → Triton's data type. Complex, FP8 and 4-bit types have no counterpart there."""


def load(path: Path, *, weights: bool = False, sort: bool = False) -> onnx.ModelProto:
    """The validated graph of a file. External weights stay where they are unless `weights` is set.

    Raises GraphError, with all problems found, for everything that is not a usable graph: foreign, truncated or too
    large files, versions from the future, cycles, duplicate names, wrong operators, and external data that is missing
    or lies outside the graph's folder. Operators that nobody knows are left to the verdict of a runtime.

    With `sort`, nodes in a wrong order are put right instead of refused. Peak memory: twice the file.
    """
    model = file.parse(path)
    external.confine(model, path)
    if sort:
        _sort(model.graph)
    structure.validate(model, path)
    if weights:
        external.load_into(model, path.parent)
    return model


def interface(model: onnx.ModelProto) -> Interface:
    """Inputs and outputs, in order; initializers are no inputs. Dynamic dims keep their symbol, unnamed ones get one.

    Dims of outputs that the graph leaves open are found by shape inference. Raises GraphError where a tensor has no
    counterpart in Triton (sequence, map, optional, FP8 …) or its rank is unknown.
    """
    initializers = {tensor.name for tensor in model.graph.initializer}
    initializers |= {sparse.values.name for sparse in model.graph.sparse_initializer}
    declared = [value for value in model.graph.input if value.name not in initializers]
    if problems := [*_unusable((*declared, *model.graph.output), model)]:
        raise GraphError.many(problems)
    namer = _Namer(declared, model.graph.output)
    inputs = tuple(namer.tensor(value) for value in declared)
    outputs = list(model.graph.output)
    if any(_open(value) for value in outputs):
        outputs = _inferred(model, inputs)
    if problems := [*_unranked((*declared, *outputs), model)]:
        raise GraphError.many(problems)
    return Interface(inputs, tuple(namer.tensor(value) for value in outputs))


class _Namer:
    """Gives every unnamed dynamic dim a name that no other dim of the graph has."""

    def __init__(self, inputs: Iterable[Any], outputs: Iterable[Any]) -> None:
        self._taken = {
            dim.dim_param for value in (*inputs, *outputs) for dim in value.type.tensor_type.shape.dim if dim.dim_param
        }

    def tensor(self, value: onnx.ValueInfoProto) -> Tensor:
        described = value.type.tensor_type
        shape = tuple(self._dim(value.name, axis, dim) for axis, dim in enumerate(described.shape.dim))
        return Tensor(value.name, DTYPES[described.elem_type], shape)

    def _dim(self, tensor: str, axis: int, dim: Any) -> Dim:
        if dim.HasField("dim_value") and dim.dim_value >= 0:
            return int(dim.dim_value)
        if dim.dim_param:
            return str(dim.dim_param)
        name = f"{tensor}_dim{axis}"
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name


def _open(value: onnx.ValueInfoProto) -> bool:
    """Whether the graph does not say all of the output's shape (-1 is how old exporters say it)."""
    described = value.type.tensor_type
    return not described.HasField("shape") or any(
        not dim.dim_param and not (dim.HasField("dim_value") and dim.dim_value >= 0) for dim in described.shape.dim
    )


def _inferred(model: onnx.ModelProto, inputs: tuple[Tensor, ...]) -> list[onnx.ValueInfoProto]:
    """Outputs after shape inference on the skeleton, its inputs' dims named as in `inputs`."""
    import onnx

    light = structure.skeleton(model)
    named = {tensor.name: tensor for tensor in inputs}
    for value in light.graph.input:
        if tensor := named.get(value.name):
            for dim, size in zip(value.type.tensor_type.shape.dim, tensor.shape, strict=True):
                if isinstance(size, str):
                    dim.dim_param = size
    for value in light.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if dim.HasField("dim_value") and dim.dim_value < 0:
                dim.Clear()
    try:
        light = onnx.shape_inference.infer_shapes(light, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError):
        return list(model.graph.output)  # what is missing is then reported by name
    return list(light.graph.output)


def _unusable(values: Iterable[onnx.ValueInfoProto], model: onnx.ModelProto) -> Iterator[Problem]:
    for value in values:
        kind = value.type.WhichOneof("value")
        if kind != "tensor_type":
            why = f"it is a {(kind or 'value without a type').removesuffix('_type')}; Triton passes tensors only"
            fix = "export with tensors as inputs and outputs"
        elif value.type.tensor_type.elem_type not in DTYPES:
            why, fix = f"Triton has no data type for {_type_name(value)}", "cast inside the graph"
        else:
            continue
        yield Problem(f"`{value.name}` cannot be an input or output of a served model", _graph(model), why, fix)


def _type_name(value: onnx.ValueInfoProto) -> str:
    import onnx

    number = value.type.tensor_type.elem_type
    return (
        str(onnx.TensorProto.DataType.Name(number))
        if number in onnx.TensorProto.DataType.values()
        else f"type {number}"
    )


def _unranked(values: Iterable[onnx.ValueInfoProto], model: onnx.ModelProto) -> Iterator[Problem]:
    for value in values:
        if not value.type.tensor_type.HasField("shape"):
            yield Problem(
                f"the shape of `{value.name}` is unknown",
                _graph(model),
                "the graph does not even say how many dimensions it has, and shape inference could not find out",
                "export again with shapes, or add them with `onnx.tools.update_model_dims.update_inputs_outputs_dims`",
            )


def _graph(model: onnx.ModelProto) -> str:
    return f"graph `{model.graph.name}`"


def _sort(graph: onnx.GraphProto) -> None:
    """Nodes in topological order, otherwise as they stood; a cycle is left for the validation to name."""
    import heapq

    producer = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    waits = [{producer[n] for n in structure.reads(node) if n in producer} for node in graph.node]
    if all(max(needed, default=-1) < index for index, needed in enumerate(waits)):
        return
    readers: dict[int, list[int]] = {}
    for index, needed in enumerate(waits):
        for source in needed:
            readers.setdefault(source, []).append(index)
    ready, order = [i for i, needed in enumerate(waits) if not needed], []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for reader in readers.get(index, ()):
            waits[reader].discard(index)
            if not waits[reader]:
                heapq.heappush(ready, reader)
    if len(order) == len(graph.node):
        nodes = [graph.node[index] for index in order]
        copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:]
        graph.node.extend(copies)
