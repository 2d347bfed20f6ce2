"""Windows recorded on a real server, and a bench that plays them back: the search against real noise, at no cost.

A recording holds, for every setting and load that was measured, several *loads* of the model (it was loaded anew before each)
with one or more windows of a second in each. Played back, a (re)load picks one of the recorded loads at random, and a window
as many of its windows as it has seconds; time passes as it did when they were recorded.
"""

from __future__ import annotations

import gzip
import json
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repository_builder.sweep.latency import Latencies
from repository_builder.sweep.model import merged
from repository_builder.sweep.sample import BatchCount, Candidate, Load, ModelTimes, Refused, Sample, Setting

MODEL = "model"
Loads = dict[float, list[list[Sample]]]
"""Load → recorded loads of the model → windows."""


@dataclass(frozen=True)
class Recording:
    """What was measured."""

    delays: Mapping[tuple[int, int], tuple[int, ...]]
    """(instances, largest batch) → the queue delays (µs) that were recorded."""
    settings: Mapping[Setting, Loads]
    reload_s: Mapping[int, float]
    """Instances → seconds to load the model anew."""
    window_s: float
    """Seconds that a window of a second takes."""

    def nearest(self, candidate: Candidate) -> tuple[Setting, float]:
        """The recorded point that behaves like this one.

        Delays are matched by rank; a largest batch that the load cannot fill is as good as half of it; between two recorded
        loads the heavier one stands in.
        """
        setting, load = candidate.setting, candidate.load.value
        batch = setting.max_batch
        while True:
            known = self.delays[setting.instances, batch]
            delay = min(known, key=lambda value: abs(value - setting.delay_us))
            found = Setting(setting.instances, batch, delay, (), setting.threads)
            loads = self.settings.get(found, {})
            heavier = [value for value in loads if value >= load]
            if heavier and (load >= min(loads) or batch == 1):
                return found, min(heavier)
            if batch == 1:
                return found, max(loads)
            batch //= 2

    def windows(self, candidate: Candidate) -> list[Sample]:
        """Every window of a point."""
        setting, load = self.nearest(candidate)
        return [sample for windows in self.settings[setting][load] for sample in windows]

    def truth(self, candidate: Candidate) -> tuple[float, float]:
        """Median inferences/s over all windows, and the median over loads of p99 (s) of all that was seen in one.

        Medians, since the machine is slower at times, and which points that hits is chance.
        """
        setting, load = self.nearest(candidate)
        runs = self.settings[setting][load]
        throughput = statistics.median(sample.throughput for windows in runs for sample in windows)
        return throughput, statistics.median(_merged(windows).quantile(0.99) for windows in runs)

    def optimum(self, budget_s: float, slack: float = 1.0, *, delays: bool = True) -> tuple[Candidate, float]:
        """The best recorded point that keeps the budget; without `delays` among those without a queue delay."""
        best = None
        for setting, loads in self.settings.items():
            for load in loads if delays or not setting.delay_us else ():
                candidate = Candidate(setting, Load(load))
                throughput, p99 = self.truth(candidate)
                if p99 <= slack * budget_s and (best is None or throughput > best[1]):
                    best = candidate, throughput
        if best is None:
            raise ValueError(f"nothing in the recording keeps {budget_s} s")
        return best


def _merged(windows: Sequence[Sample]) -> Latencies:
    total = windows[0].latencies
    for sample in windows[1:]:
        total = total.merged(sample.latencies)
    return total


def _joined(samples: Sequence[Sample], began: float) -> Sample:
    """Windows of a second as one long window."""
    times = [sample.times(MODEL) for sample in samples]
    together = ModelTimes(
        sum(part.requests for part in times),
        sum(part.executions for part in times),
        sum(part.queue_s for part in times),
        sum(part.input_s for part in times),
        sum(part.infer_s for part in times),
        sum(part.output_s for part in times),
        merged((), (batch for part in times for batch in part.batches)),
    )
    return Sample(
        statistics.fmean(sample.throughput for sample in samples),
        _merged(samples),
        sum(sample.seconds for sample in samples),
        {MODEL: together},
        foreign_cores=max(sample.foreign_cores for sample in samples),
        began=began,
    )


@dataclass
class Playback:
    """`Measure` out of a recording; deterministic for a seed."""

    recording: Recording
    seed: int = 0
    spent: float = 0.0
    windows: int = 0
    reloads: int = 0
    _loaded: Setting | None = None
    _run: float = 0.0
    random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def __call__(self, candidate: Candidate, seconds: float, *, reload: bool = False) -> Sample | Refused:
        if reload or self._loaded != candidate.setting:
            self._loaded, self._run = candidate.setting, self.random.random()
            self.spent += self.recording.reload_s[candidate.setting.instances]
            self.reloads += 1
        setting, load = self.recording.nearest(candidate)
        runs = self.recording.settings[setting][load]
        run = runs[int(self._run * len(runs))]
        began = self.spent
        sample = _joined([self.random.choice(run) for _ in range(max(round(seconds), 1))], began)
        self.spent += max(seconds, sample.seconds) + self.recording.window_s - 1.0
        self.windows += 1
        return sample

    def clock(self) -> float:
        """Seconds that this would have taken."""
        return self.spent


def read(file: Path) -> Recording:
    """A recording from its file."""
    with gzip.open(file, "rt") as lines:
        return _recording(json.load(lines))


def _recording(value: Any) -> Recording:
    settings: dict[Setting, Loads] = {}
    for setting, load, runs in value["points"]:
        found = settings.setdefault(Setting(*setting[:3], (), setting[3]), {})
        found[float(load)] = [[_sample(window) for window in run] for run in runs]
    delays = {tuple(map(int, name.split(","))): tuple(choices) for name, choices in value["delays_us"].items()}
    reload_s = {int(count): seconds for count, seconds in value["reload_s"].items()}
    return Recording(delays, settings, reload_s, value["window_s"])  # type: ignore[arg-type]


def _sample(window: Any) -> Sample:
    throughput, seconds, total_s, bins, requests, executions, queue_s, compute_s, batches, foreign = window
    numbers: dict[int, int] = {}
    place = 0
    for gap, count in bins:
        place += gap
        numbers[place] = count
    counts = tuple(BatchCount(*batch) for batch in batches)
    times = ModelTimes(requests, executions, queue_s, 0.0, compute_s, 0.0, counts)
    return Sample(throughput, Latencies(numbers, total_s), seconds, {MODEL: times}, foreign_cores=foreign)


def packed(sample: Sample, model: str) -> Any:
    """A sample as the file has it."""
    times = sample.times(model)
    bins, place = [], 0
    for number, count in sorted(sample.latencies.bins.items()):
        bins.append([number - place, count])
        place = number
    batches = [[batch.size, batch.count, round(batch.seconds, 5)] for batch in times.batches]
    compute_s = round(times.input_s + times.infer_s + times.output_s, 4)
    total_s = round(sample.latencies.total_s, 4)
    return [round(sample.throughput, 1), sample.seconds, total_s, bins, times.requests, times.executions,
            round(times.queue_s, 4), compute_s, batches, round(sample.foreign_cores, 3)]  # fmt: skip


def write(file: Path, points: Any, delays_us: Any, reload_s: Any, window_s: float) -> None:
    """Write a recording: `points` are [setting, load, runs of packed samples]."""
    value = {"points": points, "delays_us": delays_us, "reload_s": reload_s, "window_s": window_s}
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as packed_file:
        packed_file.write(json.dumps(value, separators=(",", ":")).encode())
