"""Nodes that nothing reads, and Identity nodes: gone, on request. Repairs leave some behind; TensorRT skips them anyway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repository_builder.onnx_graph import walk
from repository_builder.onnx_graph.rewrite import GraphRepair

if TYPE_CHECKING:
    import onnx


def rewrite(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """The graph without them, or None if there is none. Graphs with subgraphs are left alone: those read names too."""
    import onnx

    if any(True for node in model.graph.node for _ in walk.subgraphs(node)):
        return None
    clean = onnx.ModelProto()
    clean.CopyFrom(model)
    nodes = _read(_without_identities(clean.graph), {value.name for value in clean.graph.output})
    if len(nodes) == len(model.graph.node):
        return None
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del clean.graph.node[:]
    clean.graph.node.extend(copies)
    used = {name for node in copies for name in node.input} | {value.name for value in clean.graph.output}
    kept = [tensor for tensor in clean.graph.initializer if tensor.name in used]
    if len(kept) < len(clean.graph.initializer):
        stored = [type(tensor).FromString(tensor.SerializeToString()) for tensor in kept]
        del clean.graph.initializer[:]
        clean.graph.initializer.extend(stored)
    return clean


def _without_identities(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes, reading what an Identity passed on; one that names an output of the graph stays."""
    edges = {value.name for value in graph.output}
    source: dict[str, str] = {}
    kept = []
    for node in graph.node:
        node.input[:] = [source.get(name, name) for name in node.input]
        if node.op_type == "Identity" and node.domain in walk.STANDARD_DOMAINS and node.output[0] not in edges:
            source[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    return kept


def _read(nodes: list[onnx.NodeProto], wanted: set[str]) -> list[onnx.NodeProto]:
    """Nodes on which something wanted depends."""
    kept = []
    for node in reversed(nodes):
        if wanted & set(node.output):
            wanted = wanted | {name for name in node.input if name}
            kept.append(node)
    return kept[::-1]


REPAIR = GraphRepair("clean_up", "remove nodes that nothing reads, and Identity nodes", rewrite, optional=True)
