"""The model's configuration against the ONNX graph: completed and refused as Triton's own ONNX Runtime backend does it.

The rules, their order and the wording of the refusals follow `onnxruntime.cc` and `onnxruntime_utils.cc` of that
backend, so that a configuration behaves the same here and in production. What this stand-in cannot do is refused too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Config = dict[str, Any]
DEFAULT_MAX_BATCH_SIZE = 4
"""Triton's `default-max-batch-size`."""

TYPES = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(string)": "TYPE_STRING",
}
UNSUPPORTED = ("sequence_batching", "batch_input", "batch_output")


class Refused(Exception):
    """The configuration does not agree with the graph."""


@dataclass(frozen=True)
class Info:
    """An input or output of the graph: its full shape with -1 for every dynamic dimension."""

    name: str
    data_type: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Graph:
    """Inputs and outputs of the graph, in order."""

    inputs: tuple[Info, ...]
    outputs: tuple[Info, ...]
    optional: tuple[Info, ...] = ()
    """Initializers that a request may override."""

    @classmethod
    def of(cls, session: Any) -> Graph:
        """The interface of an `onnxruntime.InferenceSession`."""
        initializers = session.get_overridable_initializers()
        return cls(*(tuple(map(_info, nodes)) for nodes in (session.get_inputs(), session.get_outputs(), initializers)))


def complete(config: Config, graph: Graph) -> None:
    """Fill in what is missing, in place; does nothing if inputs and outputs are both given.

    Raises Refused if `max_batch_size` is given and the graph has a fixed first dimension.
    """
    if config["input"] and config["output"]:
        return
    batching = all(info.shape[:1] == (-1,) for info in (*graph.inputs, *graph.outputs))
    if not batching and config["max_batch_size"]:
        why = "model does not support batching while non-zero max_batch_size is specified"
        raise Refused(f"autofill failed for model '{config['name']}': {why}")
    if batching:
        config["max_batch_size"] = config["max_batch_size"] or DEFAULT_MAX_BATCH_SIZE
        if config["max_batch_size"] > 1 and "sequence_batching" not in config:
            config.setdefault("dynamic_batching", {})
    for key, infos in (("input", graph.inputs), ("output", graph.outputs)):
        config[key] = config[key] or [_described(info, config["max_batch_size"]) for info in infos]


def check(config: Config, graph: Graph) -> None:
    """Raise Refused for the first disagreement, with the words of Triton's own backend."""
    name = config["name"]
    for key in UNSUPPORTED:
        if config.get(key):
            raise Refused(f"unable to load model '{name}', `{key}` is not supported by the embedded server's backend")
    _check_count(config, graph)
    for key, known, exact in (
        ("input", (*graph.inputs, *graph.optional), False),
        ("output", graph.outputs, True),
    ):
        for tensor in config[key]:
            _check_tensor(config, key, tensor, known, exact)


def _info(node: Any) -> Info:
    shape = tuple(dim if isinstance(dim, int) and dim >= 0 else -1 for dim in node.shape or ())
    return Info(node.name, TYPES.get(node.type, node.type), shape)


def _described(info: Info, max_batch_size: int) -> dict[str, Any]:
    dims = list(info.shape[1:] if max_batch_size > 0 else info.shape)
    entry: dict[str, Any] = {"name": info.name, "data_type": info.data_type, "dims": dims or [1]}
    if not dims and max_batch_size > 0:
        entry["reshape"] = {"shape": []}
    return entry


def _check_count(config: Config, graph: Graph) -> None:
    expected = sum(not tensor.get("optional") for tensor in config["input"])
    if expected != len(graph.inputs):
        why = f"configuration expects {expected} inputs, model provides {len(graph.inputs)}"
        raise Refused(f"unable to load model '{config['name']}', {why}")


def _check_tensor(config: Config, key: str, tensor: Mapping[str, Any], known: Sequence[Info], exact: bool) -> None:
    model, name = config["name"], tensor["name"]
    if tensor.get("optional") and config["max_batch_size"]:
        why = f"optional input '{name}' is not supported for models that support batching"
        raise Refused(f"unable to load model '{model}', {why}")
    if tensor.get("allow_ragged_batch"):
        why = f"ragged input '{name}' is not supported by the embedded server's backend"
        raise Refused(f"unable to load model '{model}', {why}")
    info = next((info for info in known if info.name == name), None)
    if info is None:
        allowed = ", ".join(sorted(info.name for info in known))
        raise Refused(f"unexpected inference {key} '{name}', allowed {key}s are: {allowed}")
    if info.data_type not in TYPES.values():
        raise Refused(f"unsupported datatype {info.data_type} for {key} '{name}' for model '{model}'")
    if tensor["data_type"] != info.data_type:
        why = f"configuration expects datatype {tensor['data_type']} for {key} '{name}', "
        raise Refused(f"unable to load model '{model}', {why}model provides {info.data_type}")
    for why in _shape_problems(info, _dims(tensor), config["max_batch_size"], exact):
        raise Refused(f"model '{model}', tensor '{name}': {why}")


def _dims(tensor: Mapping[str, Any]) -> list[int]:
    """Dims as integers: Triton's JSON spells 64-bit integers in either way."""
    dims = tensor["reshape"].get("shape", []) if "reshape" in tensor else tensor["dims"]
    return [int(dim) for dim in dims]


def _shape_problems(info: Info, dims: list[int], max_batch_size: int, exact: bool) -> Iterator[str]:
    if not info.shape:
        if any(dim != 1 for dim in dims):
            yield (
                "should only provide 1 in the model configuration when the model doesn't support batching. "
                f"Model configuration provided: {_text(dims)}."
            )
        return
    if max_batch_size > 0 and info.shape[0] != -1:
        yield (
            "for the model to support batching the shape should have at least 1 dimension and the first dimension "
            f"must be -1; but shape expected by the model is {_text(info.shape)}"
        )
    full = [-1, *dims] if max_batch_size > 0 else dims
    same_rank = len(full) == len(info.shape)
    if not same_rank or any(
        theirs != ours for ours, theirs in zip(full, info.shape, strict=True) if exact or theirs != -1
    ):
        complete_shape = (
            "(an initial batch dimension because max_batch_size > 0 followed by the explicit tensor shape, making "
            f"complete shape {_text(full)})"
        )
        described = complete_shape if max_batch_size > 0 else f"(shape {_text(full)})"
        yield (
            f"the model expects {len(info.shape)} dimensions (shape {_text(info.shape)}) but the model configuration "
            f"specifies {len(full)} dimensions {described}"
        )


def _text(shape: Sequence[int]) -> str:
    return f"[{','.join(map(str, shape))}]"
