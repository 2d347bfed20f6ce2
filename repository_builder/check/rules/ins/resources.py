"""INS011: resources of the rate limiter, which all models of a server share."""

from __future__ import annotations

from collections.abc import Iterator

from repository_builder.check.inputs import Model, Repository
from repository_builder.check.rule import Found, Severity, rule


@rule("INS011", "resource-both-global-and-per-device", Severity.WARNING)
def resource_both_global_and_per_device(repository: Repository) -> Iterator[Found]:
    """## What it does
    Reports a rate limiter's resource that is `global` in one place of the repository and not in another.

    ## Why is this bad?
    Resources belong to the server, not to a model. With `--rate-limit=execution_count` Triton refuses the model that is loaded
    second (`Resource "memory" is present as both global and device-specific resource in the model configuration`); without
    that flag the rate limiter does nothing at all, so the mistake shows on the day when it is switched on.

    ## Example
    ```pbtxt
    # net:   rate_limiter { resources [ { name: "memory" count: 4 global: true } ] }
    # other: rate_limiter { resources [ { name: "memory" count: 2 } ] }
    ```
    """
    first: dict[str, tuple[bool, Model]] = {}
    for model in repository.models.values():
        if not model.is_readable:
            continue
        for group_index, group in enumerate(model.config.instance_group):
            for index, resource in enumerate(group.rate_limiter.resources):
                is_global = bool(getattr(resource, "global"))
                known, owner = first.setdefault(resource.name, (is_global, model))
                if known != is_global:
                    kinds = ("per device", "global")
                    yield model.finding(
                        f"instance_group[{group_index}].rate_limiter.resources[{index}].name",
                        f"`{resource.name}` is {kinds[is_global]} here and {kinds[known]} in `{owner.name}`",
                        fix="make both alike, or give one of them another name",
                    )
