"""The knobs of a Triton model, set in its configuration: what a spec says per role, and what a sweep tries and writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from repository_builder.repository.proto import messages

THREADS = "intra_op_thread_count"
"""Parameter of Triton's ONNX Runtime backend (and of ours in the embedded server)."""


@dataclass(frozen=True)
class Tuning:
    """New values; None leaves what is there."""

    instances: int | None = None
    max_batch_size: int | None = None
    max_queue_delay_us: int | None = None
    preferred_batch_size: Sequence[int] | None = None
    threads: int | None = None


def tuned(config: Any, tuning: Tuning) -> Any:
    """A copy with the new values; what does not fit a smaller maximum (preferred sizes, warm-ups) goes."""
    changed = type(config)()
    changed.CopyFrom(config)
    if tuning.max_batch_size is not None:
        changed.max_batch_size = tuning.max_batch_size
    if tuning.instances is not None and tuning.instances != count_of(config):
        if not changed.instance_group:
            changed.instance_group.add(kind=messages().ModelInstanceGroup.KIND_CPU)
        del changed.instance_group[1:]
        changed.instance_group[0].count = tuning.instances
    if tuning.threads:
        changed.parameters[THREADS].string_value = str(tuning.threads)
    _batch(changed, tuning)
    for index in reversed(range(len(changed.model_warmup))):
        if changed.model_warmup[index].batch_size > max(changed.max_batch_size, 1):
            del changed.model_warmup[index]
    return changed


def tuned_fields(values: Mapping[str, Any]) -> list[str]:
    """Field paths of the configuration that these values (by the names of `Tuning`) surely set: for comments."""
    paths = {
        "instances": "instance_group[0].count",
        "max_batch_size": "max_batch_size",
        "max_queue_delay_us": "dynamic_batching.max_queue_delay_microseconds",
    }
    return [paths[name] for name, value in values.items() if name in paths and value]


def count_of(config: Any) -> int:
    """Instances of all groups."""
    return sum(max(group.count, 1) for group in config.instance_group) or 1


def threads_of(config: Any) -> int:
    """`intra_op_thread_count`; 0: not given."""
    text = config.parameters[THREADS].string_value if THREADS in config.parameters else ""
    return int(text) if text.isdigit() else 0


def _batch(config: Any, tuning: Tuning) -> None:
    """Delay and preferred sizes; a model of single items has no use for a batcher, except for its queue policy."""
    many = config.max_batch_size > 1
    asked = tuning.max_queue_delay_us or tuning.preferred_batch_size or tuning.max_batch_size
    if many and asked:
        config.dynamic_batching.SetInParent()
    if not config.HasField("dynamic_batching"):
        return
    batching = config.dynamic_batching
    if tuning.max_queue_delay_us is not None:
        batching.max_queue_delay_microseconds = tuning.max_queue_delay_us if many else 0
    wanted = batching.preferred_batch_size if tuning.preferred_batch_size is None else tuning.preferred_batch_size
    batching.preferred_batch_size[:] = [size for size in wanted if many and size <= config.max_batch_size]
