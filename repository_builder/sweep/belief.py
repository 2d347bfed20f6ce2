"""What is believed of every point, measured or not: a rough physical expectation, corrected by what was measured near it.

The expectation comes from the batch times T(b) and Little's law (`model.expected`). It is off by 10 to 50 %, but by
about as much for points that are alike. So the logarithms of measured / expected are interpolated over the knobs (a Gaussian
process), which says of every point what to expect and how uncertain that is. A window that was disturbed pulls its point
a little, not all the way, and the best of many noisy windows is not taken at its word.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from repository_builder.sweep.goal import Estimate, Goal
from repository_builder.sweep.latency import Latencies
from repository_builder.sweep.model import BatchTime, expected
from repository_builder.sweep.pace import busy, middle, paces, slowness, time_of
from repository_builder.sweep.sample import Candidate, Sample
from repository_builder.sweep.space import Runner

_LENGTHS = (1.0, 1.0, 1.5, 1.0, 1.0, 1.5)
"""How far apart two points may be (see `_features`, mostly powers of two) until they say little about each other."""


@dataclass(frozen=True)
class _Scale:
    """Standard deviations of logarithms: about how many per cent."""

    common: float
    """The expectation is off by the same factor everywhere."""
    signal: float
    """It is off differently for points that differ much."""
    own: float
    """What is left to each point alone."""
    window: float
    """Between two windows of a second of one point; what is seen takes its place. n seconds say as much as n windows."""


_THROUGHPUT = _Scale(common=0.2, signal=0.25, own=0.03, window=0.04)
_P99 = _Scale(common=0.3, signal=0.3, own=0.06, window=0.13)
_MARKS = (0.90, 0.95, 0.99)
_TAIL_WEIGHT = 3
"""So many windows of a point weigh as much as all others in what lies between its p90, p95 and p99."""
_LONGER = 0.06
"""What is assumed until it is seen: the p99 of windows of five seconds was 2 to 6 % above that of windows of a second."""
_EXACT = 1e-9
"""Standard deviations below this are none."""
_PRIOR_WEIGHT = 6
"""So many differences between windows weigh as much as the assumed `window`."""


@dataclass(frozen=True)
class Normal:
    """A quantity that is known more or less."""

    mean: float
    sd: float
    window_sd: float
    """Standard deviation of one more second."""

    def step(self, seconds: float) -> float:
        """Standard deviation of how far so many more seconds will move the mean."""
        return self.sd**2 / math.sqrt(self.sd**2 + self.window_sd**2 / seconds) if self.sd > 0 else 0.0

    def left(self, seconds: float) -> float:
        """Standard deviation that will be left after them."""
        return math.sqrt(max(self.sd**2 - self.step(seconds) ** 2, 0.0))


@dataclass(frozen=True)
class Belief:
    """What is believed of one point; all of logarithms."""

    throughput: Normal
    """Inferences per second."""
    p99: Normal
    """Seconds."""

    def score(self, candidate: Candidate, goal: Goal) -> Normal:
        """The objective."""
        if goal.objective == "latency":
            return Normal(-self.p99.mean, self.p99.sd, self.p99.window_sd)
        occupied = goal.occupied(candidate.setting) if goal.objective == "cost" else 1
        rate = self.throughput
        return Normal(rate.mean - math.log(max(occupied, 1)), rate.sd, rate.window_sd)

    def worse(self, sample: Sample) -> float:
        """By how many standard deviations a window is worse than this; below 0: it is better."""
        rate, p99 = (math.log(max(value, 1e-9)) for value in (sample.throughput, sample.p99))
        root = math.sqrt(max(sample.seconds, _EXACT))
        return max(
            (self.throughput.mean - rate) / math.hypot(self.throughput.sd, self.throughput.window_sd / root),
            (p99 - self.p99.mean) / math.hypot(self.p99.sd, self.p99.window_sd / root),
        )

    def keeps(self, goal: Goal) -> float:
        """The probability that the constraints are kept."""
        chance = 1.0
        if goal.budget_s is not None:
            chance *= _below(math.log(goal.budget_s), self.p99.mean, self.p99.sd)
        if goal.min_throughput > 0:
            chance *= 1 - _below(math.log(0.97 * goal.min_throughput), self.throughput.mean, self.throughput.sd)
        return chance

    def will_keep(self, goal: Goal, z: float, seconds: float) -> float:
        """The probability that after so many more seconds the constraints will seem kept, by `z` standard deviations."""
        chance = 1.0
        if goal.budget_s is not None:
            chance *= _below(
                math.log(goal.budget_s) - z * self.p99.left(seconds), self.p99.mean, self.p99.step(seconds)
            )
        if goal.min_throughput > 0:
            limit = math.log(0.97 * goal.min_throughput) + z * self.throughput.left(seconds)
            chance *= 1 - _below(limit, self.throughput.mean, self.throughput.step(seconds))
        return chance


def improvement(mean: float, sd: float, best: float) -> float:
    """By how much a normal variable is above `best`, on average (0 where it is not)."""
    if sd < _EXACT:
        return max(0.0, mean - best)
    z = (mean - best) / sd
    return sd * (z * _below(z, 0, 1) + math.exp(-z * z / 2) / math.sqrt(2 * math.pi))


def believe(
    points: Sequence[Candidate],
    estimates: Mapping[Candidate, Estimate],
    times: Mapping[Runner, BatchTime],
    model: str,
) -> dict[Candidate, Belief]:
    """The belief about each of these points; those that were measured must be among them, one at least."""
    known = [number for number, point in enumerate(points) if point in estimates]
    measured = [estimates[points[number]] for number in known]
    prior = [_expected(point, times) for point in points]
    map_ = _Map.of(points, known, times)
    lengths = [[sample.seconds for sample in estimate.windows] for estimate in measured]
    slower, doubts = slowness(measured, [paces(estimate, times, model) for estimate in measured], map_.alike())
    throughputs = [
        [math.log(max(sample.throughput, 1e-9)) + off for sample, off in zip(estimate.windows, offs, strict=True)]
        for estimate, offs in zip(measured, slower, strict=True)
    ]
    p99s = [
        [tail - off for tail, off in zip(tails, offs, strict=True)]
        for tails, offs in zip(_tails(measured), slower, strict=True)
    ]
    # the doubt of the pace is nearly the same for all points: it matters for a budget, not for who is best
    found = _interpolated(
        map_, [rate for rate, _ in prior], _Seen(throughputs, lengths, [0.0] * len(known)), _THROUGHPUT
    )
    slow = _interpolated(map_, [latency for _, latency in prior], _Seen(p99s, lengths, doubts), _P99)
    return {point: Belief(throughput, p99) for point, throughput, p99 in zip(points, found, slow, strict=True)}


def _tails(measured: Sequence[Estimate]) -> list[list[float]]:
    """The logarithm of p99 of each window of each point, in calmer words than its own.

    The p99 of a short window is the latency of its one or two worst batches. The mean of p90, p95 and p99 says nearly the same
    with half of the variance. How far p99 is above it, is taken from all windows, and more and more from the point's own.
    And all windows of a point together have a higher p99 than most of them alone, which is what a user will see.
    """
    means, above = [], []
    for estimate in measured:
        marks = [[math.log(max(s.latencies.quantile(q), 1e-9)) for q in _MARKS] for s in estimate.windows]
        means.append([statistics.fmean(logs) for logs in marks])
        above.append([logs[-1] - statistics.fmean(logs) for logs in marks])
    usual = statistics.median(value for values in above for value in values)
    longer = _longer(measured)
    found = []
    for mean, values, estimate in zip(means, above, measured, strict=True):
        lengths = [sample.seconds for sample in estimate.windows]
        weight = sum(lengths)
        own = (_TAIL_WEIGHT * usual + weight * middle(values, lengths)) / (_TAIL_WEIGHT + weight)
        found.append([value + own + longer / max(length, 1.0) for value, length in zip(mean, lengths, strict=True)])
    return found


def _longer(measured: Sequence[Estimate]) -> float:
    """How far the p99 of a long time is above that of a window, as a logarithm; from points with several windows.

    One number for all points, since a single disturbed window would make that of its own point worthless.
    """
    gaps = [
        math.log(max(_together(estimate).quantile(0.99), 1e-9) / max(statistics.median(p99s), 1e-9))
        for estimate in measured
        if len(p99s := [sample.p99 for sample in estimate.windows]) >= _TAIL_WEIGHT
    ]
    return (_TAIL_WEIGHT * _LONGER + len(gaps) * statistics.median(gaps or [0.0])) / (_TAIL_WEIGHT + len(gaps))


def _together(estimate: Estimate) -> Latencies:
    first, *others = (sample.latencies for sample in estimate.windows)
    return reduce(Latencies.merged, others, first)


def _expected(point: Candidate, times: Mapping[Runner, BatchTime]) -> tuple[float, float]:
    setting = point.setting
    time = time_of(busy(point), times)
    rate, latency = expected(time, setting.instances, setting.max_batch, setting.delay_us / 1e6, point.load)
    return math.log(rate), math.log(1.3 * latency)


def _features(point: Candidate, times: Mapping[Runner, BatchTime]) -> tuple[float, ...]:
    setting = point.setting
    whole = time_of(busy(point), times).seconds(max(setting.max_batch, 1))
    waits = min(setting.delay_us / 1e6 / whole, 1.0)
    return (
        math.log2(setting.instances),
        math.log2(max(setting.threads, 1)),
        math.log2(max(setting.max_batch, 1)),
        1.0 + 1.5 * waits if waits else 0.0,  # whether it waits at all matters more than how long
        float(len(setting.preferred)),
        math.log2(max(point.load.value, 1e-9)),
    )


@dataclass(frozen=True)
class _Map:
    """Where the points lie."""

    features: list[tuple[float, ...]]
    runners: list[int]
    """Number of each point's arrangement."""
    known: list[int]
    """Those that were measured."""

    @classmethod
    def of(cls, points: Sequence[Candidate], known: list[int], times: Mapping[Runner, BatchTime]) -> _Map:
        names = [Runner(point.setting.instances, point.setting.threads) for point in points]
        numbers = {name: number for number, name in enumerate(sorted(set(names)))}
        return cls([_features(point, times) for point in points], [numbers[name] for name in names], known)

    def alike(self) -> Any:
        """How much alike the measured points are: near each other, of one arrangement, the same."""
        import numpy as np

        places = (np.asarray(self.features) / np.asarray(_LENGTHS))[self.known]
        runners = np.asarray(self.runners)[self.known]
        distance = ((places[:, None, :] - places[None, :, :]) ** 2).sum(axis=2)
        return np.exp(-distance / 2) + np.equal.outer(runners, runners) + np.eye(len(self.known))


@dataclass(frozen=True)
class _Seen:
    """What was measured, for each point that was."""

    values: Sequence[Sequence[float]]
    """Of each window."""
    seconds: Sequence[Sequence[float]]
    """Their lengths."""
    doubts: Sequence[float]
    """Variance that more windows would not lower."""


def _interpolated(map_: _Map, prior: Sequence[float], windows: _Seen, scale: _Scale) -> list[Normal]:
    """What is known of every point: a Gaussian process over what was measured, relative to `prior`."""
    import numpy as np

    known, runners = map_.known, np.asarray(map_.runners)
    places = np.asarray(map_.features) / np.asarray(_LENGTHS)
    variance = _variance(windows, scale.window)
    noise = np.asarray([variance / sum(seconds) for seconds in windows.seconds]) + np.asarray(windows.doubts)
    centres = [middle(*pair) for pair in zip(windows.values, windows.seconds, strict=True)]
    seen = np.asarray(centres) - np.asarray([prior[n] for n in known])
    distance = ((places[known][:, None, :] - places[None, :, :]) ** 2).sum(axis=2)
    own, group = _strange(seen, known, runners, scale)
    cross = scale.common**2 + scale.signal**2 * np.exp(-distance / 2) + np.equal.outer(runners[known], runners) * group
    cross[np.arange(len(known)), known] += own[known]
    weights = np.linalg.solve(cross[:, known] + np.diag(noise), cross)
    means = np.asarray(prior) + seen @ weights
    left = scale.common**2 + scale.signal**2 + own + group - (cross * weights).sum(axis=0)
    left = np.maximum(left, 1e-12)
    return [
        Normal(mean, sd, math.sqrt(variance)) for mean, sd in zip(means.tolist(), np.sqrt(left).tolist(), strict=True)
    ]


def _strange(seen: Any, known: list[int], runners: Any, scale: _Scale) -> tuple[Any, Any]:
    """Variance of each point of its own, and of its arrangement: larger where something is far off all the rest.

    A server may stall with one instance and not with two; a window may be disturbed. Neither says anything about the others.
    """
    import numpy as np

    own, group = np.full(len(runners), scale.own**2), np.full(len(runners), scale.own**2)
    here = runners[known]
    middle = np.median([np.median(seen[here == label]) for label in set(here.tolist())])
    for label in set(here.tolist()):
        values, numbers = seen[here == label], np.asarray(known)[here == label]
        typical = float(np.median(values))
        group[runners == label] += max(abs(typical - middle) - 2 * scale.signal, 0.0) ** 2
        far = np.abs(values - (typical if len(values) > 1 else middle))
        own[numbers] += np.maximum(far - 2 * scale.signal, 0.0) ** 2
    return own, group


def _variance(windows: _Seen, assumed: float) -> float:
    """Of a second, between windows of one point, pooled over all points."""
    total, degrees = _PRIOR_WEIGHT * assumed**2, float(_PRIOR_WEIGHT)
    for values, seconds in zip(windows.values, windows.seconds, strict=True):
        if len(values) > 1:
            usual = middle(values, seconds)
            # one window that was far off must not make all others worthless
            total += sum(
                length * min(abs(value - usual), 3 * assumed / math.sqrt(length)) ** 2
                for value, length in zip(values, seconds, strict=True)
            )
            degrees += len(values) - 1
    return total / degrees


def _below(limit: float, mean: float, sd: float) -> float:
    return 0.5 * math.erfc((mean - limit) / (sd * math.sqrt(2))) if sd >= _EXACT else float(mean <= limit)
