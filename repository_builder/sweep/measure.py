"""The real thing behind `Measure`: one Triton under explicit control, one load generator, every window kept in the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from repository_builder.errors import ServerError
from repository_builder.serving.client import Client
from repository_builder.sweep.candidates import for_single_requests, override, with_setting
from repository_builder.sweep.load import LoadGenerator
from repository_builder.sweep.processor import Usage
from repository_builder.sweep.sample import BatchCount, Candidate, Load, ModelTimes, Refused, Sample, Setting
from repository_builder.sweep.store import Session
from repository_builder.sweep.subject import Subject

_DEATH_S = 5.0
Inputs = Mapping[str, Any]


@dataclass
class Bench:
    """A server, what is loaded in it, and the means to load it with work."""

    subject: Subject
    client: Client
    generator: LoadGenerator
    warm_up: Inputs | None
    """One request's inputs; None: the load generator warms up."""
    session: Session
    server_pid: int | None
    """None for a server that is not ours to look into: then nobody can say who used its processor."""
    alive: Callable[[], bool]
    failure: Callable[[], ServerError]
    settings: dict[str, Setting] = field(default_factory=dict)
    """What is to be measured, per member."""
    loaded: dict[str, Setting] = field(default_factory=dict)
    """What the server has; differs from `settings` after windows that were recalled instead of measured."""
    windows_s: float = 0.0
    """Time in perf_analyzer's measuring windows."""
    measuring_s: float = 0.0
    """Time in which perf_analyzer ran."""
    loading_s: float = 0.0
    """Time in which the server loaded candidates."""
    warming_s: float = 0.0
    """Time of first requests to fresh instances."""
    started: float = field(default_factory=time.monotonic)
    saved_s: float = 0.0
    """Time that recalled windows once took; counted, so that a resumed search decides as the interrupted one did."""

    @property
    def clock(self) -> float:
        """Seconds of this sweep, those of the interrupted part included."""
        return time.monotonic() - self.started + self.saved_s

    def load_all(self) -> None:
        """Load the public model as it is, its ensembles opened for single requests; raises ServerError."""
        for member in self.subject.members:
            self.client.load(member.name, config=override(member.config))
            self.settings[member.name] = self.loaded[member.name] = member.start
        for name, config in reversed(list(self.subject.ensembles.items())):
            self.client.load(name, config=override(for_single_requests(config)))

    def apply(self, member: str, setting: Setting, *, reload: bool = False) -> str:
        """Make sure that a setting is loaded; the server's reason if it refuses."""
        if self.loaded.get(member) == setting and not reload:
            self.settings[member] = setting
            return ""
        config = with_setting(self.subject.member(member).config, setting)
        begin = time.monotonic()
        try:
            self.client.load(member, config=override(config))
        except ServerError as error:
            if self._died():
                raise self.failure() from error
            self.loaded.pop(member, None)
            return error.problems[0].why
        finally:
            self.loading_s += time.monotonic() - begin
        self.settings[member] = self.loaded[member] = setting
        begin = time.monotonic()
        self._warm(2 * setting.instances)
        self.warming_s += time.monotonic() - begin
        return ""

    def window(
        self, member: str, candidate: Candidate, seconds: float, *, role: str, reload: bool = False
    ) -> Sample | Refused:
        """Measure, or take what an interrupted sweep has measured."""
        kept = self.session.recall(member, candidate, seconds, role)
        if kept is not None:
            self.saved_s += seconds + 1.0
            self.settings[member] = candidate.setting
            self.session.keep(member, candidate, seconds, role, kept)
            return kept
        if why := self._all_loaded(member, candidate.setting, reload=reload):
            return Refused(why)
        taken = self._taken(candidate, seconds)
        if isinstance(taken, Refused):
            taken = self._taken(candidate, seconds)  # a stalled moment is no refusal: it must fail twice
        if isinstance(taken, Sample):
            self.session.keep(member, candidate, seconds, role, taken)
        return taken

    def _taken(self, candidate: Candidate, seconds: float) -> Sample | Refused:
        try:
            return self.sample(candidate, seconds)
        except ServerError as error:
            if self._died():
                raise self.failure() from error
            return Refused(error.problems[0].why)

    def _all_loaded(self, member: str, setting: Setting, *, reload: bool) -> str:
        for name, wanted in self.settings.items():
            if name != member and (why := self.apply(name, wanted)):
                return why
        return self.apply(member, setting, reload=reload)

    def sample(self, candidate: Candidate, seconds: float) -> Sample:
        """One window of what is loaded."""
        roots = (self.server_pid,) if self.server_pid else ()
        counters, usage, begin, began = self._counters(), Usage.now(*roots), time.monotonic(), self.clock
        seen = self.generator(candidate.load, seconds)
        self.measuring_s += time.monotonic() - begin
        self.windows_s += seen.seconds
        later, after = Usage.now(*roots), self._counters()
        return Sample(
            throughput=seen.throughput,
            latencies=seen.latencies,
            seconds=seen.seconds,
            models={name: _difference(counters[name], after[name]) for name in after},
            foreign_cores=usage.foreign_cores(later) if roots else 0.0,
            loader_cores=usage.loader_cores(later),
            errors=sum(after[name].failed - counters[name].failed for name in after),
            client=seen.parts,
            began=began,
        )

    def of(self, member: str) -> MemberMeasure:
        """`Measure` for the search over one member."""
        return MemberMeasure(self, member)

    def _died(self) -> bool:
        """Whether the server is gone; it may take a moment until its end is known."""
        deadline = time.monotonic() + _DEATH_S
        while self.alive() and not self.client.ready() and time.monotonic() < deadline:
            time.sleep(0.05)
        return not self.alive()

    def _counters(self) -> dict[str, _Counters]:
        return {member.name: _Counters.of(self.client.statistics(member.name)) for member in self.subject.members}

    def _warm(self, requests: int) -> None:
        """The first runs of a fresh instance are slow: keep them out of the window."""
        if self.warm_up is None:
            with suppress(ServerError):
                self.generator(Load(requests), 0.2)
            return
        with ThreadPoolExecutor(requests) as pool, suppress(ServerError):
            for answer in [pool.submit(self.client.infer, self.subject.model, self.warm_up) for _ in range(requests)]:
                answer.result()


@dataclass(frozen=True)
class MemberMeasure:
    """`Measure` of the search: the member that is varied, all others as they are."""

    bench: Bench
    member: str

    def __call__(self, candidate: Candidate, seconds: float, *, reload: bool = False) -> Sample | Refused:
        """One window."""
        role = "race" if reload else "explore"
        return self.bench.window(self.member, candidate, seconds, role=role, reload=reload)

    def clock(self) -> float:
        """Seconds of this sweep."""
        return self.bench.clock


@contextmanager
def restoring(bench: Bench) -> Iterator[None]:
    """Whatever happens in the block, the server gets its own configuration back; used where it lives on after us."""
    try:
        yield
    finally:
        for member in bench.subject.members:
            bench.client.load(member.name, config=override(member.config))
        for name, config in reversed(list(bench.subject.ensembles.items())):
            bench.client.load(name, config=override(config))


@dataclass(frozen=True)
class _Counters:
    """A model's cumulative statistics: counts and nanoseconds."""

    requests: int
    executions: int
    failed: int
    queue: int
    parts: tuple[int, int, int]
    batches: Mapping[int, tuple[int, int]]

    @classmethod
    def of(cls, statistics: Any) -> _Counters:
        inference = statistics.inference_stats
        batches = {
            int(entry.batch_size): (
                int(entry.compute_infer.count),
                int(entry.compute_input.ns + entry.compute_infer.ns + entry.compute_output.ns),
            )
            for entry in statistics.batch_stats
        }
        parts = (int(inference.compute_input.ns), int(inference.compute_infer.ns), int(inference.compute_output.ns))
        return cls(
            int(statistics.inference_count),
            int(statistics.execution_count),
            int(inference.fail.count),
            int(inference.queue.ns),
            parts,
            batches,
        )


def _difference(before: _Counters, after: _Counters) -> ModelTimes:
    batches = []
    for size, (count, nanoseconds) in sorted(after.batches.items()):
        earlier = before.batches.get(size, (0, 0))
        if count > earlier[0]:
            batches.append(BatchCount(size, count - earlier[0], (nanoseconds - earlier[1]) / 1e9))
    input_s, infer_s, output_s = ((late - early) / 1e9 for early, late in zip(before.parts, after.parts, strict=True))
    return ModelTimes(
        requests=after.requests - before.requests,
        executions=after.executions - before.executions,
        queue_s=(after.queue - before.queue) / 1e9,
        input_s=input_s,
        infer_s=infer_s,
        output_s=output_s,
        batches=tuple(batches),
    )
