"""How fast the machine was in each window, told by the time that its batches took; and T(b) of every arrangement.

A virtual machine is slower for some seconds, then faster again, by 8 % or so. All points share that, so it can be taken out
of what was seen of each; what is left hardly differs between windows or loads.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from repository_builder.sweep.goal import Estimate
from repository_builder.sweep.model import BatchTime, fit, together
from repository_builder.sweep.sample import BatchCount, Candidate
from repository_builder.sweep.space import Runner

_DRIFT, _DRIFT_S, _BRIEF = 0.06, 10.0, 0.07
"""The machine's pace: a standard deviation that lasts so many seconds, and one of each second (of a virtual machine)."""
_OWN = (0.02, 0.05, 0.1, 0.2)
"""Standard deviations that the pace of points may have: how well T(b) fits a model is seen, not assumed."""
_FAR = 0.3
"""A pace farther than this from the rest belongs to the moment, not to the point."""
_SHORTEST = 1e-9
"""Seconds that a window has at least."""
_UNKNOWN = BatchTime(0.01, 0.0, {})
"""Where no batch has run at all (every answer came from the response cache): any time will do, what is measured corrects it."""
_ROUNDS = 4
"""Of fitting the line and the factors in turns."""


def busy(point: Candidate) -> Runner:
    """The instances that are busy at once, as an arrangement."""
    setting = point.setting
    count, _ = together(setting.instances, setting.max_batch, point.load, waits=setting.delay_us > 0)
    return Runner(count, setting.threads)


def batch_times(batches: Mapping[Runner, Iterable[BatchCount]]) -> dict[Runner, BatchTime]:
    """T(b) of every arrangement that ran: one line for all, each times a factor of its own.

    An arrangement that ran one batch size only would not have a line of its own.
    """
    points = {runner: means for runner, counts in batches.items() if (means := _means(counts))}
    factors = dict.fromkeys(points, 1.0)
    line = BatchTime(0.0, 0.0, {})
    for _ in range(_ROUNDS if points else 0):
        line = (
            fit(BatchCount(b.size, b.count, b.seconds / factors[name]) for name in points for b in points[name]) or line
        )
        for runner, means in points.items():
            off = sum(b.count * math.log(b.seconds / b.count / _on(line, b.size)) for b in means)
            factors[runner] = math.exp(off / sum(b.count for b in means))
    return {runner: BatchTime(line.fixed * f, line.per_item * f, {}) for runner, f in factors.items()}


def _on(line: BatchTime, size: int) -> float:
    return max(line.fixed + line.per_item * size, 1e-9)


def _means(counts: Iterable[BatchCount]) -> list[BatchCount]:
    return [batch for batch in counts if batch.size and batch.count and batch.seconds > 0]


def time_of(runner: Runner, times: Mapping[Runner, BatchTime]) -> BatchTime:
    """Batch times of an arrangement, from the nearest that ran.

    An instance less can at best leave its share of the machine to the others, and at worst nothing: half of that is assumed.
    """
    if runner in times or not times:
        return times.get(runner, _UNKNOWN)
    nearest = min(times, key=lambda other: (_far(runner, other), other))
    factor = math.sqrt(runner.instances / nearest.instances * max(nearest.threads, 1) / max(runner.threads, 1))
    return BatchTime(times[nearest].fixed * factor, times[nearest].per_item * factor, {})


def paces(estimate: Estimate, times: Mapping[Runner, BatchTime], model: str) -> list[float]:
    """The time that the batches of each window took, relative to what batches of their sizes take; as logarithms.

    Nearly all of the noise between windows is this: the processor is slower at times. On a shared machine the standard
    deviation of the throughput of a second was 9 % before it is taken out, and 4 % after; of the p99, 12 and 8 %.
    """
    time = time_of(busy(estimate.candidate), times)
    found = []
    for sample in estimate.windows:
        batches = sample.times(model).batches
        wanted = sum(batch.count * time.seconds(batch.size) for batch in batches)
        found.append(math.log(sum(batch.seconds for batch in batches) / wanted) if wanted > 0 else 0.0)
    return found


def slowness(
    measured: Sequence[Estimate], seen: Sequence[Sequence[float]], alike: Any
) -> tuple[list[list[float]], list[float]]:
    """What of the pace of each window belongs to the moment, not to the point (zero mostly), and each point's variance of it.

    The moment is told from the point by what was measured shortly before and after, whatever point that was, by what is like
    the point, and by repetition: a Gaussian process over the points (`alike` says how much they are) and over time.
    """
    import numpy as np

    samples = [sample for estimate in measured for sample in estimate.windows]
    owner = np.asarray([number for number, estimate in enumerate(measured) for _ in estimate.windows])
    seconds = np.asarray([max(sample.seconds, _SHORTEST) for sample in samples])
    middles = np.asarray([sample.began for sample in samples]) + seconds / 2
    values = np.asarray([pace for windows in seen for pace in windows])
    moment = _DRIFT**2 * np.exp(-np.abs(middles[:, None] - middles[None, :]) / _DRIFT_S)
    moment += np.diag(_BRIEF**2 / seconds)
    usually = np.median(values)
    calm = np.clip(values - usually, -_FAR, _FAR)
    own = max(_OWN, key=lambda sd: _likelihood(calm, sd**2 * alike[np.ix_(owner, owner)] + moment))
    between = own**2 * alike
    weights = np.linalg.solve(between[np.ix_(owner, owner)] + moment, between[owner])
    doubts = np.maximum(np.diag(between) - (between[owner] * weights).sum(axis=0), 0.0)
    slower = values - (usually + calm @ weights)[owner]
    slower -= middle(slower.tolist(), seconds.tolist())
    ends = np.cumsum([len(windows) for windows in seen])[:-1]
    return [part.tolist() for part in np.split(slower, ends)], doubts.tolist()


def _likelihood(values: Any, covariance: Any) -> float:
    """The logarithm, but for a constant, of how likely these values are."""
    import numpy as np

    _, size = np.linalg.slogdet(covariance)
    return float(-size - values @ np.linalg.solve(covariance, values))


def _far(one: Runner, other: Runner) -> float:
    return abs(math.log(one.instances / other.instances)) + abs(math.log(max(one.threads, 1) / max(other.threads, 1)))


def middle(values: Sequence[float], weights: Sequence[float]) -> float:
    """The weighted median: half of the weight lies on either side."""
    ordered = sorted(zip(values, weights, strict=True))
    half, passed = sum(weights) / 2, 0.0
    for number, (value, weight) in enumerate(ordered):
        passed += weight
        if passed > half * (1 + 1e-9):
            return value
        if passed >= half * (1 - 1e-9):
            return (value + ordered[min(number + 1, len(ordered) - 1)][0]) / 2
    return ordered[-1][0]
