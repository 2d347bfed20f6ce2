"""How repairs write nodes: a `Builder` that turns calls like ``b.Add(x, y)`` into nodes, and the `Repair` record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from repository_builder.onnx_graph.facts import Facts, attributes

if TYPE_CHECKING:
    import onnx

FLOATS = (1, 10, 11, 16)
"""FLOAT, FLOAT16, DOUBLE, BFLOAT16."""


class Builder:
    """Collects the nodes that replace one node. Any standard operator is a method; it returns the output's name."""

    def __init__(self, node: onnx.NodeProto, facts: Facts, tag: str) -> None:
        self.node = node
        self.facts = facts
        self.attributes = attributes(node)
        self.nodes: list[onnx.NodeProto] = []
        self._tag = tag
        self._given: set[str] = set()
        self._count = 0

    def __getattr__(self, operator: str) -> Callable[..., str]:
        if not operator[:1].isupper():
            raise AttributeError(operator)
        return lambda *inputs, **options: self.op(operator, inputs, **options)[0]

    def op(
        self, operator: str, inputs: Sequence[str], *, outputs: int = 1, domain: str = "", **options: Any
    ) -> list[str]:
        """Add a node; names of its outputs."""
        from onnx import helper

        names = [self.fresh(operator) for _ in range(outputs)]
        while inputs and not inputs[-1]:
            inputs = inputs[:-1]
        options = {key: value for key, value in options.items() if value is not None}
        self.nodes.append(helper.make_node(operator, list(inputs), names, name=names[0], domain=domain, **options))
        return names

    def fresh(self, hint: str) -> str:
        """A new name."""
        self._count += 1
        return f"{self._tag}/{hint}_{self._count}"

    def const(self, value: Any, dtype: int = 7) -> str:
        """A constant of an ONNX type (default INT64)."""
        import numpy as np
        from onnx import helper, numpy_helper

        array = np.asarray(value).astype(helper.tensor_dtype_to_np_dtype(dtype))
        name = self.fresh("const")
        self.nodes.append(
            helper.make_node("Constant", [], [name], name=name, value=numpy_helper.from_array(array, name))
        )
        return name

    def like(self, value: Any, reference: str) -> str:
        """A constant of the type of another tensor of the graph."""
        return self.const(value, self.facts.dtype(reference))

    def cast(self, value: str, dtype: int) -> str:
        """Cast."""
        return self.Cast(value, to=dtype)

    def input(self, index: int) -> str:
        """The node's input, or an empty string where it is left out."""
        return str(self.node.input[index]) if index < len(self.node.input) else ""

    def output(self, index: int) -> str:
        """The node's output, or an empty string where nobody wants it."""
        name = str(self.node.output[index]) if index < len(self.node.output) else ""
        return name if name in self.facts.read or not index else ""

    def give(self, value: str, index: int = 0) -> None:
        """Make `value` the node's output."""
        from onnx import helper

        if name := self.output(index):
            self.nodes.append(helper.make_node("Identity", [value], [name], name=f"{self._tag}/out{index}"))
            self._given.add(name)

    @property
    def complete(self) -> bool:
        """Whether every output that somebody may read was given."""
        return {name for name in self.node.output if name in self.facts.read} <= self._given


@dataclass(frozen=True)
class Repair:
    """An equivalent way to write certain nodes.

    `rewrite` is the precondition and the deed: it answers False without effect where it does not apply. The driver
    checks the postcondition: all outputs given, graph valid, results equal, fewer complaints.
    """

    name: str
    summary: str
    """One sentence for reports and docs."""
    operators: tuple[str, ...]
    """Operators it can rewrite; empty for any."""
    rewrite: Callable[[Builder], bool]
    exact_on_special_values: bool = True
    """Whether NaN and infinity come out the same, so that they are part of the proof."""


@dataclass(frozen=True)
class GraphRepair:
    """A change of the whole graph. `rewrite` returns the new graph, or None where it does not apply."""

    name: str
    summary: str
    rewrite: Callable[[onnx.ModelProto], onnx.ModelProto | None]
    leave: str = ""
    """Name of the leave that the user must give, for changes that are not exact."""
    redefines: bool = False
    """Whether results change by intention, so that the changed graph is the reference of all proofs."""
    optional: bool = False
    """Whether it only makes the graph better, and is applied on request."""
