"""The verdict without a parser: the versioned table of operators and types that NVIDIA publishes.

It knows operators and types, not attributes and shapes; restrictions that it cannot check are named in the verdict of
the operator, not counted against the graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from repository_builder.onnx_graph import tables, walk
from repository_builder.onnx_graph.facts import Facts, opset
from repository_builder.onnx_graph.verdict import Complaint, Verdict

if TYPE_CHECKING:
    import onnx

_LATER = {"DFT": (11, 2)}
"""Operators that a later version takes than the one the table describes (TensorRT's release notes)."""

_TYPE_NAMES = {
    1: "FP32", 2: "UINT8", 3: "INT8", 4: "UINT16", 5: "INT16", 6: "INT32", 7: "INT64", 8: "STRING", 9: "BOOL",
    10: "FP16", 11: "FP32", 12: "UINT32", 13: "UINT64", 14: "COMPLEX64", 15: "COMPLEX128", 16: "BF16", 17: "FP8",
    18: "FP8", 19: "FP8", 20: "FP8", 21: "UINT4", 22: "INT4", 23: "FP4",
}  # fmt: skip
"""TensorProto.DataType → the table's word; DOUBLE is clamped to FP32 by the parser."""

_NETWORK_TYPES = {"FP32", "FP16", "BF16", "INT8", "INT32", "INT64", "BOOL", "UINT8", "FP8", "INT4", "FP4"}


class TableJudge:
    """Judges by the table, for one version of TensorRT."""

    def __init__(self, version: str) -> None:
        self._version = tuple(int(part) for part in version.split(".")[:2])
        described = tables.read("onnx_op_support")["meta"]["tensorrt"]
        exact = "" if version == described else f", the table describes {described}"
        self.source = f"TensorRT {version} (operator table{exact}; attributes and shapes are not checked)"

    def judge(self, model: onnx.ModelProto, path: Path | None = None) -> Verdict:  # noqa: ARG002  (the parser needs it)
        """The verdict by operator names and types."""
        complaints = tuple(self._complaints(model))
        return Verdict(not complaints, complaints, self.source)

    def _complaints(self, model: onnx.ModelProto) -> Iterator[Complaint]:
        table = tables.read("onnx_op_support")
        version, newest, oldest = opset(model), table["meta"]["max_opset"], table["meta"]["min_opset"]
        if not oldest <= version <= newest:
            yield Complaint("", "", -1, f"opset {version} is outside what the parser reads ({oldest} to {newest})")
        facts = Facts(model)
        for value in model.graph.input:
            name = _TYPE_NAMES.get(value.type.tensor_type.elem_type, value.type.WhichOneof("value") or "unknown")
            if name not in _NETWORK_TYPES:
                yield Complaint("", "", -1, f"input `{value.name}` has the type {name}, which TensorRT lacks")
        for where, graph in walk.graphs(model):
            for index, node in enumerate(graph.node):
                if why := self._why(node, facts, table):
                    yield Complaint(walk.operator(node), node.name, -1 if where else index, why)

    def _why(self, node: onnx.NodeProto, facts: Facts, table: dict[str, dict[str, dict[str, object]]]) -> str:
        entry = table["ops"].get(node.op_type) if node.domain in walk.STANDARD_DOMAINS else None
        if entry is None:
            known = node.op_type in table["custom_ops"] or tables.plugin_for(node.op_type) is not None
            return "" if known else "no importer of this name; a plugin would be needed"
        if not entry["supported"] and self._version < _LATER.get(node.op_type, (999, 0)):
            return f"not supported{': ' + str(entry['note']) if 'note' in entry else ''}"
        types = entry.get("types")
        first = _TYPE_NAMES.get(facts.dtype(node.input[0]), "") if node.input else ""
        if isinstance(types, list) and first and first not in types and first not in {"INT64", "INT32", "BOOL"}:
            return f"the type {first} is not supported ({', '.join(types)} are)"
        return ""
