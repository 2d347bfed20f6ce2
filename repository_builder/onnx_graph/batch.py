"""Which dimension of a graph is the batch: the one question behind `max_batch_size`.

Triton can batch a model only where the first dimension of *every* input and output is that batch. `batching` judges by
the names of dimensions alone; where exporters left names open it lists what must be proven by running the graph at two
sizes (`probe.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from repository_builder.errors import GraphError
from repository_builder.tensor import Interface, Tensor


@dataclass(frozen=True)
class Batching:
    """Whether requests to a graph can be joined along the first dimension, and why."""

    batched: bool
    dim: str | None
    """Symbol of the batch dimension, where there is one."""
    why: str
    """One sentence, fit for a comment in config.pbtxt."""
    unproven: tuple[str, ...] = ()
    """Tensors whose first dimension has another name, so that only a run can show that it is the batch."""
    conflict: bool = False
    """Two inputs name two different leading dimensions: the author must say what is meant."""

    def require(self, name: str) -> None:
        """Raise GraphError where the inputs contradict each other; `name` is the graph's file."""
        if self.conflict:
            raise GraphError(
                f"the batch dimension of `{name}` is ambiguous",
                where=name,
                why=self.why,
                fix="export with the same name for the first dimension of every input (torch: one `Dim('batch')` used "
                "in all `dynamic_shapes`), or build with `max_batch_size: 0`",
            )


def batching(interface: Interface) -> Batching:
    """The verdict by names. Pure; never raises."""
    if not interface.inputs:
        return Batching(False, None, "the graph has no inputs")
    for tensor in (*interface.inputs, *interface.outputs):
        if not tensor.shape:
            return Batching(False, None, f"`{tensor.name}` is a scalar, so there is no dimension to batch along")
        if isinstance(tensor.shape[0], int):
            return Batching(False, None, _fixed(tensor, tensor in interface.outputs))
    symbols = {str(tensor.shape[0]): tensor.name for tensor in interface.inputs}
    if len(symbols) > 1:
        return _several(interface)
    dim = next(iter(symbols))
    return _outputs(interface, dim)


def _fixed(tensor: Tensor, output: bool) -> str:
    side = "output" if output else "input"
    return (
        f"the first dimension of {side} `{tensor.name}` is fixed to {tensor.shape[0]}; "
        "export with a dynamic first dimension to let Triton batch"
    )


def _several(interface: Interface) -> Batching:
    """Several leading symbols: open where the exporter named none of them, else a contradiction of the author's."""
    leading = [(tensor.name, str(tensor.shape[0])) for tensor in interface.inputs]
    listed = ", ".join(f"`{name}` has `{dim}`" for name, dim in leading)
    if all(dim == unnamed(name) for name, dim in leading):
        why = "the exporter left the first dimension of all inputs unnamed; a run must show that they are one batch"
        rest = tuple(tensor.name for tensor in (*interface.inputs[1:], *interface.outputs))
        return Batching(True, leading[0][1], why, unproven=rest)
    return Batching(False, None, f"inputs have different first dimensions: {listed}", conflict=True)


def _outputs(interface: Interface, dim: str) -> Batching:
    other = {str(size) for tensor in interface.inputs for size in tensor.shape[1:]}
    unproven = []
    for tensor in interface.outputs:
        first = str(tensor.shape[0])
        if first == dim:
            continue
        if first in other:
            return Batching(False, None, f"output `{tensor.name}` begins with `{first}`, which is not the batch")
        if re.search(r"[-+*/() ]", first) and re.search(rf"\b{re.escape(dim)}\b", first):
            why = f"the first dimension of output `{tensor.name}` is `{first}`, computed from the batch `{dim}`"
            return Batching(False, None, why)
        unproven.append(tensor.name)
    why = f"`{dim}` is the first dimension of every input and output"
    if unproven:
        why = f"`{dim}` is the first dimension of every input; {', '.join(map(repr, unproven))} to be proven by a run"
    return Batching(True, dim, why, unproven=tuple(unproven))


def unnamed(tensor: str, axis: int = 0) -> str:
    """The name that `read.interface` gives to an unnamed dim."""
    return f"{tensor}_dim{axis}"
