"""The search: probe the corners, bound the rest, race what is left. Pure over `Measure`, so it is tested by simulation.

1. *Corners.* Each arrangement of instances and threads is run once with the largest batch under the heaviest load, and the
   better ones with a queue delay. Over the budget, the load is lowered by Little's law.
2. *Bound.* Batch times fitted from these runs bound every other point; what cannot beat the best one is never measured. What
   can is measured in the order of its bound.
3. *Race.* The best and its rivals are measured in turns, each time freshly loaded, until they are apart or too near to
   matter. A leader that turns out to break the budget is put aside, and the search goes on from 2.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from repository_builder.sweep.goal import Estimate, Goal, judge
from repository_builder.sweep.model import BatchTime, fit, latency_floor, little, merged, throughput_bound
from repository_builder.sweep.sample import BatchCount, Candidate, Measure, Refused, Sample, Setting
from repository_builder.sweep.space import Runner, Space

DISTURBED_CORES = 0.4
_DELAY_WORTH = 0.85
"""Arrangements below this share of the best corner are not probed with a delay."""

_GOOD_ENOUGH = 0.75
"""A leader below this share of the best bound is not worth confirming yet, however late it is."""


@dataclass(frozen=True)
class Options:
    """How much effort."""

    limit_s: float = 60.0
    """The search ends after about this long with what it has."""
    explore_share: float = 0.6
    """Of the limit: after it nothing new is tried once there is a leader, so that the race can still confirm it."""
    max_windows: int = 400
    explore_s: float = 1.0
    race_s: float = 1.0
    replicates: int = 3
    """Fresh loads that the leader needs at least."""
    max_rounds: int = 6
    rivals: int = 2
    zone: float = 0.03
    """Zone of indifference: a rival that is not better by more than this is no reason to go on."""
    z: float = 1.0
    """Standard errors by which leader and rival must be apart."""
    disturbed_cores: float = DISTURBED_CORES


@dataclass(frozen=True)
class Outcome:
    """What a search found."""

    leader: Estimate | None
    """None: nothing that was tried keeps the constraints."""
    nearest: Estimate | None
    """What comes nearest to the budget, where there is no leader."""
    estimates: dict[Candidate, Estimate]
    pruned: dict[Candidate, str]
    """Never measured, and why."""
    refused: dict[Candidate, str]
    times: dict[Runner, BatchTime]
    seconds: float
    stopped: Literal["settled", "time", "exhausted"]


Watch = Callable[[str, float, "Estimate | None"], None]
"""Called with what is being measured, the share of the time limit that is used up, and the best so far."""


class OutOfTime(Exception):
    """The limit is reached; caught in `search`."""


@dataclass
class _State:
    space: Space
    measure: Measure
    goal: Goal
    options: Options
    watch: Watch
    started: float
    estimates: dict[Candidate, Estimate] = field(default_factory=dict)
    refused: dict[Candidate, str] = field(default_factory=dict)
    rejected: set[Candidate] = field(default_factory=set)
    """Leaders that the race has disqualified."""
    batches: dict[Runner, tuple[BatchCount, ...]] = field(default_factory=dict)
    """Executions so far, one entry per batch size."""
    extra: set[Candidate] = field(default_factory=set)
    """Points that Little's law suggested."""
    delays: dict[tuple[Runner, int], tuple[int, ...]] = field(default_factory=dict)
    loaded: Setting | None = None
    windows: int = 0
    disturbed: int = 0


def search(space: Space, measure: Measure, goal: Goal, options: Options, watch: Watch = lambda *_: None) -> Outcome:
    """Find the best candidate of the space; always ends, by the limits of `options` at the latest."""
    state = _State(space, measure, goal, options, watch, measure.clock())
    stopped: Literal["settled", "time", "exhausted"] = "time"
    try:
        _corners(state)
        while True:
            _explore(state)
            if _leader(state) is None:
                stopped = "exhausted"
                break
            if _race(state):
                stopped = "settled"
                break
    except OutOfTime:
        pass
    return _outcome(state, stopped)


def _take(state: _State, candidate: Candidate, seconds: float, *, race: bool = False) -> Sample | None:
    """Measure one window; a disturbed one is measured again, at most twice. None if the server refuses the candidate."""
    estimate = state.estimates.get(candidate) or Estimate(candidate)
    sample = _window(state, candidate, seconds, reload=race)
    for _ in range(2):
        if sample is None or sample.foreign_cores <= state.options.disturbed_cores or _always_disturbed(state):
            break
        estimate.disturbed.append(sample)
        sample = _window(state, candidate, seconds, reload=False)
    if sample is None:
        return None
    (estimate.raced if race else estimate.explored).append(sample)
    state.estimates[candidate] = estimate
    state.batches[_runner(candidate)] = merged(
        state.batches.get(_runner(candidate), ()), sample.times(state.space.model).batches
    )
    _suggest(state, candidate, estimate)
    return sample


def _always_disturbed(state: _State) -> bool:
    """Whether most windows were disturbed so far: measuring again would not help, and the verdict will say so."""
    return state.windows >= 4 and state.disturbed > 0.5 * state.windows


def _window(state: _State, candidate: Candidate, seconds: float, *, reload: bool) -> Sample | None:
    used = state.measure.clock() - state.started
    if used > state.options.limit_s or state.windows >= state.options.max_windows:
        raise OutOfTime
    state.watch(str(candidate), used / state.options.limit_s, _leader(state))
    result = state.measure(candidate, seconds, reload=reload)
    state.windows += 1
    if isinstance(result, Refused):
        state.refused[candidate] = result.why
        return None
    state.loaded = candidate.setting
    state.disturbed += result.foreign_cores > state.options.disturbed_cores
    return result


def _suggest(state: _State, candidate: Candidate, estimate: Estimate) -> None:
    """Little's law: the load at which this setting would just meet the budget."""
    budget = state.goal.budget_s
    if budget is None or state.space.kind == "rate" or estimate.p99 <= 0:
        return
    value = candidate.load.value
    target = little(value, estimate.p99, 0.93 * budget)
    if (target < value or target > 1.15 * value) and (load := state.space.nearest_load(min(target, 2 * value))):
        state.extra.add(Candidate(candidate.setting, load))


def _corners(state: _State) -> None:
    """Every arrangement with its largest batch under the heaviest load; the better ones with a queue delay too."""
    space = state.space
    reached: dict[Runner, float] = {}
    for runner in space.runners:
        for batch in reversed(space.batches):
            setting = Setting(runner.instances, batch, 0, (), runner.threads)
            if (sample := _probe(state, setting)) is not None:
                reached[runner] = sample.throughput
                break  # else the server refused that batch: the next smaller one
    for runner in sorted(reached, key=lambda found: -reached[found]):
        if reached[runner] < _DELAY_WORTH * max(reached.values()):
            continue
        batch = max(e.candidate.setting.max_batch for e in state.estimates.values() if _runner(e.candidate) == runner)
        delays = _delays(state, runner, batch)
        if len(delays) > 1 and not _refused_batch(state, runner, batch):
            _probe(state, Setting(runner.instances, batch, delays[-1], (), runner.threads))


def _probe(state: _State, setting: Setting) -> Sample | None:
    """One setting under the heaviest load, then under the load that Little's law suggests; and alone, to see T(1)."""
    space = state.space
    top = Candidate(setting, space.highest_load)
    sample = _take(state, top, state.options.explore_s)
    if sample is None:
        return None
    if len({batch.size for batch in state.batches[_runner(top)] if batch.count >= 3}) < 2:
        _take(state, Candidate(setting, space.lowest_load), state.options.explore_s / 2)
    budget = state.goal.budget_s
    if budget is not None and space.kind == "concurrency" and sample.p99 > budget:
        load = space.nearest_load(little(top.load.value, sample.p99, 0.93 * budget))
        lower = Candidate(setting, load) if load else None
        if lower and lower not in state.estimates:
            _take(state, lower, state.options.explore_s)
    return sample


def _explore(state: _State) -> None:
    """Measure points in the order of their bounds until none is left that could beat the best."""
    while open_points := _open(state):
        order = _Order(state, _tail(state), {runner: fit(batches) for runner, batches in state.batches.items()})
        _take(state, order.best(open_points), state.options.explore_s)


def _open(state: _State) -> dict[Candidate, float]:
    """Unmeasured points that could beat the leader, with their optimistic score; none once it is late for new ones."""
    found = {point: bound for point, bound, why in _points(state) if not why}
    used, leader = state.measure.clock() - state.started, _leader(state)
    late = used > state.options.explore_share * state.options.limit_s
    if found and late and leader and leader.score(state.goal) > _GOOD_ENOUGH * max(found.values()):
        return {}
    return found


@dataclass(frozen=True)
class _Order:
    """The order in which points are tried."""

    state: _State
    tail: float
    times: Mapping[Runner, BatchTime | None]

    def promise(self, point: Candidate, bound: float) -> float:
        """The bound, less where p99 is likely to break the budget.

        A point of the setting that is loaded costs no reload, so it may go first if it is nearly as promising.
        """
        time, budget_s, likely = self.times[_runner(point)], self.state.goal.budget_s, 0.0
        if time is not None and budget_s is not None:
            floor = latency_floor(time, point.setting.instances, point.setting.max_batch, point.load, margin=1.0)
            likely = floor * self.tail / budget_s
        return bound / max(likely, 1.0) ** 2 * (1.05 if point.setting == self.state.loaded else 1.0)

    def best(self, points: Mapping[Candidate, float]) -> Candidate:
        """The most promising of these points, which come with their bounds."""
        return max(points, key=lambda point: self.promise(point, points[point]))


def _tail(state: _State) -> float:
    """How far p99 is above the mean, in the windows so far."""
    ratios = [estimate.p99 / sample.latencies.mean for estimate in state.estimates.values() for sample in estimate.used]
    return statistics.median(ratios)


def _points(state: _State) -> list[tuple[Candidate, float, str]]:
    """Every unmeasured point with its optimistic score, and why it need not be measured (empty: it must)."""
    leader = _leader(state)
    best = leader.score(state.goal) if leader else 0.0
    found = []
    for runner in state.space.runners:
        time = fit(state.batches.get(runner, ()))
        if time is None:
            continue
        for point in _candidates(state, runner, time):
            if point not in state.estimates and point not in state.refused:
                bound, why = _bound(state, point, time, best)
                found.append((point, bound, why))
    return found


def _candidates(state: _State, runner: Runner, time: BatchTime) -> list[Candidate]:
    space = state.space
    points = {
        Candidate(Setting(runner.instances, batch, delay, preferred, runner.threads), load): None
        for batch in space.batches
        for preferred in space.preferred
        if not preferred or preferred[-1] == batch
        for delay in _delays(state, runner, batch, time)
        for load in space.loads_for(runner.instances, batch)
    }
    return list(points | {point: None for point in sorted(state.extra) if _runner(point) == runner})


def _delays(state: _State, runner: Runner, batch: int, time: BatchTime | None = None) -> tuple[int, ...]:
    """Queue delays, fixed when they are first asked for: a fit that moves a little must not make new points."""
    if (runner, batch) not in state.delays:
        time = time or fit(state.batches.get(runner, ()))
        if time is None:
            return (0,)
        state.delays[runner, batch] = state.space.delay_choices(time, batch)
    return state.delays[runner, batch]


def _bound(state: _State, point: Candidate, time: BatchTime, best: float) -> tuple[float, str]:
    """The optimistic score of a point, and the reason to leave it out."""
    goal, setting = state.goal, point.setting
    throughput = throughput_bound(time, setting.instances, setting.max_batch, point.load)
    floor = latency_floor(time, setting.instances, setting.max_batch, point.load)
    if _refused_batch(state, _runner(point), setting.max_batch):
        return 0.0, "the server refuses batches of that size"
    for estimate in state.estimates.values():
        other = estimate.candidate
        if _runner(other) != _runner(point) or other.setting.max_batch != setting.max_batch:
            continue
        same = other.setting == setting
        if same and other.load.value > point.load.value:
            throughput = min(throughput, 1.1 * estimate.throughput)
        if same and other.load.value < point.load.value and _saturated(estimate, state.space.model):
            throughput = min(throughput, 1.1 * estimate.throughput)
        if other.load.value <= point.load.value:
            floor = max(floor, (0.95 if same else 0.74) * estimate.p99)  # a delay may lower p99 by a fifth
    if goal.budget_s is not None and floor > goal.budget_s:
        return 0.0, f"p99 would be at least {floor * 1e3:.0f} ms"
    if throughput < goal.min_throughput:
        return 0.0, f"at most {throughput:.0f} inferences/s"
    score = goal.score(setting, throughput, floor)
    return score, f"bound {throughput:.0f}/s at best, p99 at least {floor * 1e3:.0f} ms" if score <= best else ""


def _saturated(estimate: Estimate, model: str) -> bool:
    """Requests wait longer than they are computed, and batches are as full as they get: more load only queues."""
    times = estimate.used[-1].times(model)
    full = max(estimate.candidate.setting.max_batch, 1)
    return times.mean_batch >= 0.95 * full and times.queue_per_request > times.compute_per_request


def _refused_batch(state: _State, runner: Runner, batch: int) -> bool:
    return any(_runner(found) == runner and found.setting.max_batch <= batch for found in state.refused)


def _runner(candidate: Candidate) -> Runner:
    return Runner(candidate.setting.instances, candidate.setting.threads)


def _leader(state: _State) -> Estimate | None:
    """The best of what seems to keep the constraints; what is only unsure counts as long as nothing speaks against it."""
    fitting = [
        estimate
        for candidate, estimate in state.estimates.items()
        if candidate not in state.rejected and judge(estimate, state.goal) == "meets"
    ]
    return max(fitting, key=lambda estimate: estimate.score(state.goal), default=None)


def _race(state: _State) -> bool:
    """Measure leader and rivals in turns, freshly loaded, until settled (True) or until the leader is out (False)."""
    for _ in range(state.options.max_rounds):
        leader = _leader(state)
        if leader is None or _open(state):
            return False  # the race has changed what is best, so that other points have become worth a look
        rivals = _rivals(state, leader)
        wanted = _replicates(state, leader)
        if len(leader.raced) >= wanted and not rivals:
            return True
        entrants = [leader] if len(leader.raced) < wanted else []
        entrants += [rival for rival in rivals if len(rival.raced) <= len(leader.raced)] or (
            [] if entrants else [leader]
        )
        for entrant in entrants:
            _take(state, entrant.candidate, state.options.race_s, race=True)
        for entrant in entrants:
            if len(entrant.raced) >= 2 and judge(entrant, state.goal) != "meets":
                state.rejected.add(entrant.candidate)
    return not _open(state)


def _replicates(state: _State, leader: Estimate) -> int:
    """Fresh loads that a leader needs: one less where the budget is far away."""
    near = state.goal.budget_s is not None and leader.p99 > 0.8 * state.goal.budget_s
    return state.options.replicates - (0 if near else 1)


def _rivals(state: _State, leader: Estimate) -> list[Estimate]:
    """Those that may be better than the leader by more than the zone of indifference, best first."""
    goal, options = state.goal, state.options
    found = []
    for candidate, estimate in state.estimates.items():
        if estimate is leader or candidate in state.rejected or judge(estimate, goal) == "breaks":
            continue
        error = math.hypot(estimate.relative_error, leader.relative_error)
        if estimate.score(goal) * (1 + options.z * error) > leader.score(goal) * (1 + options.zone):
            found.append(estimate)
    found.sort(key=lambda estimate: -estimate.score(goal))
    return found[: options.rivals]


def _outcome(state: _State, stopped: Literal["settled", "time", "exhausted"]) -> Outcome:
    leader = _leader(state)
    nearest = min(state.estimates.values(), key=lambda estimate: estimate.p99, default=None) if leader is None else None
    times = {runner: time for runner, batches in state.batches.items() if (time := fit(batches)) is not None}
    pruned = {point: why or "time ran out" for point, _, why in _points(state)}
    seconds = state.measure.clock() - state.started
    return Outcome(leader, nearest, state.estimates, pruned, state.refused, times, seconds, stopped)
