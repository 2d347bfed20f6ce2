"""Which points there are for the model that is being varied: its arrangements, batches, delays, and loads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Literal

from repository_builder.sweep.model import BatchTime
from repository_builder.sweep.sample import Candidate, Load, Setting

DELAY_SHARES = (0.0, 1 / 6, 1 / 3)
"""Queue delays as shares of the time of a full batch: the third gave +12 % throughput and -20 % p99 on the reference model."""
_ROUND = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0)
"""Delays are rounded to these times a power of ten: what exactly they are does not matter, and round ones can be compared."""


@dataclass(frozen=True, order=True)
class Runner:
    """How a model occupies the machine: instances and threads of each (0: not a knob)."""

    instances: int
    threads: int = 0


@dataclass(frozen=True)
class Space:
    """Everything that may be tried for one Triton model."""

    model: str
    start: Setting
    runners: tuple[Runner, ...]
    batches: tuple[int, ...]
    """Ascending; (0,) for a model that does not batch. Never beyond a profile of its engine."""
    concurrency: tuple[int, int] = (1, 64)
    """Lowest and highest."""
    loads: tuple[float, ...] = ()
    """Exactly these loads; empty: around the point where all instances are full."""
    kind: Literal["concurrency", "rate"] = "concurrency"
    delays: bool = True
    delays_us: tuple[int, ...] = ()
    """Exactly these queue delays; empty: shares of the time of a full batch."""
    preferred: tuple[tuple[int, ...], ...] = field(default=((),))

    @property
    def largest_batch(self) -> int:
        """The largest batch that may be tried."""
        return self.batches[-1]

    @property
    def highest_load(self) -> Load:
        """The heaviest load that may be tried."""
        return Load(max(self.loads) if self.loads else self.concurrency[1], self.kind)

    @property
    def lowest_load(self) -> Load:
        """The lightest load that may be tried."""
        return Load(min(self.loads) if self.loads else self.concurrency[0], self.kind)

    def delay_choices(self, time: BatchTime, batch: int) -> tuple[int, ...]:
        """Queue delays in microseconds for batches of up to `batch`."""
        if batch <= 1 or not self.delays:
            return (0,)
        if self.delays_us:
            return self.delays_us
        whole = time.seconds(batch) * 1e6
        return tuple(sorted({rounded(whole * share) for share in DELAY_SHARES}))

    def loads_for(self, instances: int, batch: int) -> Iterator[Load]:
        """Loads worth trying: half of what fills all instances, to twice that; at least the bounds of the range."""
        if self.loads:
            yield from (Load(value, self.kind) for value in self.loads)
            return
        low, high = self.concurrency
        full = instances * max(batch, 1)
        for value in sorted({min(max(full * share // 2, low), high) for share in (1, 2, 3, 4)}):
            yield Load(value)

    def settings(self, runner: Runner, time: BatchTime) -> Iterator[Setting]:
        """Every setting of one arrangement."""
        for batch, preferred in product(self.batches, self.preferred):
            if preferred and preferred[-1] != batch:
                continue  # below the maximum a preferred size would cap batches, above it Triton refuses it
            for delay in self.delay_choices(time, batch):
                yield Setting(runner.instances, batch, delay, preferred, runner.threads)

    def freed(self, point: Candidate, largest: int) -> Candidate:
        """The point by its one name, where several settings cannot differ.

        Waiting clients that are fewer than the largest batch never fill one: without a queue delay all such limits are the
        same, and the one that is set already stands for them, else the largest that the server takes.
        """
        setting, clients = point.setting, point.load.value
        if point.load.kind != "concurrency" or setting.delay_us or setting.preferred or setting.max_batch < clients:
            return point
        start = self.start.max_batch
        batch = start if start in self.batches and clients <= start <= largest else largest
        return replace(point, setting=replace(setting, max_batch=batch)) if batch >= clients else point

    def nearest_load(self, value: float) -> Load | None:
        """The heaviest load that may be tried and is not above `value`."""
        if self.loads:
            fitting = [load for load in self.loads if load <= value]
            return Load(max(fitting), self.kind) if fitting else None
        low, high = self.concurrency
        return Load(min(int(value), high)) if value >= low else None


def runners(cores: int, start: Setting, *, threads: bool, gpu: bool) -> tuple[Runner, ...]:
    """Arrangements worth a probe: on a GPU up to four instances; on the CPU those that use about all of its cores."""
    if gpu:
        found = {Runner(count) for count in (1, 2, 3, 4)}
    elif not threads:
        found = {Runner(count) for count in (1, 2, 3, *_powers(cores)) if count <= cores + 1}
    else:
        sizes = sorted({1, 2, 3, *_powers(cores)})
        found = {
            Runner(instances, width)
            for instances, width in product(sizes, sizes)
            if cores / 2 <= instances * width <= max(cores + 1, 2) and width <= cores
        }
    return tuple(sorted(found | {Runner(start.instances, start.threads)}))


def batches(limit: int, start: int) -> tuple[int, ...]:
    """Powers of two up to the limit, with the limit and the present value; (0,) for a model that does not batch."""
    return (0,) if limit == 0 else tuple(sorted({1, *_powers(limit), min(start, limit) or 1, limit}))


def preferred_choices(optima: Iterable[int], limits: Iterable[int]) -> tuple[tuple[int, ...], ...]:
    """Preferred sizes: none, or the optimum batches of several profiles up to each maximum, which is always included."""
    optima = sorted(set(optima))
    if len(optima) < 2:
        return ((),)
    return tuple(
        sorted({(), *(tuple(sorted({*(size for size in optima if size < top), top})) for top in limits if top)})
    )


def start_candidate(space: Space, value: float) -> Candidate:
    """The configuration as it is, under a load."""
    return Candidate(space.start, Load(value, space.kind))


def rounded(delay_us: float) -> int:
    """The nearest round number, by ratio; 0 below a microsecond."""
    if delay_us < 1:
        return 0
    unit = 10.0 ** math.floor(math.log10(delay_us))
    return round(unit * min(_ROUND, key=lambda value: abs(math.log(value * unit / delay_us))))


def _powers(limit: int) -> Iterator[int]:
    size = 1
    while size <= limit:
        yield size
        size *= 2
