"""What is wanted: the objective, the latency budget, and the judgement of samples against both."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from repository_builder.sweep.model import wilson
from repository_builder.sweep.sample import Candidate, Sample, Setting

Objective = Literal["throughput", "latency", "cost"]
GUARD = 0.95
"""A p99 is accepted below this share of the budget: the rest is for what a few windows cannot show."""
_PRIOR_SD = 0.05
"""Standard deviation between two loads of one configuration, as measured; what is seen replaces it when it is more."""


@dataclass(frozen=True)
class Goal:
    """An objective under constraints."""

    objective: Objective = "throughput"
    budget_s: float | None = None
    """p99 in seconds; None: any."""
    min_throughput: float = 0.0
    """Inferences per second that the result must give at least (objectives `latency` and `cost`)."""
    default_threads: int = 0
    """Threads that all instances share where the configuration does not say (ONNX Runtime on the CPU: all cores)."""

    def score(self, setting: Setting, throughput: float, p99: float) -> float:
        """The larger the better: inferences/s, 1/p99, or inferences/s for each core or instance that is occupied."""
        if self.objective == "latency":
            return 1 / p99 if p99 > 0 else 0.0
        return throughput / self.occupied(setting) if self.objective == "cost" else throughput

    def occupied(self, setting: Setting) -> int:
        """What a setting occupies: threads, or instances where threads are no knob."""
        return setting.instances * max(setting.threads or self.default_threads // setting.instances, 1)


@dataclass
class Estimate:
    """What is known of one candidate."""

    candidate: Candidate
    explored: list[Sample] = field(default_factory=list)
    raced: list[Sample] = field(default_factory=list)
    """Each after a reload of its own."""
    disturbed: list[Sample] = field(default_factory=list)
    """Windows in which other processes wanted the processor: shown, not used."""

    @property
    def windows(self) -> Sequence[Sample]:
        """Every window that counts."""
        return [*self.explored, *self.raced]

    @property
    def used(self) -> Sequence[Sample]:
        """Samples for judgements: those of the race once there are two, for one is raced *because* the others were good."""
        return self.raced if len(self.raced) >= 2 else [*self.explored, *self.raced]

    @property
    def throughput(self) -> float:
        """Mean inferences per second."""
        return statistics.fmean(sample.throughput for sample in self.used)

    @property
    def p99(self) -> float:
        """Median over windows of the 99th percentile, in seconds: one disturbed window must not decide."""
        return statistics.median(sample.p99 for sample in self.used)

    @property
    def relative_error(self) -> float:
        """Standard error of the throughput as a share of it."""
        values = [sample.throughput for sample in self.used]
        seen = (
            statistics.stdev(values) / statistics.fmean(values) if len(values) > 2 and statistics.fmean(values) else 0
        )
        return max(_PRIOR_SD, seen) / math.sqrt(len(values))

    def score(self, goal: Goal) -> float:
        """The objective's value."""
        return goal.score(self.candidate.setting, self.throughput, self.p99)


def judge(estimate: Estimate, goal: Goal) -> Literal["meets", "breaks", "unsure"]:
    """Whether a candidate keeps the constraints.

    *breaks* needs proof: more than 1 % of the requests over the budget beyond chance (Wilson; requests of one batch share
    one latency and count once), or a p99 far above it. *meets* needs a distance from the budget. All else is *unsure*.
    """
    if estimate.throughput < 0.97 * goal.min_throughput:
        return "breaks"
    if any(sample.errors for sample in estimate.used):
        return "breaks"
    if goal.budget_s is None:
        return "meets"
    p99 = estimate.p99
    if p99 <= GUARD * goal.budget_s:
        return "meets"
    return "breaks" if p99 > 1.1 * goal.budget_s or _exceeded(estimate, goal.budget_s) else "unsure"


def _exceeded(estimate: Estimate, budget_s: float) -> bool:
    trials = hits = 0.0
    for sample in estimate.used:
        together = max(1.0, max((times.mean_batch for times in sample.models.values()), default=1.0))
        trials += sample.latencies.count / together
        hits += sample.latencies.over(budget_s) / together
    return estimate.p99 > budget_s and wilson(hits, trials)[0] > 0.01
