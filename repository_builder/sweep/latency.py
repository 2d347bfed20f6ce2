"""Latencies of a window as a histogram whose bins are 1 % wide: small enough to keep for every window, and mergeable."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_STEP = math.log(1.01)


@dataclass(frozen=True)
class Latencies:
    """How long requests took. Every quantile is exact to 1 %."""

    bins: Mapping[int, int]
    """Bin number k → requests that took between 1.01^k and 1.01^(k+1) microseconds."""
    total_s: float
    """Sum of all latencies, in seconds."""

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Latencies:
        """The histogram of these latencies."""
        values = list(seconds)
        return cls(dict(Counter(map(_bin, values))), sum(values))

    @property
    def count(self) -> int:
        """Number of requests."""
        return sum(self.bins.values())

    @property
    def mean(self) -> float:
        """Mean in seconds; 0 without requests."""
        return self.total_s / self.count if self.bins else 0.0

    def quantile(self, q: float) -> float:
        """The latency in seconds that a share `q` of the requests does not exceed; 0 without requests."""
        wanted, seen = q * self.count, 0
        for number in sorted(self.bins):
            seen += self.bins[number]
            if seen >= wanted:
                return _seconds(number)
        return 0.0

    def over(self, limit_s: float) -> int:
        """Requests that took longer than `limit_s`."""
        return sum(count for number, count in self.bins.items() if _seconds(number) > limit_s)

    def merged(self, other: Latencies) -> Latencies:
        """Both windows together."""
        return Latencies(dict(Counter(self.bins) + Counter(other.bins)), self.total_s + other.total_s)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"bins": {str(number): count for number, count in sorted(self.bins.items())}, "total_s": self.total_s}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Latencies:
        """Inverse of `as_json`."""
        return cls({int(number): count for number, count in value["bins"].items()}, value["total_s"])


def _bin(seconds: float) -> int:
    return int(math.log(max(seconds * 1e6, 1.0)) / _STEP)


def _seconds(number: int) -> float:
    """The middle of a bin."""
    return math.exp((number + 0.5) * _STEP) / 1e6
