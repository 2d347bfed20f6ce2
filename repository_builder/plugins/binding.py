"""From an ONNX node to an operator: constant inputs become attributes, absent inputs are marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from repository_builder.errors import GraphError, nearest
from repository_builder.plugins.operators import Operator

if TYPE_CHECKING:
    from numpy.typing import NDArray


def bind(
    operator: Operator, attributes: Mapping[str, Any], inputs: Sequence[NDArray[Any] | None], where: str = ""
) -> tuple[list[NDArray[Any] | None], dict[str, Any]]:
    """Inputs (None: left out) and attributes as the operator's reference takes them.

    `inputs` follow the ONNX operator; those that the operator bakes must hold the constant's value.
    """
    baked = dict(operator.bake)
    made = plugin_attributes(operator, attributes, where)
    for name, position in baked.items():
        value = inputs[position] if position < len(inputs) else None
        if value is not None:
            made[name] = [int(v) for v in value.reshape(-1)] if _is_list(operator, name) else int(value.reshape(-1)[0])
    kept = [value for position, value in enumerate(inputs) if position not in baked.values()]
    if operator.optional_inputs:
        kept += [None] * (len(operator.inputs) - len(kept))
    return kept, made


def plugin_attributes(operator: Operator, attributes: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """A node's attributes as the plugin spells them: older spellings translated, unknown names refused."""
    made: dict[str, Any] = {}
    for name, value in attributes.items():
        if name in ("plugin_version", "plugin_namespace", "aot"):
            continue
        if name not in operator.attributes:
            raise GraphError(
                f"`{operator.qualified}` has no attribute `{name}`{nearest(name, operator.attributes)}",
                where=where,
                fix=f"it has {', '.join(operator.attributes) or 'none'}",
            )
        text = value.decode() if isinstance(value, bytes) else value
        made[name] = operator.aliases.get(name, {}).get(text, text) if isinstance(text, str) else text
    return made


def call_attributes(
    operator: Operator, inputs: Sequence[NDArray[Any] | None], attributes: Mapping[str, Any]
) -> dict[str, Any]:
    """The attributes that a compiled operator takes: with `present` where inputs may be absent."""
    if not operator.optional_inputs:
        return dict(attributes)
    return {**attributes, "present": [int(value is not None) for value in inputs]}


def _is_list(operator: Operator, attribute: str) -> bool:
    return operator.attributes[attribute].get("type") == "ints"
