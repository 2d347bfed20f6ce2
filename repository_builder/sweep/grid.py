"""A plain sweep: every point of a grid, measured once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product

from repository_builder.errors import Problem, SpecError, nearest
from repository_builder.sweep.goal import Estimate
from repository_builder.sweep.measure import Bench
from repository_builder.sweep.sample import Candidate, Load, Refused, Setting

AXES = ("instances", "max_batch", "delay_us", "threads", "concurrency")
Watch = Callable[[str, float], None]


def axes_of(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """`instances=1,2` … as numbers; raises SpecError with every mistake."""
    found: dict[str, tuple[int, ...]] = {}
    problems = []
    for text in texts:
        name, _, values = text.partition("=")
        if name not in AXES:
            problems.append(
                Problem(f"unknown axis `{name}`{nearest(name, AXES)}", "--grid", fix=f"axes are {', '.join(AXES)}")
            )
            continue
        try:
            numbers = tuple(sorted({int(value) for value in values.split(",")}))
        except ValueError:
            numbers = ()
        smallest = 0 if name in ("delay_us", "threads") else 1
        if not numbers or numbers[0] < smallest:
            problems.append(
                Problem(
                    f"axis `{name}` takes whole numbers from {smallest}, not `{values}`",
                    "--grid",
                    fix=f"write {name}=1,2,4",
                )
            )
        found[name] = numbers
    if problems:
        raise SpecError.many(problems)
    return found


def points(axes: Mapping[str, Sequence[int]], start: Setting, loads: Sequence[Load]) -> Iterator[Candidate]:
    """Every combination; an axis that is not given stays as it is. Loads are the innermost: they need no reload."""
    chosen = {
        "instances": axes.get("instances", (start.instances,)),
        "max_batch": axes.get("max_batch", (start.max_batch,)),
        "delay_us": axes.get("delay_us", (start.delay_us,)),
        "threads": axes.get("threads", (start.threads,)),
    }
    for instances, batch, delay, threads in product(*chosen.values()):
        preferred = tuple(size for size in start.preferred if size <= batch)
        for load in loads:
            yield Candidate(Setting(instances, batch, delay, preferred, threads), load)


def run(
    bench: Bench, member: str, candidates: Sequence[Candidate], seconds: float, watch: Watch
) -> tuple[dict[Candidate, Estimate], dict[Candidate, str]]:
    """Measure all; what the server refuses is listed with its reason."""
    estimates: dict[Candidate, Estimate] = {}
    refused: dict[Candidate, str] = {}
    for number, candidate in enumerate(candidates):
        watch(f"{member} {candidate} ({number + 1} of {len(candidates)})", number / len(candidates))
        result = bench.window(member, candidate, seconds, role="grid")
        if isinstance(result, Refused):
            refused[candidate] = result.why
        else:
            estimates[candidate] = Estimate(candidate, [result])
    return estimates, refused
