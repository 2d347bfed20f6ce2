"""Settings in and out of a `ModelConfig`, and the override that the load API takes."""

from __future__ import annotations

from typing import Any

from repository_builder.repository.tuning import Tuning, count_of, threads_of, tuned
from repository_builder.sweep.sample import Setting


def setting_of(config: Any) -> Setting:
    """The knobs as a configuration has them."""
    batching = config.dynamic_batching
    return Setting(
        instances=count_of(config),
        max_batch=config.max_batch_size,
        delay_us=batching.max_queue_delay_microseconds,
        preferred=tuple(sorted(batching.preferred_batch_size)),
        threads=threads_of(config),
    )


def with_setting(config: Any, setting: Setting) -> Any:
    """A copy of the configuration with these knobs."""
    return tuned(
        config,
        Tuning(setting.instances, setting.max_batch, setting.delay_us, setting.preferred, setting.threads or None),
    )


def override(config: Any) -> str:
    """The JSON that `POST /v2/repository/models/M/load` takes as `config` in place of the file."""
    from google.protobuf.json_format import MessageToJson

    text: str = MessageToJson(config, preserving_proto_field_name=True, indent=None)
    return text


def for_single_requests(ensemble: Any) -> Any:
    """The ensemble for the time of a sweep: it takes one item per request, so any maximum of its members is allowed."""
    changed = type(ensemble)()
    changed.CopyFrom(ensemble)
    changed.max_batch_size = min(ensemble.max_batch_size, 1)
    return changed
