"""The doctor's findings about one graph: what it is, what will not convert or serve, where that came from, what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repository_builder.errors import GraphError
from repository_builder.onnx_graph import external, fixes, read, tables, walk
from repository_builder.onnx_graph.facts import Facts
from repository_builder.onnx_graph.fixes import Fix
from repository_builder.onnx_graph.repairs import drop_training
from repository_builder.onnx_graph.verdict import Complaint, Judge, Verdict

if TYPE_CHECKING:
    import onnx

    from repository_builder.onnx_graph.probe import Probe


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with the graph, at one or several nodes."""

    severity: str
    """`error`: it does not convert, or answers wrongly. `warning`: it does, at a cost."""
    what: str
    why: str
    operator: str = ""
    domain: str = ""
    opset: int = 0
    nodes: tuple[str, ...] = ()
    """The nodes in words."""
    place: str = ""
    """Module path in the model's source, where the exporter recorded it."""
    source: str = ""
    """File and line of the PyTorch source, where the exporter recorded it."""
    fixes: tuple[Fix, ...] = ()
    """Ranked, the cheapest first."""

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**vars(self), "nodes": list(self.nodes), "fixes": [vars(fix) for fix in self.fixes]}


@dataclass(frozen=True)
class Summary:
    """What the graph is."""

    path: str
    bytes: int
    opsets: Mapping[str, int]
    ir_version: int
    producer: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: int
    nodes: int
    operators: Mapping[str, int]
    batch: str
    """Whether requests can be batched, in one sentence."""


@dataclass(frozen=True)
class Diagnosis:
    """The whole report."""

    summary: Summary
    judged_by: str
    converts: bool
    """Whether the judge takes the graph."""
    findings: tuple[Finding, ...]
    costs: tuple[tuple[str, int, str, str], ...] = field(default=())
    """Exotic operators: name, count, what bounds them, why."""

    @property
    def healthy(self) -> bool:
        """Whether it converts and nothing answers wrongly."""
        return self.converts and not any(finding.severity == "error" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        names = ("operator", "count", "bound", "note")
        return {
            "summary": {
                **vars(self.summary),
                "inputs": list(self.summary.inputs),
                "outputs": list(self.summary.outputs),
            },
            "judged_by": self.judged_by,
            "converts": self.converts,
            "healthy": self.healthy,
            "findings": [finding.as_json() for finding in self.findings],
            "costs": [dict(zip(names, row, strict=True)) for row in self.costs],
        }


def diagnose(path: Path, judge: Judge, *, execute: bool = True, own: Mapping[str, str] | None = None) -> Diagnosis:
    """Everything that is to be said of a graph. Raises GraphError where it cannot even be read.

    With `execute` the graph is run on the CPU at several sizes, to find numbers that were baked in. `own` maps operators
    for which we have a plugin to a line about it.
    """
    model = read.load(path)
    verdict = judge.judge(model, path)
    facts = Facts(model)
    found = [*_refused(model, verdict, facts, own or {}), *_leftovers(model), *_types(model, verdict)]
    found += _known_defects(model, own or {})
    operators = _count(model)
    summary = _summary(path, model, operators)
    del model  # running the graph needs its weights once more
    probed = _probed(path, found) if execute else None
    found = [replace(finding, fixes=tuple(fixes.for_file(fix, path) for fix in finding.fixes)) for finding in found]
    return Diagnosis(
        replace(summary, batch=probed.batching.why) if probed else summary,
        verdict.source,
        verdict.accepted,
        tuple(sorted(found, key=lambda finding: finding.severity != "error")),
        _costs(operators),
    )


def _refused(model: onnx.ModelProto, verdict: Verdict, facts: Facts, own: Mapping[str, str]) -> Iterator[Finding]:
    """What the judge refuses, one finding per operator and reason."""
    grouped: dict[tuple[str, str], list[Complaint]] = {}
    for complaint in verdict.complaints:
        reason = re.sub(r"Invalid Node - .*?(?= ITensor| \[|$)", "Invalid Node", complaint.why)
        grouped.setdefault((complaint.operator, reason), []).append(complaint)
    for (operator, reason), complaints in grouped.items():
        nodes = [_node(model, complaint) for complaint in complaints]
        first = next((node for node in nodes if node is not None), None)
        if first is not None and drop_training.is_training(first, model):
            continue  # told as a leftover of training
        domain = first.domain if first is not None else ""
        what = f"`{operator}` is not taken" if operator else "the graph is not taken"
        yield Finding(
            "error",
            f"{what} by {verdict.source}" if not verdict.crashed else f"`{operator}` kills NVIDIA's parser",
            fixes.translated(reason, operator),
            operator,
            domain,
            facts.opsets.get(domain, facts.opset),
            tuple(walk.label(n, c.index) if n is not None else c.node for n, c in zip(nodes, complaints, strict=True)),
            _place(first),
            _source(first),
            tuple(fixes.ranked(model, first, facts, reason, own)),
        )


def _node(model: onnx.ModelProto, complaint: Complaint) -> onnx.NodeProto | None:
    nodes = model.graph.node
    if 0 <= complaint.index < len(nodes) and nodes[complaint.index].op_type in complaint.operator:
        return nodes[complaint.index]
    plain = complaint.operator.rpartition(".")[2]
    return next(
        (n for n in walk.nodes(model) if n.op_type == plain and complaint.node in ("", n.name)),
        next((n for n in walk.nodes(model) if plain and n.op_type == plain), None),
    )


def _leftovers(model: onnx.ModelProto) -> Iterator[Finding]:
    """Traces of training that change answers, or cost for nothing."""
    training = [node for node in model.graph.node if drop_training.is_training(node, model)]
    if training:
        yield Finding(
            "error",
            f"training leftovers: {len(training)} node(s) in training mode",
            "answers are random (Dropout) or depend on the other requests of a batch (BatchNormalization)",
            training[0].op_type,
            nodes=tuple(walk.label(node) for node in training[:10]),
            place=_place(training[0]),
            source=_source(training[0]),
            fixes=(
                Fix("export", "call `model.eval()` before exporting, and export again"),
                Fix("repair", "switch them to inference", "triton-repo repair MODEL -o FIXED --allow drop-training"),
            ),
        )
    outputs = {value.name for value in model.graph.output}
    losses = ("SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss")
    heads = [n for n in model.graph.node if n.op_type in losses and outputs & set(n.output)]
    if heads:
        yield Finding(
            "warning",
            "a loss is among the outputs",
            "serving needs the prediction; a loss wants labels that no client has",
            heads[0].op_type,
            nodes=tuple(walk.label(node) for node in heads),
            fixes=(Fix("export", "export the model without its loss, returning the prediction only"),),
        )


def _types(model: onnx.ModelProto, verdict: Verdict) -> Iterator[Finding]:
    doubles = [v.name for v in (*model.graph.input, *model.graph.output) if v.type.tensor_type.elem_type == 11]
    if doubles and verdict.accepted:
        yield Finding(
            "warning",
            f"DOUBLE at {', '.join(f'`{name}`' for name in doubles[:5])}",
            "TensorRT computes in FLOAT and clamps silently what does not fit",
            fixes=(
                Fix("export", "export in float32 (`model.float()`)"),
                Fix("repair", "lower it to FLOAT", "triton-repo repair MODEL -o FIXED --allow double-as-float"),
            ),
        )


def _known_defects(model: onnx.ModelProto, own: Mapping[str, str]) -> Iterator[Finding]:
    """Operators that were taken and then computed wrongly in some release: to be verified on the GPU that serves."""
    for operator, entry in tables.read("known_defects").items():
        nodes = [node for node in walk.nodes(model) if node.op_type == operator and _concerned(node, entry)]
        if nodes:
            plugin = [Fix("our-plugin", f"our plugin: {own[operator]}")] if operator in own else []
            yield Finding(
                "warning",
                f"`{operator}` has been computed wrongly by {entry['versions']}",
                entry["why"],
                operator,
                nodes=tuple(walk.label(node) for node in nodes[:10]),
                place=_place(nodes[0]),
                source=_source(nodes[0]),
                fixes=(*plugin, Fix("advice", entry["fix"])),
            )


def _concerned(node: onnx.NodeProto, entry: Mapping[str, str]) -> bool:
    return "only_with" not in entry or any(attribute.name == entry["only_with"] for attribute in node.attribute)


def _probed(path: Path, found: list[Finding]) -> Probe | None:
    """What running shows; a graph that ONNX Runtime lacks cannot be run, which is a finding of its own."""
    from repository_builder.onnx_graph import probe

    try:
        result = probe.isolated(path)
    except GraphError as error:
        for problem in error.problems:
            found.append(Finding("warning", problem.what, problem.why, fixes=(Fix("advice", problem.fix),)))
        return None
    for problem in () if any("training" in finding.what for finding in found) else result.problems:
        place = re.search(r"\((.*)\)$", problem.where)
        nodes = (place[1],) if place else ()
        found.append(Finding("error", problem.what, problem.why, nodes=nodes, fixes=(Fix("export", problem.fix),)))
    return result


def _summary(path: Path, model: onnx.ModelProto, operators: Mapping[str, int]) -> Summary:
    try:
        interface = read.interface(model)
        inputs, outputs = (tuple(map(str, side)) for side in (interface.inputs, interface.outputs))
    except GraphError as error:
        inputs, outputs = (f"not servable: {error.problems[0].what}",), ()
    weights = model.graph.initializer
    return Summary(
        str(path),
        path.stat().st_size + external.size(model),
        {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        model.ir_version,
        f"{model.producer_name} {model.producer_version}".strip(),
        inputs,
        outputs,
        sum(prod(tensor.dims) for tensor in weights),
        sum(operators.values()),
        operators,
        "not run",
    )


def _count(model: onnx.ModelProto) -> dict[str, int]:
    count: dict[str, int] = {}
    for node in walk.nodes(model):
        count[walk.operator(node)] = count.get(walk.operator(node), 0) + 1
    return dict(sorted(count.items(), key=lambda item: (-item[1], item[0])))


def _costs(operators: Mapping[str, int]) -> tuple[tuple[str, int, str, str], ...]:
    rows = []
    for operator, count in operators.items():
        if entry := tables.cost(operator):
            rows.append((operator, count, *entry))
    return tuple(rows)


def _place(node: onnx.NodeProto | None) -> str:
    """Module path that the exporter recorded."""
    if node is None:
        return ""
    notes: dict[str, str] = {entry.key: entry.value for entry in node.metadata_props}
    return notes.get("namespace") or str(node.name).rpartition("/")[0]


_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in \w+')
_OLD_FRAME = re.compile(r"(?P<file>/[^\s()]+\.py)\((?P<line>\d+)\): ")


def _source(node: onnx.NodeProto | None) -> str:
    """File and line in the model's source: the innermost frame of the trace that the exporter recorded."""
    if node is None:
        return ""
    notes = {entry.key: entry.value for entry in node.metadata_props}
    frames = _FRAME.findall(notes.get("pkg.torch.onnx.stack_trace", ""))
    if frames:
        return ":".join(frames[-1])
    old = _OLD_FRAME.search(node.doc_string)
    return f"{old['file']}:{old['line']}" if old else ""
