"""Which of the precisions that pass is the fastest, where a GPU of this machine can run the engines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repository_builder.console import Progress
from repository_builder.shapes.profile import Profile
from repository_builder.stages import engine, engine_run
from repository_builder.stages.engine_facts import FACTS, EngineFacts

MARGIN = 1.03
"""A later precision of the list must be faster by more than this: less is noise, and the order is the user's wish."""

Times = Mapping[str, float]
"""Profile → median milliseconds at its opt shape."""


@dataclass(frozen=True)
class Timed:
    """What became of one candidate: its times, or why there are none."""

    times: Times
    failed: str = ""


def fastest(candidates: Mapping[str, Timed]) -> tuple[str, str]:
    """The chosen precision and why, in words. The order of `candidates` is the user's; all of them pass the gate.

    Profiles count alike: candidates are compared by the geometric mean of their times over the profiles. A precision
    whose engine is not built or does not run is left out; where none runs, the first stands.
    """
    means = {level: _mean(timed.times) for level, timed in candidates.items() if timed.times}
    left_out = [f"{level}: {timed.failed}" for level, timed in candidates.items() if not timed.times]
    if not means:
        return next(iter(candidates)), f"the first that passes; no engine could be timed ({'; '.join(left_out)})"
    chosen = next(iter(means))
    for level, mean in means.items():
        if mean * MARGIN < means[chosen]:
            chosen = level
    listed = ", ".join(f"{level} {mean:.4g} ms" for level, mean in means.items())
    more = f"; not timed: {'; '.join(left_out)}" if left_out else ""
    return chosen, f"the fastest that passes: {listed} (geometric mean of the profiles at opt){more}"


def _mean(times: Times) -> float:
    return math.exp(sum(math.log(max(ms, 1e-9)) for ms in times.values()) / len(times))


def measure(
    graph: Path, folder: Path, params: Mapping[str, Any], profiles: tuple[Profile, ...], progress: Progress
) -> Times:
    """Build the engine of a lowered graph into `folder` and time it at opt of every profile.

    `params` are those of `engine.request`. Raises what a build raises, and StageFailed where the engine does not run.
    """
    folder.mkdir(parents=True)
    wanted = {**params, "profiles": [profile.as_json() for profile in profiles]}
    engine.build(engine.request(graph, folder, wanted, []), progress, engine.place(wanted, progress))
    shapes = {profile.name: profile.corner("opt") for profile in profiles}
    return engine_run.times(EngineFacts.read(folder / FACTS), folder, shapes, progress)
