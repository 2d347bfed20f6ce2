"""Running a graph with ONNX Runtime on the CPU; its complaints become GraphErrors that name the node."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from repository_builder.errors import GraphError
from repository_builder.interrupts import held

_FAILED_NODE = re.compile(r"while running (?P<op>\S+) node\. Name:'(?P<name>[^']*)' Status Message: (?P<why>.*)", re.S)


def session(source: Path | bytes, *, name: str = "", optimize: bool = False, threads: int = 0) -> Any:
    """An ONNX Runtime session on the CPU, quiet. Raises GraphError where ONNX Runtime does not take the graph.

    Without `optimize`, nodes keep their names and results are those of the operators one by one.
    """
    with held():
        import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    try:
        return ort.InferenceSession(
            source if isinstance(source, bytes) else str(source), options, providers=["CPUExecutionProvider"]
        )
    except _errors() as error:
        place = name or (str(source) if isinstance(source, Path) else "the graph")
        raise GraphError(
            f"ONNX Runtime does not take `{Path(place).name}`", where=place, why=_sentence(error), fix=_load_fix(error)
        ) from error


def run(session: Any, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
    """Outputs by name. Raises `NodeFailed` where a node refuses its inputs."""
    import onnxruntime as ort

    options = ort.RunOptions()
    options.log_severity_level = 4
    names = list(outputs or [value.name for value in session.get_outputs()])
    try:
        return dict(zip(names, session.run(names, dict(inputs), options), strict=True))
    except (*_errors(), ValueError) as error:  # type: ignore[misc]  # mypy does not unpack a tuple of classes
        raise NodeFailed.of(error) from error


class NodeFailed(GraphError):
    """A node could not be computed for the given inputs."""

    operator: str = ""
    node: str = ""
    """Name of the node; empty where it has none, or where the inputs themselves were refused."""

    @classmethod
    def of(cls, error: BaseException) -> NodeFailed:
        """From ONNX Runtime's message."""
        message = str(error)
        if found := _FAILED_NODE.search(message):
            label = f"node `{found['name']}` ({found['op']})" if found["name"] else f"a {found['op']} node"
            failure = cls(f"{label} failed", where=label, why=_last_clause(found["why"]), fix="")
            failure.operator, failure.node = found["op"], found["name"]
            return failure
        return cls("the graph does not take the inputs", why=_sentence(error))


def _errors() -> tuple[type[BaseException], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return (RuntimeError, *(getattr(state, name) for name in _STATES.split()))


_STATES = (
    "Fail InvalidArgument InvalidGraph InvalidProtobuf NoModel NotImplemented NoSuchFile RuntimeException EPFail "
    "EngineError ModelLoaded"
)
"""Names of ONNX Runtime's exceptions, which share no base of their own."""


def _sentence(error: BaseException) -> str:
    """ONNX Runtime's message without its error code and source line."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error).strip())
    return _last_clause(text)


def _last_clause(text: str) -> str:
    text = re.sub(r"\S*/onnxruntime/\S+:\d+\s+\S.*?\)\s+", "", text.strip(), count=1)
    return " ".join(text.split())[:600]


def _load_fix(error: BaseException) -> str:
    text = str(error)
    if (
        "is not a registered function/op" in text
        or "No Op registered" in text
        or "Could not find an implementation" in text
    ):
        return "`triton-repo inspect` names the operator and says how to replace it; ONNX Runtime has none for it"
    if "opset" in text.lower() or "ir_version" in text.lower() or "IR version" in text:
        return "export with an older `opset_version`, or `triton-repo repair` it"
    return "`triton-repo inspect` the graph, or export it again"
