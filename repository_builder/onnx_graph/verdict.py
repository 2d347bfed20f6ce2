"""What a judge says of a graph: accepted, or which nodes are not, and why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Complaint:
    """One node that the judge does not take."""

    operator: str
    """`Relu`, or `domain.Op`; empty where the complaint is about the whole graph."""
    node: str
    """Name of the node; empty if it has none."""
    index: int
    """Position among the nodes of the main graph; -1 where unknown."""
    why: str

    def as_json(self) -> dict[str, Any]:
        """The complaint as plain JSON values."""
        return {"operator": self.operator, "node": self.node, "index": self.index, "why": self.why}


@dataclass(frozen=True)
class Verdict:
    """Whether a graph converts, according to `source`."""

    accepted: bool
    complaints: tuple[Complaint, ...]
    source: str
    """Who judged: `TensorRT for RTX 1.7.1.116 (parser)`, `TensorRT 11.1 (operator table)`."""
    crashed: bool = False
    """The parser's process died; the complaint names the node that kills it."""


class Judge(Protocol):
    """Something that knows which graphs convert."""

    source: str

    def judge(self, model: onnx.ModelProto, path: Path | None = None) -> Verdict:
        """The verdict; `path` is the graph's file, if it is on disk unchanged."""
        ...
