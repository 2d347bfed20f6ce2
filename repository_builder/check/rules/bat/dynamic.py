"""BAT001 to BAT009: the dynamic batcher."""

from __future__ import annotations

from collections.abc import Iterator

from repository_builder.check.inputs import Model
from repository_builder.check.rule import Found, Severity, Skip, rule


@rule(
    "BAT001",
    "preferred-size-not-positive",
    Severity.ERROR,
    triton="dynamic batching preferred size must be positive for …",
)
def preferred_size_not_positive(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that every `preferred_batch_size` is 1 or more.

    ## Why is this bad?
    Triton refuses the model.

    ## Example
    ```pbtxt
    dynamic_batching { preferred_batch_size: [ 0, 4 ] }
    ```
    """
    for index, size in enumerate(model.config.dynamic_batching.preferred_batch_size):
        if size <= 0:
            field = f"dynamic_batching.preferred_batch_size[{index}]"
            yield model.finding(field, f"a preferred batch of {size} is none", fix="remove it")


@rule(
    "BAT002",
    "preferred-size-above-maximum",
    Severity.ERROR,
    requires=("CFG021",),
    triton="dynamic batching preferred size must be <= max batch size for …",
)
def preferred_size_above_maximum(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that no `preferred_batch_size` exceeds `max_batch_size`; without batching (0) that means any.

    ## Why is this bad?
    Triton refuses the model.

    ## Example
    ```pbtxt
    max_batch_size: 4
    dynamic_batching { preferred_batch_size: [ 8 ] }
    ```
    """
    maximum = model.config.max_batch_size
    for index, size in enumerate(model.config.dynamic_batching.preferred_batch_size):
        if size > maximum:
            yield model.finding(
                f"dynamic_batching.preferred_batch_size[{index}]",
                f"a preferred batch of {size} exceeds `max_batch_size` {maximum}",
                fix="lower or remove it, or raise max_batch_size",
            )


@rule("BAT003", "dynamic-batching-without-batch", Severity.WARNING, requires=("BAT001", "BAT002", "CFG002"))
def dynamic_batching_without_batch(model: Model) -> Iterator[Found]:
    """## What it does
    Reports `dynamic_batching` on a model whose `max_batch_size` is 0.

    ## Why is this bad?
    It loads, waits as long as `max_queue_delay_microseconds` says, and never merges two requests (measured: 24 requests
    gave 24 executions).

    ## Example
    ```pbtxt
    max_batch_size: 0
    dynamic_batching { max_queue_delay_microseconds: 1000 }
    ```
    """
    if not model.config.HasField("dynamic_batching") or model.config.max_batch_size != 0:
        return
    if may_complete_batching(model):
        raise Skip(f"{model.name}: the backend or model.py may set max_batch_size by itself")
    yield model.finding(
        "dynamic_batching",
        "the model has no batch dimension (max_batch_size is 0), so nothing can be batched",
        fix="set max_batch_size to 1 or more, or remove dynamic_batching",
    )


def may_complete_batching(model: Model) -> bool:
    """Can auto-completion raise a `max_batch_size` of 0?"""
    if not model.host.auto_complete:
        return False
    if model.backend == "python":
        return any(version.may_complete for version in model.served)
    if model.backend == "onnxruntime":
        return not model.inputs or not model.outputs
    return model.backend in ("tensorrt", "openvino", "tensorflow")


@rule("BAT004", "batching-without-scheduler", Severity.WARNING)
def batching_without_scheduler(model: Model) -> Iterator[Found]:
    """## What it does
    Reports a model that takes batches above 1 and names no scheduler, where the backend does not add one by itself (the
    TensorRT and ONNX Runtime backends do, when auto-completion is on).

    ## Why is this bad?
    Without `dynamic_batching` Triton never merges requests: throughput is that of batch 1 (measured: 24 requests gave 24
    executions).

    ## Example
    ```pbtxt
    backend: "python"
    max_batch_size: 16
    ```
    """
    config = model.config
    if config.max_batch_size <= 1 or config.WhichOneof("scheduling_choice") or model.is_ensemble or not model.backend:
        return
    if model.host.auto_complete and model.backend in ("tensorrt", "onnxruntime"):
        return
    if model.backend == "python" and any(version.may_complete for version in model.served):
        raise Skip(f"{model.name}: model.py may set dynamic batching by itself")
    yield model.finding(
        "max_batch_size",
        f"batches up to {config.max_batch_size} are allowed, but no scheduler forms them",
        fix="add `dynamic_batching { }`, or set max_batch_size to 1 if clients send whole batches",
    )


@rule("BAT005", "preferred-sizes-cap-batches", Severity.WARNING, requires=("BAT001", "BAT002"))
def preferred_sizes_cap_batches(model: Model) -> Iterator[Found]:
    """## What it does
    Reports preferred batch sizes that do not include `max_batch_size`.

    ## Why is this bad?
    Once a preferred size is reached the batch goes, however long the queue is: the largest preferred size caps batches
    (measured: maximum 8, preferred [4] gave 5 batches of 4 where the default gave 2 of 8).

    ## Example
    ```pbtxt
    max_batch_size: 8
    dynamic_batching { preferred_batch_size: [ 4 ] }
    ```
    """
    preferred = list(model.config.dynamic_batching.preferred_batch_size)
    maximum = model.config.max_batch_size
    if preferred and max(preferred) < maximum:
        yield model.finding(
            "dynamic_batching.preferred_batch_size",
            f"the largest preferred size {max(preferred)} caps batches below `max_batch_size` {maximum}",
            fix=f"add {maximum}, or remove preferred_batch_size",
        )


@rule("BAT006", "queue-shorter-than-batch", Severity.WARNING)
def queue_shorter_than_batch(model: Model) -> Iterator[Found]:
    """## What it does
    Reports a `max_queue_size` below `max_batch_size`.

    ## Why is this bad?
    While a batch is being executed the next one cannot gather: requests above the queue's size are answered with 503, and
    batches of single requests never fill.

    ## Example
    ```pbtxt
    max_batch_size: 32
    dynamic_batching { default_queue_policy { max_queue_size: 4 } }
    ```
    """
    for field, policy in _policies(model):
        if 0 < policy.max_queue_size < model.config.max_batch_size:
            yield model.finding(
                f"{field}.max_queue_size",
                f"the queue holds {policy.max_queue_size} requests, a batch {model.config.max_batch_size}",
                fix="make the queue several batches long",
            )


@rule("BAT007", "timeout-shorter-than-delay", Severity.WARNING)
def timeout_shorter_than_delay(model: Model) -> Iterator[Found]:
    """## What it does
    Reports a rejecting queue timeout that is not longer than the delay for which the batcher waits.

    ## Why is this bad?
    A request that waits for a batch to fill is thrown away before the wait is over: at low load all are (503
    `Request timeout expired`).

    ## Example
    ```pbtxt
    dynamic_batching {
      max_queue_delay_microseconds: 5000
      default_queue_policy { default_timeout_microseconds: 1000 }
    }
    ```
    """
    delay = model.config.dynamic_batching.max_queue_delay_microseconds
    for field, policy in _policies(model):
        timeout = policy.default_timeout_microseconds
        if 0 < timeout <= delay and policy.timeout_action == 0:
            yield model.finding(
                f"{field}.default_timeout_microseconds",
                f"requests are rejected after {timeout} µs, but a batch may wait {delay} µs",
                fix="make the timeout several times the delay, or shorten the delay",
            )


@rule("BAT008", "queue-policy-stalls", Severity.WARNING, requires=("BAT006", "BAT007"))
def queue_policy_stalls(model: Model) -> Iterator[Found]:
    """## What it does
    Reports queue limits of the dynamic batcher: `max_queue_size`, a timeout, `allow_timeout_override`.

    ## Why is this bad?
    With any of them (and with priority levels) Triton's batcher stops fetching ahead, and a request that arrives
    while every instance is busy no longer wakes it: the request waits until the next one arrives, or for 500 ms.
    Measured with one instance of a 10 ms model: one client sees a p99 of 517 ms instead of 20, eight clients get 76
    answers per second instead of 338 (`benchmarks/queue_policy.py`). More instances make it rarer. The cause is
    `Enqueue` in Triton's `dynamic_batch_scheduler.cc` with `PayloadSlotAvailable` in `rate_limiter.cc`; both are the
    same in June 2026.

    Without a limit an overloaded server queues until clients give up: limit requests in front of it (a proxy, client
    deadlines), or keep the limit with open eyes.

    ## Example
    ```pbtxt
    dynamic_batching { default_queue_policy { max_queue_size: 1024 } }
    ```
    """
    batching = model.config.dynamic_batching
    if batching.priority_levels:
        return  # priorities are the same trade, but made on purpose
    for name in ("max_queue_size", "default_timeout_microseconds", "allow_timeout_override"):
        if getattr(batching.default_queue_policy, name):
            yield model.finding(
                f"dynamic_batching.default_queue_policy.{name}",
                "with a limit on the queue, requests that arrive while all instances are busy may wait 500 ms for nothing",
                fix="remove it and limit requests in front of the server, or ignore this rule for the model",
            )
            return


def _policies(model: Model):  # type: ignore[no-untyped-def]  # noqa: ANN202  (pairs of path and protobuf message)
    batching = model.config.dynamic_batching
    if batching.HasField("default_queue_policy"):
        yield "dynamic_batching.default_queue_policy", batching.default_queue_policy
    for level, policy in batching.priority_queue_policy.items():
        yield f'dynamic_batching.priority_queue_policy["{level}"]', policy
