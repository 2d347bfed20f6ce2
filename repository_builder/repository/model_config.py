"""Typed construction of `ModelConfig` messages. The one place that decides whether the batch dimension is inside `dims`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from repository_builder.repository.proto import messages, new_config
from repository_builder.tensor import Interface, Tensor


@dataclass(frozen=True)
class Config:
    """A `ModelConfig` message and, by field path (`input[0].dims`), where values come from."""

    message: Any
    comments: Mapping[str, str] = field(default_factory=dict)

    def noting(self, comments: Mapping[str, str]) -> Config:
        """The same config with further comments."""
        return Config(self.message, {**self.comments, **comments})


@dataclass(frozen=True)
class Queue:
    """Dynamic batching: delay and timeout in microseconds, size in requests (timeout and size 0: none)."""

    max_queue_delay_us: int = 0
    max_queue_size: int = 0
    timeout_us: int = 0


def dims(tensor: Tensor, *, batched: bool) -> list[int]:
    """Triton's `dims` of a tensor: the batch dimension is left out if `batched`, dynamic sizes are -1."""
    shape = tensor.shape[1:] if batched else tensor.shape
    return [-1 if isinstance(dim, str) else dim for dim in shape]


def model_config(name: str, interface: Interface, *, max_batch_size: int, **fields: Any) -> Any:
    """A message with name, inputs, outputs and `max_batch_size` (above 0: the tensors' first dimension is the batch).

    A tensor that has no other dimension is given `dims: [1]` and an empty reshape, since Triton wants at least one.
    """
    config = new_config(name=name, max_batch_size=max_batch_size, **fields)
    batched = max_batch_size > 0
    for tensor in interface.inputs:
        _describe(config.input.add(), tensor, batched=batched)
    for tensor in interface.outputs:
        _describe(config.output.add(), tensor, batched=batched)
    return config


def python_model(
    name: str,
    interface: Interface,
    *,
    max_batch_size: int,
    count: int,
    parameters: Mapping[str, str],
    queue: Queue,
) -> Config:
    """Config of a Python-backend model on the CPU. `parameters` values are JSON texts."""
    config = model_config(name, interface, max_batch_size=max_batch_size, backend="python")
    group = config.instance_group.add()
    group.kind = messages().ModelInstanceGroup.KIND_CPU
    group.count = count
    for key, value in parameters.items():
        config.parameters[key].string_value = value
    comments = {"instance_group[0]": "without a kind, Triton would start it once on every GPU"}
    return Config(config, comments | add_batching(config, queue))


def add_batching(config: Any, queue: Queue) -> dict[str, str]:
    """Add a dynamic batcher where batches are possible; returns comments.

    Without limits there is no queue policy at all: with one, Triton's batcher may sleep for half a second (rule BAT008).
    """
    if config.max_batch_size <= 1:
        return {}
    batching = config.dynamic_batching
    batching.SetInParent()
    if queue.max_queue_delay_us:
        batching.max_queue_delay_microseconds = queue.max_queue_delay_us
    if queue.max_queue_size:
        batching.default_queue_policy.max_queue_size = queue.max_queue_size
    if queue.timeout_us:
        batching.default_queue_policy.timeout_action = messages().ModelQueuePolicy.REJECT
        batching.default_queue_policy.default_timeout_microseconds = queue.timeout_us
    limited = batching.HasField("default_queue_policy")
    return {"dynamic_batching.default_queue_policy": "batching of the spec; see rule BAT008"} if limited else {}


def json_parameters(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Parameter values as the Python models read them: JSON texts."""
    return {key: json.dumps(value) for key, value in parameters.items()}


def _describe(entry: Any, tensor: Tensor, *, batched: bool) -> None:
    entry.name = tensor.name
    entry.data_type = messages().DataType.Value(f"TYPE_{tensor.dtype}")
    sizes = dims(tensor, batched=batched)
    entry.dims.extend(sizes or [1])
    if not sizes and batched:
        entry.reshape.SetInParent()
