"""Going through an ONNX graph: subgraphs (If, Loop, Scan), function bodies and every tensor that is stored in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

STANDARD_DOMAINS = ("", "ai.onnx")
"""Two spellings of the domain of the ONNX standard itself."""


def label(node: onnx.NodeProto, index: int | None = None) -> str:
    """How messages call a node: ``node `encoder/add` (Add)``; a nameless one by what it computes."""
    if node.name:
        return f"node `{node.name}` ({operator(node)})"
    outputs = ", ".join(f"`{name}`" for name in node.output if name) or "nothing"
    number = "" if index is None else f" #{index}"
    return f"node{number} ({operator(node)}) that computes {outputs}"


def operator(node: onnx.NodeProto) -> str:
    """`Relu`, or `com.microsoft.Gelu` outside the standard domain."""
    return node.op_type if node.domain in STANDARD_DOMAINS else f"{node.domain}.{node.op_type}"


def subgraphs(node: onnx.NodeProto) -> Iterator[tuple[str, onnx.GraphProto]]:
    """Attribute name and graph of every direct subgraph of a node."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.name, attribute.g
        for graph in attribute.graphs:
            yield attribute.name, graph


def graphs(model: onnx.ModelProto) -> Iterator[tuple[str, onnx.GraphProto]]:
    """The main graph and, depth first, every subgraph of it or of a function body, each with its place in words."""
    yield from _below(model.graph, "")
    for function in model.functions:
        for node in function.node:
            yield from _of_node(node, f"function `{function.domain}.{function.name}`, ")


def nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node anywhere in the model."""
    for _, graph in graphs(model):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor stored anywhere: initializers, sparse ones, attributes, subgraphs, functions, training graphs."""
    holders: list[Any] = [graph for _, graph in graphs(model)]
    for training in model.training_info:
        for root in (training.initialization, training.algorithm):
            holders += [graph for _, graph in _below(root, "training, ")]
    for graph in holders:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            yield from _of_attributes(node)
    for function in model.functions:
        for node in function.node:
            yield from _of_attributes(node)


def _below(graph: onnx.GraphProto, where: str) -> Iterator[tuple[str, onnx.GraphProto]]:
    yield where, graph
    for node in graph.node:
        yield from _of_node(node, where)


def _of_node(node: onnx.NodeProto, where: str) -> Iterator[tuple[str, onnx.GraphProto]]:
    for name, graph in subgraphs(node):
        yield from _below(graph, f"{where}{label(node)}, {name}, ")


def _of_attributes(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        if attribute.HasField("sparse_tensor"):
            yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
        yield from attribute.tensors
        for sparse in attribute.sparse_tensors:
            yield from (sparse.values, sparse.indices)
