"""The search: measure where the most is to be gained, until nothing worth a window is left. Pure over `Measure`.

1. *Start.* One arrangement of instances and threads runs with full batches, and with single requests: its batch times T(b)
   say roughly what to expect of every point of the space.
2. *Gain.* Every window sharpens the belief about all points that are alike (`belief`). The next one goes to the point that
   promises the largest improvement over the best so far, times the chance that it keeps the budget, for the time that it
   costs; or to the best itself, if that is the less certain of the two. A point that was measured before is loaded anew.
3. *End.* When no point promises more than a trifle and the best was measured often enough. What was never measured has its
   reason: what was expected of it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from repository_builder.sweep.belief import Belief, Normal, believe, improvement
from repository_builder.sweep.goal import Estimate, Goal, judge
from repository_builder.sweep.model import BatchTime, fit, little, merged
from repository_builder.sweep.pace import batch_times, busy, time_of
from repository_builder.sweep.sample import BatchCount, Candidate, Measure, Refused, Sample, Setting
from repository_builder.sweep.space import Runner, Space

DISTURBED_CORES = 0.4
_Z = 0.84
"""Standard deviations that belong to `Options.confidence`."""
_SURPRISING = 1.5
"""Standard deviations by which a first window is worse than expected and not believed at once."""
_AHEAD = (1, 2, 4, 8, 16)
"""Seconds of measuring one point that are considered together, in lengths of the first window."""


@dataclass(frozen=True)
class Options:
    """How much effort."""

    limit_s: float = 60.0
    """The search ends after about this long with what it has."""
    max_windows: int = 400
    explore_s: float = 1.0
    """Length of the first window of a point."""
    replicates: int = 3
    """Windows that the winner needs at least."""
    confidence: float = 0.8
    """The winner keeps the constraints with this probability at least."""
    trifle: float = 0.0002
    """Expected improvement (a share, times the chance to keep the budget) that is not worth a second."""
    disturbed_cores: float = DISTURBED_CORES

    longest: float = 3.0
    """Windows that repeat a point are up to so many times as long: each costs a fresh load, whatever its length."""
    shortest: float = 2.0
    """And at least so many times."""

    def again_s(self, useful_s: float) -> float:
        """Length of a window that repeats a point of which so many more seconds seem useful."""
        return min(max(useful_s, self.shortest * self.explore_s), self.longest * self.explore_s)


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
    batches: dict[Runner, tuple[BatchCount, ...]] = field(default_factory=dict)
    """Executions so far by the number of instances that were busy at once, one entry per batch size."""
    extra: set[Candidate] = field(default_factory=set)
    """Points that Little's law suggested."""
    delays: dict[tuple[Runner, int], tuple[int, ...]] = field(default_factory=dict)
    loaded: Setting | None = None
    leader: Estimate | None = None
    reload_s: list[float] = field(default_factory=list)
    """What windows with a fresh load took beyond the window."""
    windows: int = 0
    disturbed: int = 0


@dataclass(frozen=True)
class _View:
    """What is believed at the moment."""

    beliefs: dict[Candidate, Belief]
    leader: Estimate | None


def search(space: Space, measure: Measure, goal: Goal, options: Options, watch: Watch = lambda *_: None) -> Outcome:
    """Find the best candidate of the space; always ends, by the limits of `options` at the latest."""
    state = _State(space, measure, goal, options, watch, measure.clock())
    stopped: Literal["settled", "time", "exhausted"] = "time"
    try:
        _start(state)
        while state.estimates and (step := _next(state, view := _view(state))) is not None:
            _look(state, *step, view.beliefs[step[0]])
        stopped = "settled" if state.leader else "exhausted"
    except OutOfTime:
        pass
    return _outcome(state, stopped)


def _start(state: _State) -> None:
    """The arrangement in the middle with the largest batch that the server takes: full batches, then one by one."""
    space = state.space
    order = sorted(space.runners, key=lambda runner: abs(space.runners.index(runner) - len(space.runners) // 2))
    for runner in order:
        for batch in reversed(space.batches):
            setting = Setting(runner.instances, batch, 0, (), runner.threads)
            full = space.nearest_load(runner.instances * max(batch, 1)) or space.lowest_load
            if _take(state, Candidate(setting, full), state.options.explore_s) is None:
                continue
            alone = space.nearest_load(runner.instances) or space.lowest_load
            if space.kind == "concurrency" and alone.value < full.value:
                _take(state, Candidate(setting, alone), state.options.explore_s)
            return


def _look(state: _State, point: Candidate, seconds: float, belief: Belief) -> None:
    """Measure a point; one that is new and surprisingly bad once more at once, and a third time if the two disagree."""
    new = point not in state.estimates
    sample = _take(state, point, seconds)
    if not new or sample is None or sample.seconds > 1.5 * state.options.explore_s:
        return
    if belief.worse(sample) <= _SURPRISING:
        return
    second = _take(state, point, seconds, reload=False)
    if second is not None and abs(math.log(max(second.p99, 1e-9) / max(sample.p99, 1e-9))) > 3 * belief.p99.window_sd:
        _take(state, point, seconds, reload=False)


def _take(state: _State, candidate: Candidate, seconds: float, *, reload: bool = True) -> Sample | None:
    """Measure one window; a disturbed one is measured again, at most twice. None if the server refuses the candidate."""
    again = candidate in state.estimates and reload
    estimate = state.estimates.get(candidate) or Estimate(candidate)
    sample = _window(state, candidate, seconds, reload=again)
    for _ in range(2):
        if sample is None or sample.foreign_cores <= state.options.disturbed_cores or _always_disturbed(state):
            break
        estimate.disturbed.append(sample)
        sample = _window(state, candidate, seconds, reload=False)
    if sample is None:
        return None
    (estimate.raced if again else estimate.explored).append(sample)
    state.estimates[candidate] = estimate
    runner = busy(candidate)
    state.batches[runner] = merged(state.batches.get(runner, ()), sample.times(state.space.model).batches)
    _suggest(state, candidate, estimate)
    return sample


def _always_disturbed(state: _State) -> bool:
    """Whether most windows were disturbed so far: measuring again would not help, and the verdict will say so."""
    return state.windows >= 4 and state.disturbed > 0.5 * state.windows


def _window(state: _State, candidate: Candidate, seconds: float, *, reload: bool) -> Sample | None:
    began = state.measure.clock()
    used = began - state.started
    free = state.loaded == candidate.setting and not reload
    # the limit is a promise: the slowest load so far may come again
    ends = used + seconds + max(state.reload_s, default=0.0)
    if (state.windows and ends > state.options.limit_s) or state.windows >= state.options.max_windows:
        raise OutOfTime
    state.watch(str(candidate), used / state.options.limit_s, state.leader)
    result = state.measure(candidate, seconds, reload=reload)
    state.windows += 1
    if isinstance(result, Refused):
        state.refused[candidate], state.loaded = result.why, None
        return None
    state.loaded = candidate.setting
    state.disturbed += result.foreign_cores > state.options.disturbed_cores
    if not free:
        state.reload_s.append(max(state.measure.clock() - began - seconds, 0.0))
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


def _view(state: _State) -> _View:
    """Every point with what is believed of it, and the best that was measured."""
    times = batch_times(state.batches)
    points = {point: None for runner in state.space.runners for point in _candidates(state, runner, times)}
    points |= dict.fromkeys(state.estimates)
    wanted = [point for point in points if point in state.estimates or not _refused_batch(state, point)]
    beliefs = believe(wanted, state.estimates, times, state.space.model)
    fitting = [point for point in state.estimates if point in beliefs and _fits(state, point, beliefs[point])]
    best = max(fitting, key=lambda point: beliefs[point].score(point, state.goal).mean, default=None)
    state.leader = state.estimates[best] if best else None
    return _View(beliefs, state.leader)


def _fits(state: _State, point: Candidate, belief: Belief) -> bool:
    """Whether a measured point may be the winner: believed to keep the constraints, and not seen to break them."""
    estimate, goal = state.estimates[point], state.goal
    over = goal.budget_s is not None and estimate.p99 > goal.budget_s
    return not over and judge(estimate, goal) != "breaks" and belief.keeps(goal) >= state.options.confidence


def _next(state: _State, view: _View) -> tuple[Candidate, float] | None:
    """The point that the next window goes to, and its length; None when nothing is worth it."""
    if view.leader is None:
        point = _hopeful(state, view)
        return (point, _length(state, point, 0.0)) if point else None
    leader = view.leader.candidate
    gains = _gains(state, view, leader)
    if _late(state):
        gains = {point: gain for point, gain in gains.items() if point in state.estimates}
    lengths = {point: _length(state, point, gain.seconds) for point, gain in gains.items()}
    best = max(gains, key=lambda point: gains[point].each * lengths[point] / _cost(state, point, lengths[point]))
    if gains[best].each >= state.options.trifle:
        return best, lengths[best]
    return (leader, lengths[leader]) if len(view.leader.windows) < state.options.replicates else None


@dataclass(frozen=True, order=True)
class _Gain:
    """By what share measuring a point will improve the choice, on average."""

    each: float
    """Of each of so many seconds."""
    seconds: float


def _gains(state: _State, view: _View, leader: Candidate) -> dict[Candidate, _Gain]:
    """What there is to gain at each point.

    One second alone may be unable to change the choice where a few together can: the best number of them counts.
    """
    goal, ahead = state.goal, [count * state.options.explore_s for count in _AHEAD]
    top = view.beliefs[leader].score(leader, goal)
    gains, second = {}, -math.inf
    for point, belief in view.beliefs.items():
        if point != leader:
            score = belief.score(point, goal)
            gains[point] = max(_gain(belief, score, top.mean, goal, seconds) for seconds in ahead)
            if point in state.estimates and _fits(state, point, belief):
                second = max(second, score.mean)
    gains[leader] = _Gain(0.0, 0.0)
    if second > -math.inf:
        gains[leader] = max(_Gain(improvement(second, top.step(n), top.mean) / n, n) for n in ahead)
    return gains


def _gain(belief: Belief, score: Normal, best: float, goal: Goal, seconds: float) -> _Gain:
    gain = belief.will_keep(goal, _Z, seconds) * improvement(score.mean, score.step(seconds), best)
    return _Gain(gain / seconds, seconds)


def _hopeful(state: _State, view: _View) -> Candidate | None:
    """While nothing keeps the constraints: what is most likely to, the better the sooner."""
    goal = state.goal
    enough = {point for point, estimate in state.estimates.items() if len(estimate.windows) >= state.options.replicates}
    chances = {point: belief.keeps(goal) for point, belief in view.beliefs.items() if point not in enough}
    if not chances or max(chances.values()) < 0.02:
        lowest = min((point.load for point in view.beliefs), default=None)  # where p99 is lowest: the nearest to show
        nearest = [point for point in view.beliefs if point.load == lowest]
        if not nearest or any(point in state.estimates for point in nearest):
            return None
        return min(nearest, key=lambda point: view.beliefs[point].p99.mean)
    top = max(belief.score(point, goal).mean for point, belief in view.beliefs.items())
    return max(
        chances,
        key=lambda point: (
            chances[point]
            * math.exp(view.beliefs[point].score(point, goal).mean - top)
            / _cost(state, point, _length(state, point, 0.0))
        ),
    )


def _late(state: _State) -> bool:
    """Whether a new point could not be confirmed any more."""
    left = state.options.limit_s - (state.measure.clock() - state.started)
    return left < (state.options.replicates - 1) * (state.options.again_s(0.0) + _reload_s(state))


def _length(state: _State, point: Candidate, useful_s: float) -> float:
    """Of the next window of a point: longer where it was measured before, since that costs a fresh load."""
    return state.options.again_s(useful_s) if point in state.estimates else state.options.explore_s


def _cost(state: _State, point: Candidate, seconds: float) -> float:
    """Seconds that a window of this point takes."""
    free = point not in state.estimates and point.setting == state.loaded
    return seconds + (0.0 if free else _reload_s(state))


def _reload_s(state: _State) -> float:
    return statistics.median(state.reload_s) if state.reload_s else 0.0


def _times(state: _State) -> dict[Runner, BatchTime]:
    return {runner: time for runner, batches in state.batches.items() if (time := fit(batches)) is not None}


def _candidates(state: _State, runner: Runner, times: dict[Runner, BatchTime]) -> list[Candidate]:
    space, time = state.space, time_of(runner, times)
    points = [
        Candidate(Setting(runner.instances, batch, delay, preferred, runner.threads), load)
        for batch in space.batches
        for preferred in space.preferred
        if not preferred or preferred[-1] == batch
        for delay in _delays(state, runner, batch, time)
        for load in space.loads_for(runner.instances, batch)
    ]
    points += [point for point in sorted(state.extra) if _runner(point) == runner]
    refused = [found.setting.max_batch for found in state.refused if _runner(found) == runner]
    largest = max((batch for batch in space.batches if batch < min(refused, default=math.inf)), default=0)
    return list(dict.fromkeys(space.freed(point, largest) for point in points))


def _delays(state: _State, runner: Runner, batch: int, time: BatchTime) -> tuple[int, ...]:
    """Queue delays, fixed when they are first asked for: a fit that moves a little must not make new points."""
    if (runner, batch) not in state.delays:
        state.delays[runner, batch] = state.space.delay_choices(time, batch)
    return state.delays[runner, batch]


def _refused_batch(state: _State, point: Candidate) -> bool:
    return any(
        _runner(found) == _runner(point) and found.setting.max_batch <= point.setting.max_batch
        for found in state.refused
    )


def _runner(candidate: Candidate) -> Runner:
    return Runner(candidate.setting.instances, candidate.setting.threads)


def _outcome(state: _State, stopped: Literal["settled", "time", "exhausted"]) -> Outcome:
    view = _view(state) if state.estimates else _View({}, None)
    leader, pruned = view.leader, {}
    gains = _gains(state, view, leader.candidate) if leader else {}
    for point, belief in view.beliefs.items():
        if point not in state.estimates:
            rate, sd, p99 = math.exp(belief.throughput.mean), belief.throughput.sd, math.exp(belief.p99.mean)
            why = f"about {rate:.0f}/s (± {sd:.0%}) expected, p99 about {p99 * 1e3:.0f} ms"
            pruned[point] = why + (": time ran out" if gains and gains[point].each >= state.options.trifle else "")
    nearest = min(state.estimates.values(), key=lambda estimate: estimate.p99, default=None) if leader is None else None
    seconds = state.measure.clock() - state.started
    return Outcome(leader, nearest, state.estimates, pruned, state.refused, _times(state), seconds, stopped)
