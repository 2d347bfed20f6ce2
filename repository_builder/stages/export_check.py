"""The contract that an exported graph must keep before anybody builds on it: one named check per promise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repository_builder.errors import GraphError
from repository_builder.tensor import Interface

if TYPE_CHECKING:
    import onnx

    from repository_builder.onnx_graph.verdict import Judge

Declared = Mapping[str, Sequence[int | str]]
"""Tensor → full shape as the author declares it; names stand for dynamic dims."""


@dataclass(frozen=True)
class Check:
    """One promise, and whether it is kept."""

    name: str
    passed: bool
    detail: str
    fix: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def check(
    path: Path, *, inputs: Declared, outputs: Declared, opset: int, reads: Mapping[str, Any], judge: Judge
) -> tuple[Check, ...]:
    """Judge an exported file. `reads` says what the serving side takes: the highest `opset` and `ir`, and by whose word.

    Raises GraphError only where the file cannot be read at all.
    """
    from repository_builder.onnx_graph import read

    model = read.load(path)
    found = [*_versions(model, opset, reads), _inference(model)]
    try:
        found += _interface(read.interface(model), inputs, outputs)
    except GraphError as error:
        problem = error.problems[0]
        found.append(Check("interface", False, f"{problem.what}: {problem.why}", problem.fix))
        return tuple(found)
    found.append(_sizes(path))
    found.append(_converts(path, model, judge))
    return tuple(found)


def _versions(model: onnx.ModelProto, opset: int, reads: Mapping[str, Any]) -> Iterator[Check]:
    from repository_builder.onnx_graph.facts import opset as opset_of

    version = opset_of(model)
    pinned = version == opset and version <= reads["opset"]
    detail = f"opset {version}; pinned: {opset}; {reads['by']} reads up to {reads['opset']}"
    yield Check(
        "opset", pinned, detail, "" if pinned else f"pin `opset: {min(opset, reads['opset'])}` and export again"
    )
    fits = model.ir_version <= reads["ir"]
    fix = "" if fits else f"set `model.ir_version = {reads['ir']}` and save again"
    yield Check("IR version", fits, f"{model.ir_version}; up to {reads['ir']} is read", fix)


def _inference(model: onnx.ModelProto) -> Check:
    from repository_builder.onnx_graph import walk
    from repository_builder.onnx_graph.repairs.drop_training import is_training

    losses = {"SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss"}
    left = [n for n in walk.nodes(model) if is_training(n, model) or n.op_type in losses]
    if not left:
        return Check("inference mode", True, "no Dropout or BatchNormalization in training mode, no loss")
    names = ", ".join(walk.label(node) for node in left[:3])
    return Check("inference mode", False, names, "call `model.eval()`; return the prediction without the loss")


def _interface(found: Interface, inputs: Declared, outputs: Declared) -> Iterator[Check]:
    """Names as declared and nothing more; every dim that is declared dynamic is dynamic."""
    for side, tensors, declared in (("inputs", found.inputs, inputs), ("outputs", found.outputs, outputs)):
        names = [tensor.name for tensor in tensors]
        missing, spare = [n for n in declared if n not in names], [n for n in names if n not in declared]
        faults = [f"`{name}` is missing" for name in missing] + [f"`{name}` was not declared" for name in spare]
        for tensor in tensors:
            for axis, wanted in enumerate(declared.get(tensor.name, ())):
                if isinstance(wanted, str) and axis < len(tensor.shape) and isinstance(tensor.shape[axis], int):
                    faults.append(f"dimension {axis} of `{tensor.name}` (`{wanted}`) was fixed to {tensor.shape[axis]}")
        fix = "return only what is served (no debug outputs), and take sizes from tensors, not from Python numbers"
        yield Check(side, not faults, "; ".join(faults) or "; ".join(map(str, tensors)), fix if faults else "")


def _sizes(path: Path) -> Check:
    """Run at two batch sizes and at two sizes of every other dynamic dim."""
    from repository_builder.onnx_graph import probe

    try:
        result = probe.probe(path)
    except GraphError as error:
        return Check("sizes", False, error.problems[0].why, error.problems[0].fix)
    if result.problems:
        first = result.problems[0]
        return Check("sizes", False, f"{first.where}: {first.why}", first.fix)
    batch = result.batching.dim
    tried = ", ".join(
        f"`{name}` {' and '.join(map(str, probe.SIZES))}" if name == batch else f"`{name}` {size} and {2 * size}"
        for name, size in result.sizes.items()
    )
    return Check("sizes", True, f"{result.batching.why}{f'; ran at {tried}' if tried else ''}")


def _converts(path: Path, model: onnx.ModelProto, judge: Judge) -> Check:
    verdict = judge.judge(model, path)
    if verdict.accepted:
        return Check("converts", True, f"accepted by {verdict.source}")
    refused = "; ".join(f"{c.operator}: {c.why}" for c in verdict.complaints[:3])
    return Check("converts", False, f"{verdict.source}: {refused}", f"`triton-repo inspect {path}` ranks the ways out")
