"""Initializers of old graphs (IR 3) that are also inputs: constants now, so that they can be folded and converted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repository_builder.onnx_graph.rewrite import GraphRepair

if TYPE_CHECKING:
    import onnx

_FIRST_WITHOUT = 4
"""IR version from which initializers need not be inputs."""


def rewrite(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """The graph with IR 8 and inputs that nobody has to feed removed."""
    import onnx

    initializers = {tensor.name for tensor in model.graph.initializer}
    spare = [value for value in model.graph.input if value.name in initializers]
    if model.ir_version >= _FIRST_WITHOUT and not spare:
        return None
    modern = onnx.ModelProto()
    modern.CopyFrom(model)
    modern.ir_version = max(model.ir_version, 8)
    kept = [value for value in model.graph.input if value.name not in initializers]
    del modern.graph.input[:]
    modern.graph.input.extend(kept)
    return modern


REPAIR = GraphRepair("modern_ir", "make initializers constants instead of inputs with a default (IR 3)", rewrite)
