"""Which optimization profiles a model gets: those of the spec, or one that is inferred; proven before anything is built."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repository_builder.errors import Problem, SpecError
from repository_builder.shapes.coverage import faults
from repository_builder.shapes.profile import INFERRED_BATCH, Profile, Range, batch_dim, infer, problems_of
from repository_builder.spec.model import ModelSpec
from repository_builder.stages import processors
from repository_builder.stages.graph import GraphFacts
from repository_builder.tensor import Tensor

WHERE = "profiles"


def describe(spec: ModelSpec) -> dict[str, Any]:
    """The parameters from which a stage resolves the profiles: plain JSON."""
    profiles = [
        {"name": name, "shapes": {tensor: bounds.model_dump(mode="json") for tensor, bounds in profile.items()}}
        for name, profile in spec.profiles.items()
    ]
    bounds = {name: list(sizes) for name, sizes in spec.tensorrt.bounds.items()}
    return {"profiles": profiles, "bounds": bounds, "max_batch_size": spec.max_batch_size}


def resolve(
    params: Mapping[str, Any], facts: GraphFacts, sources: Mapping[str, Path]
) -> tuple[tuple[Profile, ...], str]:
    """Profiles for a graph, and where they come from. Raises SpecError with every fault, holes and overlaps included."""
    inputs = tensors(facts)
    limit = params["max_batch_size"] or None
    declared = _declared(params, facts, sources)
    if params["profiles"]:
        profiles = tuple(map(Profile.from_json, params["profiles"]))
        origin = "profiles of the spec"
    else:
        profiles = (infer(inputs, batch=_batches(limit), bounds=_bounds(params, declared)),)
        origin = "inferred: no profiles in the spec"
    problems = problems_of(profiles, inputs) or [
        *_beyond(profiles, limit),
        *faults(profiles, inputs, max_batch=limit if facts.batched else None),
        *_undeclared(profiles, inputs, declared),
    ]
    if problems:
        raise SpecError.many(problems[:12])
    return profiles, origin


def tensors(facts: GraphFacts) -> tuple[Tensor, ...]:
    """The inputs as profiles see them."""
    return facts.interface.inputs


def corners(profiles: tuple[Profile, ...]) -> dict[str, int]:
    """`small.max` → batch, for min, opt and max of each profile; equal batches of a profile once."""
    found: dict[str, int] = {}
    for profile in profiles:
        seen: set[int] = set()
        for which in ("min", "opt", "max"):
            batch = profile.batch(which)
            if batch not in seen:
                seen.add(batch)
                found[f"{profile.name}.{which}"] = batch
    return found


def by_name(profiles: tuple[Profile, ...]) -> dict[str, dict[str, dict[str, list[int]]]]:
    """`profiles.json` as a rehearsal reads it."""
    return {p.name: {name: bounds.as_json() for name, bounds in p.shapes.items()} for p in profiles}


def _batches(limit: int | None) -> tuple[int, int, int]:
    if limit is None:
        return INFERRED_BATCH
    return 1, min(INFERRED_BATCH[1], limit), limit


def _bounds(params: Mapping[str, Any], declared: Mapping[str, int]) -> dict[str, tuple[int, int, int]]:
    """What the spec says of dynamic dimensions; for text lengths else what the tokenizer can produce."""
    told = {name: (low, opt, high) for name, (low, opt, high) in params["bounds"].items()}
    return {name: (1, max(1, high // 4), high) for name, high in declared.items()} | told


def _declared(params: Mapping[str, Any], facts: GraphFacts, sources: Mapping[str, Path]) -> dict[str, int]:
    """Dynamic dimension → the largest size that the pre-processor will send."""
    before = processors.restore("preprocess", params, sources)
    resolved = before.resolve(facts.interface) if before else None
    length = getattr(resolved, "max_length", None)
    if resolved is None or length is None:
        return {}
    batch = batch_dim(facts.interface.inputs)
    fed = {tensor.name for tensor in resolved.ports(facts.interface).outputs}
    dims = {d for t in facts.interface.inputs if t.name in fed for d in t.shape if isinstance(d, str) and d != batch}
    return dict.fromkeys(sorted(dims), int(length))


def _beyond(profiles: tuple[Profile, ...], limit: int | None) -> list[Problem]:
    """Triton sets each listed profile to the largest batch when it loads: a profile above that cannot be loaded."""
    return [
        Problem(
            f"profile `{profile.name}` begins above max_batch_size",
            f"{WHERE}.{profile.name}",
            f"its smallest batch is {profile.batch('min')}, and max_batch_size is {limit}",
            "raise max_batch_size, or leave the profile out",
        )
        for profile in profiles
        if limit is not None and profile.batch("min") > limit
    ]


def _undeclared(
    profiles: tuple[Profile, ...], inputs: tuple[Tensor, ...], declared: Mapping[str, int]
) -> list[Problem]:
    problems = []
    for dim, high in declared.items():
        largest = max(_largest(profile.shapes[t.name], t, dim) for profile in profiles for t in inputs)
        if largest < high:
            problems.append(
                Problem(
                    f"no optimization profile fits `{dim}` = {largest + 1} … {high}",
                    WHERE,
                    f"the pre-processor sends up to {high}, and the profiles end at {largest}",
                    f"extend a profile to {high}, or set the pre-processor's `max_length: {largest}`",
                )
            )
    return problems


def _largest(bounds: Range, tensor: Tensor, dim: str) -> int:
    return max((bounds.max[axis] for axis, name in enumerate(tensor.shape) if name == dim), default=0)
