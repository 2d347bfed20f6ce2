"""Ranked ways out for a node that a judge refuses; the first is the cheapest that applies."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from repository_builder.errors import nearest
from repository_builder.onnx_graph import tables, walk
from repository_builder.onnx_graph.facts import Facts
from repository_builder.onnx_graph.repairs import GRAPH_REPAIRS, NODE_REPAIRS
from repository_builder.onnx_graph.repairs.convert_opset import NEWEST, OLDEST
from repository_builder.onnx_graph.rewrite import Builder

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Fix:
    """One way out."""

    kind: str
    """`repair`, `export`, `opset`, `nvidia-plugin`, `our-plugin`, `scaffold`, `onnxruntime` or `advice`."""
    text: str
    command: str = ""


def ranked(
    model: onnx.ModelProto, node: onnx.NodeProto | None, facts: Facts, reason: str, own: Mapping[str, str]
) -> Iterator[Fix]:
    """Fixes for a refused node (or for the graph, where no node is named), the cheapest first."""
    if not OLDEST <= facts.opset <= NEWEST:
        yield Fix(
            "opset",
            f"the graph is in opset {facts.opset}; the parser reads {OLDEST} to {NEWEST}: export with `opset_version=20`",
            "triton-repo repair MODEL -o FIXED",
        )
    if node is None:
        yield from _graph_fixes(model, reason)
        return
    if name := _repair(node, facts):
        summary = next(candidate.summary for candidate in NODE_REPAIRS if candidate.name == name)
        yield Fix("repair", f"{name}: {summary}", "triton-repo repair MODEL -o FIXED")
    else:
        yield from _graph_fixes(model, reason)
    if plugin := tables.plugin_for(node.op_type):
        state = "" if plugin.usable else " (deprecated: for old engines only)"
        yield Fix("nvidia-plugin", f"`{plugin.name}` of libnvinfer_plugin{state}: {plugin.covers}")
    if node.op_type in own:
        yield Fix("our-plugin", f"our plugin: {own[node.op_type]}; `build` compiles and wires it")
    standard = _is_standard(node)
    if not standard:
        yield _not_in_any_standard(node)
    yield Fix("scaffold", "write the operator as a CUDA plugin", _scaffold(node))
    if standard or node.domain == "com.microsoft":
        yield Fix("onnxruntime", "serve the model with ONNX Runtime instead: `target: onnxruntime_onnx` in the spec")


def for_file(fix: Fix, path: Path) -> Fix:
    """The fix with the graph's own path in its command."""
    command = fix.command.replace("MODEL", str(path)).replace("FIXED", f"{path.stem}.fixed.onnx")
    return replace(fix, command=command)


def translated(reason: str, operator: str) -> str:
    """The parser's words, with what they mean where they are cryptic."""
    for pattern, meaning in _MEANINGS:
        if re.search(pattern, reason):
            return f"{meaning.format(operator=operator)} (parser: {reason})"
    return reason


_MEANINGS = (
    (r"^false \[UNSUPPORTED_NODE\]", "the parser has no importer for {operator}"),
    (r"[Pp]lugin (was )?not found|Plugin not found|failed to load", "no importer and no plugin of this name exist"),
    (r"Failed to convert ONNX date type", "an input has a type that TensorRT lacks"),
    (r"must resolve to a build-time constant", "the axes are computed at run time; TensorRT wants constants"),
    (r"toposort", "the nodes are not in an order in which they can be computed"),
    (r"Pre-opset 7", "the graph is older than opset 7"),
)


def _repair(node: onnx.NodeProto, facts: Facts) -> str:
    """The first repair whose precondition the node meets; nothing is changed."""
    for candidate in NODE_REPAIRS:
        if candidate.operators and node.op_type not in candidate.operators:
            continue
        builder = Builder(node, facts, "trial")
        if candidate.rewrite(builder) and builder.complete:
            return candidate.name
    return ""


def _graph_fixes(model: onnx.ModelProto, reason: str) -> Iterator[Fix]:
    """Repairs of the whole graph that would change something."""
    if model.ByteSize() > 2**28:
        return  # trying them copies the graph
    for candidate in GRAPH_REPAIRS:
        if candidate.optional or candidate.redefines or candidate.rewrite(model) is None:
            continue
        leave = f" --allow {candidate.leave}" if candidate.leave else ""
        yield Fix("repair", f"{candidate.name}: {candidate.summary}", f"triton-repo repair MODEL -o FIXED{leave}")
    if "Failed to convert ONNX date type" in reason:
        yield Fix("export", "export with tensors of FP32, FP16, INT32, INT64 or BOOL as inputs")


def _scaffold(node: onnx.NodeProto) -> str:
    name = node.op_type if node.domain in walk.STANDARD_DOMAINS else f"{node.domain}::{node.op_type}"
    return f"triton-repo plugin new {name} --like MODEL"


def _is_standard(node: onnx.NodeProto) -> bool:
    from onnx import defs

    domain = "" if node.domain in walk.STANDARD_DOMAINS else node.domain
    return bool(defs.has(node.op_type, domain))


def _not_in_any_standard(node: onnx.NodeProto) -> Fix:
    from onnx import defs

    hint = nearest(node.op_type, {schema.name for schema in defs.get_all_schemas()})
    return Fix(
        "export",
        f"`{walk.operator(node)}` belongs to no ONNX standard{hint}; give torch.onnx.export a translation in standard "
        "operators (`custom_translation_table`), or add its definition as a model-local function",
    )
