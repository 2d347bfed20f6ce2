"""TRT030 and TRT031: profiles among themselves, and against fixed dims."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from repository_builder.check.engine import Bounds
from repository_builder.check.inputs import Version
from repository_builder.check.rule import Found, Severity, rule
from repository_builder.check.rules.trt.engine import field, listed
from repository_builder.check.rules.trt.settings import is_trt
from repository_builder.check.rules.trt.tensors import batches


@rule("TRT030", "overlapping-profiles", Severity.WARNING, requires=("TRT020",))
def overlapping_profiles(version: Version) -> Iterator[Found]:
    """## What it does
    Reports two profiles of one instance group that both take some shape.

    ## Why is this bad?
    Triton then takes the one whose optimum is nearer, but compares dimensions with their neighbours (an index is off by one
    since 21.09): which profile runs is hard to foresee. Disjoint batch ranges leave no choice.

    ## Example
    ```pbtxt
    instance_group [ { profile: [ "0", "1" ] } ]      # 0: batch 1 to 8, 1: batch 1 to 32
    ```
    """
    if not is_trt(version.model):
        return
    engine = version.engine
    for group, numbers in listed(version.model, engine):
        for one, two in combinations(sorted(set(numbers)), 2):
            first, second = engine.profiles[one], engine.profiles[two]
            if all(_meet(first[name], second[name]) for name in first.keys() & second.keys()):
                message = f"profiles {one} and {two} overlap"
                yield version.finding(field(group), message, fix="give them disjoint batch ranges")


def _meet(one: Bounds, two: Bounds) -> bool:
    pairs = zip(one.min, one.max, two.min, two.max, strict=False)
    return all(low <= other_high and other_low <= high for low, high, other_low, other_high in pairs)


@rule(
    "TRT031", "fixed-dimension-outside-profile", Severity.ERROR, requires=("TRT020", "TRT041"), triton="invalid shape"
)
def fixed_dimension_outside_profile(version: Version) -> Iterator[Found]:
    """## What it does
    Checks that a fixed dimension of an input lies within every listed profile, and that no listed profile begins above
    `max_batch_size`.

    ## Why is this bad?
    The backend prepares every listed profile when it loads, and does not load the model if the configured shape does not fit.

    ## Example
    ```pbtxt
    input [ { name: "image" data_type: TYPE_FP32 dims: [ 3, 512, 512 ] } ]      # profile 0 ends at 256
    ```
    """
    if not is_trt(version.model):
        return
    engine, maximum = version.engine, version.model.config.max_batch_size
    numbers = sorted({number for _, group in listed(version.model, engine) for number in group})
    for index, tensor in enumerate(version.model.inputs):
        dims = list(tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims)
        full = [-1, *dims] if batches(version) else dims
        for number in numbers:
            bounds = engine.profiles[number].get(tensor.name)
            if bounds is None or len(bounds.min) != len(full) or tensor.is_shape_tensor:
                continue
            bad = [
                d for d, low, high in zip(full, bounds.min, bounds.max, strict=True) if d != -1 and not low <= d <= high
            ]
            if bad:
                message = (
                    f"profile {number} takes `{tensor.name}` from {list(bounds.min)} to {list(bounds.max)}, not {full}"
                )
                yield version.finding(
                    f"input[{index}].dims", message, fix="write -1, or a size inside every listed profile"
                )
            elif maximum > 0 and bounds.min[0] > maximum:
                message = f"profile {number} begins at batch {bounds.min[0]}, `max_batch_size` is {maximum}"
                yield version.finding("max_batch_size", message, fix=f"raise it, or do not list profile {number}")
