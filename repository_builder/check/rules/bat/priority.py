"""BAT010 to BAT013: priorities and order."""

from __future__ import annotations

from collections.abc import Iterator

from repository_builder.check.inputs import Model
from repository_builder.check.rule import Found, Severity, rule

_DELAY = 1


@rule(
    "BAT010",
    "default-priority-out-of-range",
    Severity.ERROR,
    triton="default priority level must be in range [1, …] for …",
)
def default_priority_out_of_range(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that with `priority_levels` the `default_priority_level` is one of them.

    ## Why is this bad?
    Triton refuses the model; leaving the default out means 0, which is no level.

    ## Example
    ```pbtxt
    dynamic_batching { priority_levels: 3 }
    ```
    """
    batching = model.config.dynamic_batching
    if batching.priority_levels and not 1 <= batching.default_priority_level <= batching.priority_levels:
        yield model.finding(
            "dynamic_batching.default_priority_level",
            f"default priority {batching.default_priority_level} is none of the levels 1 to {batching.priority_levels}",
            fix="write default_priority_level: 1, or another level",
        )


@rule(
    "BAT011",
    "priority-policy-out-of-range",
    Severity.ERROR,
    requires=("BAT010",),
    triton="priority queue policy must have priority level in range [1, …] for …",
)
def priority_policy_out_of_range(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that every key of `priority_queue_policy` is a priority level.

    ## Why is this bad?
    Triton refuses the model.

    ## Example
    ```pbtxt
    dynamic_batching {
      priority_levels: 2 default_priority_level: 1
      priority_queue_policy { key: 5 value { max_queue_size: 10 } }
    }
    ```
    """
    batching = model.config.dynamic_batching
    for level in batching.priority_queue_policy if batching.priority_levels else ():
        if not 1 <= level <= batching.priority_levels:
            yield model.finding(
                f'dynamic_batching.priority_queue_policy["{level}"]',
                f"there is no priority level {level}, only 1 to {batching.priority_levels}",
                fix="use an existing level, or raise priority_levels",
            )


@rule("BAT012", "priorities-ignored", Severity.WARNING)
def priorities_ignored(model: Model) -> Iterator[Found]:
    """## What it does
    Reports priority settings of a model whose `priority_levels` is 0.

    ## Why is this bad?
    Without levels Triton ignores them without a word: all requests share one queue.

    ## Example
    ```pbtxt
    dynamic_batching { default_priority_level: 2 }
    ```
    """
    batching = model.config.dynamic_batching
    if batching.priority_levels == 0 and (batching.default_priority_level or batching.priority_queue_policy):
        field = "default_priority_level" if batching.default_priority_level else "priority_queue_policy"
        yield model.finding(
            f"dynamic_batching.{field}",
            f"`{field}` has no effect: `priority_levels` is 0",
            fix="set priority_levels, or remove it",
        )


@rule(
    "BAT013",
    "ordering-with-priorities-or-delay",
    Severity.ERROR,
    triton="is true for …",
)
def ordering_with_priorities_or_delay(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that `preserve_ordering` stands with at most one priority level and without a DELAY timeout.

    ## Why is this bad?
    Both let requests overtake each other, so Triton refuses the combination (`Only one priority level is allowed when
    'preserve_ordering' is true`, `Queue policy can not have DELAY as timeout action`).

    ## Example
    ```pbtxt
    dynamic_batching { preserve_ordering: true priority_levels: 2 default_priority_level: 1 }
    ```
    """
    batching = model.config.dynamic_batching
    if not batching.preserve_ordering:
        return
    if batching.priority_levels > 1:
        yield model.finding(
            "dynamic_batching.priority_levels",
            f"{batching.priority_levels} priority levels contradict preserve_ordering",
            fix="keep one of the two",
        )
    policies = [("default_queue_policy", batching.default_queue_policy)]
    policies += [(f'priority_queue_policy["{level}"]', each) for level, each in batching.priority_queue_policy.items()]
    for name, policy in policies:
        if policy.timeout_action == _DELAY and policy.default_timeout_microseconds:
            yield model.finding(
                f"dynamic_batching.{name}.timeout_action",
                "a DELAY timeout contradicts preserve_ordering",
                fix="write timeout_action: REJECT, or remove preserve_ordering",
            )
