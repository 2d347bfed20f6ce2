"""A synthetic Triton for tests: a closed loop of clients, a dynamic batcher, instances, and the noise of a real machine.

Batch times and noise are those measured on a real server (two cores, 10-ms MLP): between two loads of one configuration the
level shifts by 5 % (standard deviation), windows drift within, and now and then other processes disturb one.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from dataclasses import dataclass, field, replace

from repository_builder.sweep.latency import Latencies
from repository_builder.sweep.sample import BatchCount, Candidate, Load, ModelTimes, Refused, Sample

SINGLE = {1: 12.2e-3, 2: 13.0e-3, 4: 14.5e-3, 8: 17.9e-3, 16: 28.3e-3, 32: 50.0e-3}
"""Seconds of a batch, one instance with one thread."""
CONTENTION = {1: 1.05, 2: 1.28, 3: 1.95, 4: 2.75}
"""Instances on two cores slow each other down."""


def batch_time(instances: int, batch: int) -> float:
    """True seconds of a batch: piecewise linear between the measured sizes."""
    sizes = sorted(SINGLE)
    low = max(size for size in sizes if size <= batch)
    high = min((size for size in sizes if size >= batch), default=sizes[-1])
    share = 0.0 if high == low else (batch - low) / (high - low)
    return (SINGLE[low] + share * (SINGLE[high] - SINGLE[low])) * CONTENTION[instances]


@dataclass
class World:
    """A machine; `noise=0` is the truth."""

    seed: int = 0
    noise: float = 0.05
    disturbed: float = 0.04
    """Share of windows in which something else wants the processor."""
    fails_above: int = 10**9
    """Batches above this size are refused."""
    flat: bool = False
    """Batching does not help: a batch takes as long as its items one by one."""
    reload_s: float = 2.0
    spent: float = 0.0
    windows: int = 0
    reloads: int = 0
    _loaded: object = None
    _level: float = 1.0
    random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def __call__(self, candidate: Candidate, seconds: float, *, reload: bool = False) -> Sample | Refused:
        setting = candidate.setting
        if setting.max_batch > self.fails_above:
            self.spent += self.reload_s
            return Refused("out of memory")
        if reload or self._loaded != setting:
            self._loaded = setting
            self._level = math.exp(self.random.gauss(0, self.noise))
            self.spent += self.reload_s
            self.reloads += 1
        self.spent += seconds + 0.55
        self.windows += 1
        return self._window(candidate, seconds)

    def clock(self) -> float:
        """Seconds that measuring has taken."""
        return self.spent

    def _window(self, candidate: Candidate, seconds: float) -> Sample:
        began = self.spent - seconds
        hit = self.random.random() < self.disturbed
        slow = self._level * (self.random.uniform(1.2, 1.8) if hit else 1.0)
        run = _Run(self, candidate, slow)
        run.go(seconds)
        foreign = self.random.uniform(0.5, 1.0) if hit else self.random.uniform(0.01, 0.2)
        return replace(run.sample(seconds, foreign), began=began)

    def service(self, instances: int, batch: int) -> float:
        """Undisturbed seconds of a batch."""
        if self.flat:
            return SINGLE[1] * CONTENTION[instances] * batch
        return batch_time(instances, batch)


class _Run:
    """One window of the discrete-event simulation."""

    def __init__(self, world: World, candidate: Candidate, slow: float) -> None:
        self.world, self.candidate, self.slow = world, candidate, slow
        self.setting, self.load = candidate.setting, candidate.load
        self.events: list[tuple[float, int, str, tuple[float, ...]]] = []
        self.queue: deque[float] = deque()
        self.free = self.setting.instances
        self.number = 0
        self.drift = 0.0
        self.latencies: list[float] = []
        self.queued = 0.0
        self.batches: dict[int, tuple[int, float]] = {}

    def push(self, when: float, what: str, batch: tuple[float, ...] = ()) -> None:
        self.number += 1
        heapq.heappush(self.events, (when, self.number, what, batch))

    def go(self, seconds: float) -> None:
        warm = 0.3
        self.start, self.end = warm, warm + seconds
        chance = self.world.random
        if self.load.kind == "concurrency":
            for _ in range(int(self.load.value)):
                self.push(chance.uniform(0, 0.005), "arrive")
        else:
            self.push(chance.expovariate(self.load.value), "arrive")
        while self.events:
            now, _, what, batch = heapq.heappop(self.events)
            if now > self.end:
                break
            if what == "arrive":
                self.queue.append(now)
                if self.load.kind == "rate":
                    self.push(now + chance.expovariate(self.load.value), "arrive")
            elif what == "done":
                self.free += 1
                self.finish(now, batch)
            self.dispatch(now)

    def finish(self, now: float, batch: tuple[float, ...]) -> None:
        for arrived in batch:
            if now >= self.start:
                self.latencies.append(now - arrived + 0.0008)
            if self.load.kind == "concurrency":
                self.push(now + self.world.random.uniform(0.0001, 0.0007), "arrive")

    def dispatch(self, now: float) -> None:
        full, delay = max(self.setting.max_batch, 1), self.setting.delay_us / 1e6
        while self.free and self.queue:
            due = self.queue[0] + delay
            if len(self.queue) < full and now < due - 1e-9:
                self.push(due, "look")
                return
            members = tuple(self.queue.popleft() for _ in range(min(full, len(self.queue))))
            self.free -= 1
            self.drift = 0.6 * self.drift + self.world.random.gauss(0, 0.6 * self.world.noise)
            jitter = (
                0.95 * math.exp(self.world.random.gauss(0, 0.10)) * (1.6 if self.world.random.random() < 0.01 else 1.0)
            )
            time = self.world.service(self.setting.instances, len(members)) * self.slow * math.exp(self.drift) * jitter
            if now >= self.start:
                count, total = self.batches.get(len(members), (0, 0.0))
                self.batches[len(members)] = (count + 1, total + time)
                self.queued += sum(now - arrived for arrived in members)
            self.push(now + time, "done", members)

    def sample(self, seconds: float, foreign: float) -> Sample:
        executions = sum(count for count, _ in self.batches.values())
        requests = sum(size * count for size, (count, _) in self.batches.items())
        compute = sum(size * total for size, (_, total) in self.batches.items())
        counts = tuple(BatchCount(size, count, total) for size, (count, total) in sorted(self.batches.items()))
        times = ModelTimes(requests, executions, self.queued, 0.0, compute, 0.0, counts)
        latencies = Latencies.of(self.latencies)
        return Sample(latencies.count / seconds, latencies, seconds, {"model": times}, foreign_cores=foreign)


def truth(candidate: Candidate, seconds: float = 20.0) -> Sample:
    """What a candidate really gives."""
    sample = World(noise=0.02, disturbed=0.0)(candidate, seconds)
    assert isinstance(sample, Sample)
    return sample


def concurrency(value: float) -> Load:
    """A closed loop."""
    return Load(value)
