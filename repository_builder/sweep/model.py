"""What can be said about a point without measuring it: batch times fitted from Triton's own statistics, and bounds.

T(b), the time of a batch of b, is fitted as a + m·b for each number of instances and threads. Then

- i instances cannot give more than i·b / T(b), and with c waiting clients their batches hold c together at most;
- with c clients in a closed loop the mean latency is c / throughput, so p99 is at least c / bound.

Both bounds hold up to the noise of the fit, for which there is a margin.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from repository_builder.sweep.sample import BatchCount, Load

MARGIN = 1.15
"""With 1.3 half as many points again had to be measured on the reference model; below 1.1 good ones were lost."""
_TRUSTED = 5
"""Executions of a batch size from which its mean time is taken as it is."""


@dataclass(frozen=True)
class BatchTime:
    """T(b) of one arrangement of instances and threads, in seconds."""

    fixed: float
    per_item: float
    seen: Mapping[int, float]
    """Mean time of the batch sizes that ran often enough."""

    def seconds(self, batch: int) -> float:
        """The time of a batch of `batch`: measured where possible, else the line."""
        return self.seen.get(batch) or max(self.fixed + self.per_item * batch, 1e-9)


def fit(batches: Iterable[BatchCount]) -> BatchTime | None:
    """Weighted least squares of a + m·b with a, m ≥ 0; None without any execution.

    From one batch size alone the split is unknown: all of it is taken as per item, which never makes a bound too low.
    """
    sizes: dict[int, tuple[int, float]] = {}
    for batch in batches:
        count, seconds = sizes.get(batch.size, (0, 0.0))
        sizes[batch.size] = (count + batch.count, seconds + batch.seconds)
    points = [(size, count, seconds / count) for size, (count, seconds) in sorted(sizes.items()) if count and size]
    if not points:
        return None
    seen = {size: mean for size, count, mean in points if count >= _TRUSTED}
    weight = sum(count for _, count, _ in points)
    mean_size = sum(size * count for size, count, _ in points) / weight
    mean_time = sum(time * count for _, count, time in points) / weight
    spread = sum(count * (size - mean_size) ** 2 for size, count, _ in points)
    together = sum(count * (size - mean_size) * (time - mean_time) for size, count, time in points)
    slope = min(max(together / spread, 0.0), mean_time / mean_size) if spread > 0 else mean_time / mean_size
    return BatchTime(mean_time - slope * mean_size, slope, seen)


def merged(before: Iterable[BatchCount], more: Iterable[BatchCount]) -> tuple[BatchCount, ...]:
    """Both together, one entry per batch size."""
    sums: dict[int, tuple[int, float]] = {}
    for batch in (*before, *more):
        count, seconds = sums.get(batch.size, (0, 0.0))
        sums[batch.size] = (count + batch.count, seconds + batch.seconds)
    return tuple(BatchCount(size, count, seconds) for size, (count, seconds) in sorted(sums.items()))


def throughput_bound(time: BatchTime, instances: int, batch: int, load: Load, margin: float = MARGIN) -> float:
    """Inferences per second that cannot be exceeded.

    With c waiting clients an instance gets c/i of them at best (b / T(b) is concave), and never more than the largest batch.
    """
    size = max(batch, 1)
    if load.kind == "rate":
        return min(load.value, margin * instances * size / time.seconds(size))
    share = min(size, max(1, math.ceil(load.value / instances)))
    return margin * min(instances * share, load.value) / time.seconds(share)


def latency_floor(time: BatchTime, instances: int, batch: int, load: Load, margin: float = MARGIN) -> float:
    """Seconds below which p99 cannot fall: the mean by Little's law, or one execution."""
    single = time.seconds(1) / margin
    if load.kind == "rate":
        return single
    return max(single, load.value / throughput_bound(time, instances, batch, load, margin))


def together(instances: int, batch: int, load: Load, *, waits: bool) -> tuple[int, int]:
    """How many instances are busy at once, and with how many items each.

    Without a queue delay the waiting clients spread over all instances; with one they fill batches, and the rest of the
    instances is idle. So a third instance with a delay may be no third one at all.
    """
    size = max(batch, 1)
    if load.kind == "rate":
        return instances, size
    clients = max(int(load.value), 1)
    if waits:
        share = min(size, clients)
        return min(instances, clients // share), share
    return min(instances, clients), min(size, math.ceil(clients / instances))


def expected(time: BatchTime, instances: int, batch: int, delay_s: float, load: Load) -> tuple[float, float]:
    """Inferences per second and mean latency (s) if everything goes as it should; off by up to a half.

    `time` is that of as many instances as are busy at once (`together`).
    """
    busy, share = together(instances, batch, load, waits=delay_s > 0)
    if load.kind == "rate":
        limit = busy * share / time.seconds(share)
        return min(load.value, limit), (time.seconds(1) + delay_s) / (1 - min(load.value / limit, 0.95))
    idle = delay_s if load.value < max(batch, 1) else 0.0
    rate = min(busy * share, load.value) / (time.seconds(share) + idle)
    return rate, load.value / rate


def little(concurrency: float, p99: float, budget: float) -> int:
    """The concurrency at which p99 would meet the budget, latency being proportional to it at saturation; at least 1."""
    return max(1, math.floor(concurrency * budget / p99)) if p99 > 0 else max(1, int(concurrency))


def wilson(hits: float, trials: float, z: float = 1.64) -> tuple[float, float]:
    """Wilson's interval of a proportion; (0, 1) without trials."""
    if trials < 1e-6:
        return 0.0, 1.0
    share = hits / trials
    middle = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)
