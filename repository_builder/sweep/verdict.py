"""Is the winner better than what was there? Pairs, measured in turns and freshly loaded, answer with an interval."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from repository_builder.sweep.sample import Sample

_T95 = {
    1: 12.71,
    2: 4.30,
    3: 3.18,
    4: 2.78,
    5: 2.57,
    6: 2.45,
    7: 2.36,
    8: 2.31,
    9: 2.26,
    10: 2.23,
    15: 2.13,
    20: 2.09,
    30: 2.04,
}
"""Student's t for a two-sided 95 % interval, by degrees of freedom."""
NOISY_SHARE = 0.5


@dataclass(frozen=True)
class Gain:
    """A paired change as a share: 0.31 is 31 % more."""

    mean: float
    low: float
    high: float
    """95 % interval."""
    pairs: int

    @property
    def certain(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        if math.isinf(self.high):
            return f"{self.mean:+.0%} (one pair: no interval)"
        return f"{self.mean:+.0%} ({self.low:+.0%} to {self.high:+.0%})"


@dataclass(frozen=True)
class Verdict:
    """The comparison of the winner with the starting configuration."""

    throughput: Gain
    p99: Gain
    """Negative: the winner is faster."""
    winner_over_budget: bool
    """Whether the pairs say that the winner breaks the budget after all."""
    noisy: bool
    """Whether half of all windows were disturbed by other processes: then nothing above can be trusted."""
    drift: float
    """Change of the starting configuration's throughput from the first to the last pair: a machine that throttles."""
    poisson: tuple[float, float] | None = None
    """p99 in seconds of start and winner under the same Poisson arrivals."""
    poisson_rate: float = 0.0
    """Arrivals per second of that check."""

    def __str__(self) -> str:
        if self.noisy:
            return "this machine is too noisy to tell: other processes disturbed half of the windows"
        if self.winner_over_budget:
            return "no better configuration: the winner of the search broke the budget when it was measured again"
        if not self.throughput.certain and not self.p99.certain:
            return f"no difference found: throughput {self.throughput}, p99 {self.p99}"
        return f"throughput {self.throughput}, p99 {self.p99}"

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        value = asdict(self)
        for name in ("throughput", "p99"):
            value[name] = {key: _finite(number) for key, number in value[name].items()}
        return value | {"text": str(self)}


def paired(before: Sequence[float], after: Sequence[float]) -> Gain:
    """The mean change of pairs with its 95 % interval (Student, on logarithms, so that halving and doubling weigh the same)."""
    if len(before) != len(after) or not before:
        raise ValueError(f"{len(before)} and {len(after)} values are no pairs")
    if min(*before, *after) <= 0:
        raise ValueError("only positive values can be compared as ratios")
    logs = [math.log(new / old) for old, new in zip(before, after, strict=True)]
    mean = statistics.fmean(logs)
    if len(logs) == 1:
        return Gain(math.expm1(mean), -1.0, math.inf, 1)
    half = _t95(len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    return Gain(math.expm1(mean), math.expm1(mean - half), math.expm1(mean + half), len(logs))


def judge_pairs(
    before: Sequence[Sample], after: Sequence[Sample], *, budget_s: float | None, disturbed_cores: float
) -> Verdict:
    """The verdict on pairs of samples of the starting configuration and the winner."""
    throughput = paired([sample.throughput for sample in before], [sample.throughput for sample in after])
    p99 = paired([sample.p99 for sample in before], [sample.p99 for sample in after])
    bad = sum(sample.foreign_cores > disturbed_cores for sample in (*before, *after))
    over = budget_s is not None and statistics.median(sample.p99 for sample in after) > budget_s
    drift = before[-1].throughput / before[0].throughput - 1
    return Verdict(throughput, p99, over, bad >= NOISY_SHARE * (len(before) + len(after)), drift)


def _t95(degrees: int) -> float:
    return _T95[max(known for known in _T95 if known <= degrees)]


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
