"""A whole sweep: which model of the ensemble, the search, the pairs that prove the winner, and the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from repository_builder.errors import Problem, ServerError
from repository_builder.sweep.goal import Estimate, Goal, Objective, judge
from repository_builder.sweep.measure import Bench
from repository_builder.sweep.model import little
from repository_builder.sweep.sample import Candidate, Load, Refused, Sample, Setting
from repository_builder.sweep.search import Options, Outcome, search
from repository_builder.sweep.space import Space
from repository_builder.sweep.verdict import Verdict, judge_pairs

Watch = Any
"""`Progress`: a message and the share that is done."""
_SHARE_SEARCH = 0.75
"""Of the progress bar; the rest is the pairs."""


@dataclass(frozen=True)
class Plan:
    """What a sweep shall do."""

    goal: Goal
    options: Options
    cores: int
    concurrency: tuple[int, int] = (1, 64)
    rates: tuple[float, ...] = ()
    axes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    member: str = ""
    """The only model to vary; empty: the bottleneck, and then the next one."""
    pairs: int = 4
    pair_s: float = 2.0
    poisson: bool = True

    @property
    def high(self) -> Load:
        """The heaviest load."""
        return Load(max(self.rates), "rate") if self.rates else Load(self.concurrency[1])


@dataclass(frozen=True)
class Part:
    """The search over one member."""

    member: str
    space: Space
    outcome: Outcome
    why: str
    """Why this member was varied."""


@dataclass(frozen=True)
class Result:
    """What a sweep found."""

    start: Mapping[str, Setting]
    start_load: Load
    winner: Mapping[str, Setting]
    winner_load: Load
    parts: tuple[Part, ...]
    before: tuple[Sample, ...]
    """The starting configuration in the pairs."""
    after: tuple[Sample, ...]
    verdict: Verdict | None
    """None: there was nothing to compare."""
    search_s: float
    total_s: float
    measuring_s: float
    loading_s: float
    windows_s: float = 0.0
    """Of `measuring_s`: perf_analyzer's measuring windows alone."""
    warming_s: float = 0.0
    cheaper: float = 1.0
    """What the start occupies as a multiple of what the winner does; matters for the objective `cost`."""
    objective: Objective = "throughput"

    @property
    def changed(self) -> bool:
        """Whether the winner differs from the start."""
        return dict(self.start) != dict(self.winner)

    @property
    def better(self) -> bool:
        """Whether the pairs prove the winner: more throughput, or less latency without losing throughput.

        Less latency alone must not turn into more where requests arrive at random, as those of real clients do.
        """
        verdict = self.verdict
        if verdict is None or verdict.noisy or verdict.winner_over_budget or not self.changed:
            return False
        if self.objective == "cost":
            return self.cheaper * (1 + verdict.throughput.low) > 1
        now, tuned = verdict.poisson or (1.0, 1.0)
        faster = verdict.p99.high < 0 and verdict.throughput.high > 0 and tuned <= 1.1 * now
        return faster if self.objective == "latency" else verdict.throughput.low > 0 or faster


def run(bench: Bench, plan: Plan, progress: Watch) -> Result:
    """Search, then prove. The bench must have everything loaded as it is. Ends with the winner's settings in `Result`."""
    start = dict(bench.settings)
    member, why = _first(bench, plan)
    start_load, throughput = _start_load(bench, plan, member)
    if plan.goal.objective != "throughput" and not plan.goal.min_throughput:
        plan = replace(plan, goal=replace(plan.goal, min_throughput=0.97 * throughput))
    parts: list[Part] = []
    chosen: tuple[dict[str, Setting], Load] = (start, start_load)
    began = bench.clock
    for round_ in range(len(bench.subject.members)):
        left = plan.options.limit_s - (bench.clock - began)
        share = left if plan.member or round_ else left * (0.7 if len(bench.subject.members) > 1 else 1.0)
        if left < 0.15 * plan.options.limit_s:
            break
        space = bench.subject.member(member).space(plan.cores, plan.concurrency, rates=plan.rates, axes=plan.axes)
        space = replace(space, start=bench.settings.get(member, space.start))
        outcome = _search(bench, plan, space, share, progress)
        parts.append(Part(member, space, outcome, why))
        if outcome.leader is None:
            break
        best = outcome.leader.candidate
        chosen = ({**chosen[0], member: best.setting}, best.load)
        if bench.apply(member, best.setting):
            break
        following = _next(bench, plan, [part.member for part in parts], best)
        if following is None:
            break
        member, why = following
    search_s = bench.clock - began
    before, after, verdict = _prove(bench, plan, (start, start_load), chosen, progress)
    return Result(
        start=start,
        start_load=start_load,
        winner=chosen[0],
        winner_load=chosen[1],
        parts=tuple(parts),
        before=before,
        after=after,
        verdict=verdict,
        search_s=search_s,
        total_s=bench.clock,
        measuring_s=bench.measuring_s,
        loading_s=bench.loading_s,
        windows_s=bench.windows_s,
        warming_s=bench.warming_s,
        cheaper=_occupied(bench, plan, start) / _occupied(bench, plan, chosen[0]),
        objective=plan.goal.objective,
    )


def _occupied(bench: Bench, plan: Plan, settings: Mapping[str, Setting]) -> int:
    return sum(_goal(bench, plan, name).occupied(setting) for name, setting in settings.items())


def _search(bench: Bench, plan: Plan, space: Space, limit_s: float, progress: Watch) -> Outcome:
    options = replace(plan.options, limit_s=limit_s)

    def watch(what: str, used: float, best: Estimate | None) -> None:
        known = f"; best {best.candidate}: {best.throughput:.0f}/s, p99 {best.p99 * 1e3:.1f} ms" if best else ""
        left = max(0.0, (1 - used) * limit_s)
        progress(f"{space.model} {what}, at most {left:.0f} s left{known}", min(used, 1.0) * _SHARE_SEARCH)

    return search(space, bench.of(space.model), _goal(bench, plan, space.model), options, watch)


def _goal(bench: Bench, plan: Plan, member: str) -> Goal:
    return replace(plan.goal, default_threads=plan.cores if bench.subject.member(member).threads else 0)


def _first(bench: Bench, plan: Plan) -> tuple[str, str]:
    """The member to vary first: the one that was asked for, else the bottleneck under the heaviest load."""
    members = bench.subject.members
    if plan.member:
        return bench.subject.member(plan.member).name, "asked for"
    if len(members) == 1:
        return members[0].name, "the only model"
    last = members[-1].name
    sample, _ = _bearable(bench, plan, Candidate(bench.settings[last], plan.high), last)
    return _bottleneck(sample, [member.name for member in members])


def _next(bench: Bench, plan: Plan, done: Sequence[str], best: Candidate) -> tuple[str, str] | None:
    """The next member to vary, while requests wait longest before one that was not varied yet."""
    if plan.member or len(done) == len(bench.subject.members):
        return None
    sample = _window(bench, done[-1], best, plan.options.explore_s)
    name, why = _bottleneck(sample, [member.name for member in bench.subject.members])
    return None if name in done else (name, why)


def _bottleneck(sample: Sample, members: Sequence[str]) -> tuple[str, str]:
    """The model before which requests wait longest, and the sentence that says so."""
    name = max(members, key=lambda member: sample.times(member).queue_per_request)
    times = sample.times(name)
    queue, compute = 1e3 * times.queue_per_request, 1e3 * times.compute_per_request
    return name, f"the bottleneck: {queue:.1f} ms of each request in its queue, {compute:.1f} ms computed"


def _start_load(bench: Bench, plan: Plan, member: str) -> tuple[Load, float]:
    """The load under which the starting configuration does best within the budget, and its throughput; cheap: it is loaded."""
    load = plan.high
    best: tuple[float, Load, float] | None = None
    for _ in range(4):
        sample, candidate = _bearable(bench, plan, Candidate(bench.settings[member], load), member)
        load = candidate.load
        estimate = Estimate(candidate, [sample])
        if judge(estimate, plan.goal) == "meets" or load.value <= plan.concurrency[0] or plan.rates:
            score = estimate.score(plan.goal)
            if best is None or score > best[0]:
                best = (score, load, sample.throughput)
        if plan.goal.budget_s is None or plan.rates or sample.p99 <= plan.goal.budget_s:
            break
        load = Load(
            max(plan.concurrency[0], min(load.value - 1, little(load.value, sample.p99, 0.93 * plan.goal.budget_s)))
        )
    return (best[1], best[2]) if best else (load, sample.throughput)


def _bearable(bench: Bench, plan: Plan, candidate: Candidate, member: str) -> tuple[Sample, Candidate]:
    """A window of what is loaded, under half the load and again half where requests fail under it."""
    while True:
        result = bench.window(member, candidate, plan.options.explore_s, role="look")
        if not isinstance(result, Refused):
            return result, candidate
        if candidate.load.value <= plan.concurrency[0] or plan.rates:
            raise _refused(member, candidate.setting, result.why)
        candidate = candidate.at(max(plan.concurrency[0], candidate.load.value // 2))


def _prove(
    bench: Bench,
    plan: Plan,
    start: tuple[dict[str, Setting], Load],
    winner: tuple[dict[str, Setting], Load],
    progress: Watch,
) -> tuple[tuple[Sample, ...], tuple[Sample, ...], Verdict | None]:
    """Start and winner in turns, freshly loaded each time, then both under the same Poisson arrivals."""
    if start[0] == winner[0]:
        return (), (), None
    taken: tuple[list[Sample], list[Sample]] = ([], [])
    for number in range(2 * plan.pairs):
        side = number % 2 if (number // 2) % 2 == 0 else 1 - number % 2  # ABBA: a drift hits both alike
        progress(f"proof: pair {number // 2 + 1} of {plan.pairs}", _SHARE_SEARCH + 0.2 * number / (2 * plan.pairs))
        settings, load = (start, winner)[side]
        taken[side].append(_fresh(bench, settings, load, plan.pair_s, f"pair-{side}"))
    verdict = judge_pairs(taken[0], taken[1], budget_s=plan.goal.budget_s, disturbed_cores=plan.options.disturbed_cores)
    if plan.poisson and not plan.rates:
        rate = round(0.7 * min(sum(s.throughput for s in side) / len(side) for side in taken), 1)
        ends = []
        for number, (settings, _) in enumerate((start, winner)):
            progress("proof: Poisson arrivals", 0.95 + 0.025 * number)
            ends.append(_fresh(bench, settings, Load(rate, "rate"), plan.pair_s, f"poisson-{number}").p99)
        verdict = replace(verdict, poisson=(ends[0], ends[1]), poisson_rate=rate)
    return tuple(taken[0]), tuple(taken[1]), verdict


def _fresh(bench: Bench, settings: Mapping[str, Setting], load: Load, seconds: float, role: str) -> Sample:
    """A window with everything that differs loaded anew."""
    names = list(settings)
    last = max(names, key=lambda name: bench.settings.get(name) != settings[name])
    for name in names:
        if name != last:
            _must(bench, name, settings[name])
    return _window(bench, last, Candidate(settings[last], load), seconds, role=role, reload=True)


def _must(bench: Bench, name: str, setting: Setting) -> None:
    if why := bench.apply(name, setting):
        raise _refused(name, setting, why)


def _window(
    bench: Bench, member: str, candidate: Candidate, seconds: float, *, role: str = "look", reload: bool = False
) -> Sample:
    """A window that must succeed."""
    result = bench.window(member, candidate, seconds, role=role, reload=reload)
    if isinstance(result, Refused):
        raise _refused(member, candidate.setting, result.why)
    return result


def _refused(member: str, setting: Setting, why: str) -> ServerError:
    return ServerError.many(
        [
            Problem(
                f"cannot measure model `{member}` ({setting})",
                why=why,
                fix="see the server's log; `triton-repo verify`",
            )
        ]
    )
