"""TRT020 to TRT025: instance groups and batches against the engine's optimization profiles."""

from __future__ import annotations

from collections.abc import Iterator

from repository_builder.check.engine import Engine
from repository_builder.check.inputs import Model, Version
from repository_builder.check.rule import Found, Severity, Skip, rule
from repository_builder.check.rules.trt.settings import is_trt


def listed(model: Model, engine: Engine) -> list[tuple[int, list[int]]]:
    """(group, valid profiles) of every instance group; none listed means profile 0; no group means one."""
    count = len(engine.profiles)
    groups = []
    for index, group in enumerate(model.config.instance_group):
        numbers = [int(text) for text in group.profile if text.isdecimal()] or [0]
        groups.append((index, [number for number in numbers if number < count]))
    return groups or [(-1, [0] if count else [])]


def field(group: int) -> str:
    """Field path of a group's profiles."""
    return f"instance_group[{group}].profile" if group >= 0 else "instance_group"


@rule(
    "TRT020", "profile-out-of-range", Severity.ERROR, requires=("INS021", "INS022"), triton="specified invalid profile"
)
def profile_out_of_range(version: Version) -> Iterator[Found]:
    """## What it does
    Checks that every listed profile exists in the engine.

    ## Why is this bad?
    The backend does not load the model.

    ## Example
    ```pbtxt
    instance_group [ { kind: KIND_GPU profile: [ "2" ] } ]      # the engine has profiles 0 and 1
    ```
    """
    if not is_trt(version.model):
        return
    count = len(version.engine.profiles)
    for index, group in enumerate(version.model.config.instance_group):
        for place, text in enumerate(group.profile):
            if text.isdecimal() and int(text) >= count:
                message = f"there is no profile {text}, only {', '.join(str(number) for number in range(count))}"
                yield version.finding(
                    f"instance_group[{index}].profile[{place}]", message, fix="list existing profiles"
                )


@rule("TRT021", "unreachable-profile", Severity.WARNING, requires=("TRT020",))
def unreachable_profile(version: Version) -> Iterator[Found]:
    """## What it does
    Reports profiles of the engine that no instance group lists.

    ## Why is this bad?
    Without `profile` an instance uses profile 0 and no other: whatever was built for the others is never used, and requests
    outside profile 0 fail.

    ## Example
    ```pbtxt
    instance_group [ { kind: KIND_GPU } ]      # the engine has profiles 0 and 1
    ```
    """
    if not is_trt(version.model):
        return
    engine = version.engine
    used = {number for _, numbers in listed(version.model, engine) for number in numbers}
    missing = [str(number) for number in range(len(engine.profiles)) if number not in used]
    if missing:
        texts = ", ".join(f'"{number}"' for number in range(len(engine.profiles)))
        yield version.finding(
            field(0 if version.model.config.instance_group else -1),
            f"profile {', '.join(missing)} of the engine is listed nowhere",
            fix=f"write profile: [ {texts} ] in one group",
        )


@rule(
    "TRT022",
    "batch-above-engine",
    Severity.ERROR,
    requires=("TRT020", "CFG021"),
    triton="TensorRT engine only supports max-batch …",
)
def batch_above_engine(version: Version) -> Iterator[Found]:
    """## What it does
    Checks that `max_batch_size` is not above the largest batch of the listed profiles.

    ## Why is this bad?
    With auto-completion the backend does not load the model (`configuration specified max-batch 16 but TensorRT engine only
    supports max-batch 8`). Without it the model loads, and every batch above the profile's fails.

    ## Example
    ```pbtxt
    max_batch_size: 16        # the engine's profile ends at 8
    ```
    """
    if not is_trt(version.model) or version.model.config.max_batch_size <= 0:
        return
    engine = version.engine
    best = max((engine.max_batch(n) for _, numbers in listed(version.model, engine) for n in numbers), default=0)
    if version.model.config.max_batch_size > best:
        message = f"`max_batch_size` is {version.model.config.max_batch_size}, the listed profiles end at batch {best}"
        yield version.finding("max_batch_size", message, fix=f"write {best}, or build the engine for larger batches")


@rule(
    "TRT023",
    "batch-without-profile",
    Severity.ERROR,
    requires=("TRT020", "TRT022"),
    triton="request specifies invalid shape",
)
def batch_without_profile(version: Version) -> Iterator[Found]:
    """## What it does
    Checks that in *every* instance group the listed profiles cover every batch from 1 to `max_batch_size`.

    ## Why is this bad?
    Triton hands batches to any group and knows nothing of profiles. A batch that fits none of the group's profiles fails with
    all its requests (`dimension 0 to be between 1 and 1 but received 2`).

    ## Example
    ```pbtxt
    max_batch_size: 8
    instance_group [ { profile: [ "0" ] }, { profile: [ "1" ] } ]      # 0: batch 1 to 4, 1: batch 5 to 8
    ```
    """
    maximum = version.model.config.max_batch_size
    if not is_trt(version.model) or maximum <= 0:
        return
    engine = version.engine
    for group, numbers in listed(version.model, engine):
        spans = sorted((engine.min_batch(n), engine.max_batch(n)) for n in numbers)
        gaps, reached = [], 0
        for low, high in spans:
            if low > reached + 1:
                gaps.append((reached + 1, low - 1))
            reached = max(reached, high)
        if reached < maximum:
            gaps.append((reached + 1, maximum))
        gaps = [(low, min(high, maximum)) for low, high in gaps if low <= maximum]
        if gaps and spans:
            shown = ", ".join(str(low) if low == high else f"{low} to {high}" for low, high in gaps)
            message = f"no listed profile takes a batch of {shown}"
            yield version.finding(
                field(group), message, fix="list profiles that cover 1 to max_batch_size in this group"
            )


@rule("TRT024", "preferred-size-without-profile", Severity.WARNING, requires=("TRT020", "TRT023"))
def preferred_size_without_profile(version: Version) -> Iterator[Found]:
    """## What it does
    Reports preferred batch sizes for which no listed profile is optimal, where several profiles exist.

    ## Why is this bad?
    Preferred sizes only make sense for batches that an engine was tuned for; others just delay requests.

    ## Example
    ```pbtxt
    dynamic_batching { preferred_batch_size: [ 5, 16 ] }      # profiles are tuned for 4 and 16
    ```
    """
    preferred = list(version.model.config.dynamic_batching.preferred_batch_size)
    if not is_trt(version.model) or not preferred:
        return
    engine = version.engine
    numbers = {number for _, group in listed(version.model, engine) for number in group}
    tuned = {b.opt[0] for n in numbers for b in engine.profiles[n].values() if b.opt}
    tuned |= {engine.max_batch(number) for number in numbers} | {version.model.config.max_batch_size}
    for place, size in enumerate(preferred):
        if size not in tuned:
            message = f"no profile is tuned for batch {size} (tuned: {', '.join(map(str, sorted(tuned)))})"
            where = f"dynamic_batching.preferred_batch_size[{place}]"
            yield version.finding(where, message, fix="prefer the profiles' optimal and largest batches only")


@rule("TRT025", "engines-larger-than-memory", Severity.WARNING, requires=("TRT020",))
def engines_larger_than_memory(version: Version) -> Iterator[Found]:
    """## What it does
    Adds up, with `--gpu`, what the instances of one model take: each has its own copy of the weights (dynamic shapes) and one
    execution context per listed profile.

    ## Why is this bad?
    Loading stops half-way with an out-of-memory error, or leaves nothing to the other models.

    ## Example
    ```pbtxt
    instance_group [ { kind: KIND_GPU count: 8 profile: [ "0", "1", "2" ] } ]
    ```
    """
    if not is_trt(version.model):
        return
    engine = version.engine
    if not engine.weights_bytes and not engine.activation_bytes:
        raise Skip(f"how much memory {version.name} takes is not known")
    gpu = version.host.known_gpu
    if gpu is None:
        return
    total = 0
    for group, numbers in listed(version.model, engine):
        count = max(1, version.model.config.instance_group[group].count) if group >= 0 else 1
        total += count * (engine.weights_bytes + len(numbers) * engine.activation_bytes)
    if total > gpu.memory_gib * 2**30 * 0.95:
        message = f"its instances take about {total / 2**30:.0f} GiB, {gpu.name} has {gpu.memory_gib}"
        fix = "lower count, list fewer profiles, or set execution_context_allocation_strategy to ON_PROFILE_CHANGE"
        yield version.finding("instance_group", message, fix=fix)
