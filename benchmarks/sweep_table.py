"""What `benchmarks/sweep.py` has measured, as tables."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from repository_builder.sweep.model import BatchTime, merged
from repository_builder.sweep.pace import batch_times, middle, time_of
from repository_builder.sweep.sample import BatchCount
from repository_builder.sweep.space import Runner

State = Mapping[str, Any]
Times = Mapping[Runner, BatchTime]
Point = dict[str, Any]
_T90 = {2: 2.92, 3: 2.35, 4: 2.13, 5: 2.02, 6: 1.94, 7: 1.89}
"""Student's t, one-sided 95 %, by degrees of freedom."""
EDGE = 1.12
"""Of a budget: so far above it a point may seem and yet be asked again whether it keeps it."""
SETTLED = 3
"""After so many rounds only those points are measured again that may still be the best."""
IN_IT = 0.92
"""Of the best: below this share a point cannot be it any more."""
NEAR = 0.97
"""Of the best, and its inverse of the budget: right."""
TITLES = {
    "plain": "without queue delays: the space that Model Analyzer searches",
    "ours": "with queue delays, which Model Analyzer never searches",
}


@dataclass(frozen=True)
class Again:
    """A point in the rounds that measure everything once more."""

    point: Point
    rates: Mapping[int, float]
    """Round → logarithm of the throughput at the usual pace."""
    p99s: Mapping[int, float]
    """Round → logarithm of the milliseconds at the usual pace."""

    @property
    def delayed(self) -> bool:
        """Whether Model Analyzer could not have chosen it."""
        return bool(self.point["setting"]["delay_us"])

    @property
    def rate(self) -> float:
        """Inferences per second."""
        return math.exp(statistics.fmean(self.rates.values()))

    @property
    def p99(self) -> float:
        """In milliseconds."""
        return math.exp(statistics.fmean(self.p99s.values()))

    def half(self, odd: bool) -> Again | None:
        """What the odd rounds say alone, or the even ones."""
        rates = {number: rate for number, rate in self.rates.items() if number % 2 == odd}
        return Again(self.point, rates, {number: self.p99s[number] for number in rates}) if rates else None


def brief(result: Any) -> str:
    """One line for one step."""
    if isinstance(result, list):
        return f"{len(result)} points"
    return f"{result['text']} after {result['seconds']:.0f} s, {result['windows']} windows"


def again(state: State, budgets: Sequence[float], near: float) -> list[Point]:
    """All choices, and the points of the space that may be the best for one of the budgets; later only who is still in it."""
    chosen = [
        choice for _, result in _searches(state) for choice in result.get("choices", {"": result["choice"]}).values()
    ]
    found = {key(choice): choice for choice in chosen if choice}
    for budget in budgets:
        for kind in TITLES:
            space = [entry for entry in _space(state) if kind == "ours" or not entry[0]["setting"]["delay_us"]]
            best = max((rate for _, rate, p99 in space if p99 <= 0.95 * budget), default=0.0)
            found = {key(p): p for p, rate, p99 in space if p99 <= EDGE * budget and rate >= near * best} | found
    if _rounds(state) >= SETTLED:
        measured = _measured(state)
        wanted = {key(entry.point) for budget in budgets for kind in TITLES for entry in _in_it(state, kind, budget)}
        wanted |= {name for name in found if name not in measured or len(measured[name].rates) < SETTLED}
        found = {name: point for name, point in found.items() if name in wanted}
    return [found[name] for name in sorted(found)]


def key(point: Point) -> str:
    """One name for all points that cannot differ.

    Without a queue delay, waiting clients that are fewer than the largest batch never fill it: how large it is does not matter.
    """
    setting = point["setting"]
    free = not setting["delay_us"] and setting["max_batch"] >= point["load"]
    batch = f"b{point['load']:g} or more" if free else f"b{setting['max_batch']} {setting['delay_us']} us"
    return f"{setting['instances']}x {setting['threads']} threads {batch}, c={point['load']:g}"


def show(state: State, budgets: Iterable[float]) -> None:
    """Print the tables of one model."""
    measured, budgets = _measured(state), list(budgets)
    size = sum(1 for _ in _space(state))
    print(f"measured again: {len(measured)} points, {_rounds(state)} rounds; the whole space: {size} points")
    for kind, title in TITLES.items():
        runs = [(name, result) for name, result in _searches(state) if name.startswith(f"{kind} ")]
        if runs:
            print(f"\n{title}")
            _table(state, kind, measured, budgets)
            _overhead([result for _, result in runs])


def _table(state: State, kind: str, measured: Mapping[str, Again], budgets: Sequence[float]) -> None:
    print(
        f"{'budget':>7} {'tool':<17}{'s':>6}{'windows':>9}  {'its choice':<28}"
        f"{'again: /s':>10}{'p99 ms':>8}{'pace':>7}{'of best':>9}  {'ok':<16}against MA's best"
    )
    times = _times(state)
    for budget in budgets:
        theirs = [entry for _, result in _analyzers(state, budget) if (entry := _entry(measured, result["choice"]))]
        anchor = max((entry for entry in theirs if entry.p99 <= budget / NEAR), key=lambda e: e.rate, default=None)
        verdicts = []
        runs = [("ours", result) for name, result in _searches(state) if name.startswith(f"{kind} {budget:g} ")]
        for tool, result in (*runs, *_analyzers(state, budget)):
            entry, pace = _entry(measured, result["choice"]), _level(result, times)
            here = budget / math.exp(pace)  # what the budget of that search would be at the usual pace
            judged = _Judged(
                result["seconds"],
                pace,
                _verdict(entry, measured, kind, here),
                _verdict(entry, measured, kind, here, best_over=1 / NEAR),
                _verdict(entry, measured, kind, budget),
            )
            if tool == "ours":
                verdicts.append(judged)
            share = _share(entry, measured, kind, here) if entry else None
            print(f"{budget:>7.0f} {tool:<17}{_row(result, entry, share, judged, anchor if tool == 'ours' else None)}")
        if verdicts:
            _sum_up(verdicts, _best(measured, kind, budget))


@dataclass(frozen=True)
class _Judged:
    """One of our searches."""

    seconds: float
    pace: float
    """By how much the machine was slower then, as a logarithm."""
    verdict: str
    """At the pace that the machine had during the search."""
    strict: str
    """The same, the best being allowed to be as far over the budget as the choice."""
    usual: str
    """At the usual pace of the rounds, whatever the machine did during the search."""


def _entry(measured: Mapping[str, Again], choice: Point | None) -> Again | None:
    return measured.get(key(choice)) if choice else None


def _row(result: Any, entry: Again | None, share: float | None, judged: _Judged, anchor: Again | None) -> str:
    line = f"{result['seconds']:>6.0f}{result['windows']:>9}  {result['text']:<28}"
    if entry is None:
        return line + "  not measured again"
    slower, of_best = math.exp(judged.pace), f"{share:>9.0%}" if share is not None else f"{'':>9}"
    line += f"{entry.rate:>10.0f}{entry.p99 * slower:>8.1f}{slower - 1:>+7.1%}{of_best}  {judged.verdict:<16}"
    return line + (f"{entry.rate / anchor.rate - 1:+.0%}, p99 {entry.p99 / anchor.p99 - 1:+.0%}" if anchor else "")


def _sum_up(verdicts: Sequence[_Judged], best: Again | None) -> None:
    count = len(verdicts)
    right = sum(run.verdict == "yes" for run in verdicts)
    alike = right + sum(run.verdict == "not told apart" for run in verdicts)
    seconds = [run.seconds for run in verdicts]
    known = f"{best.point['text']}: {best.rate:.0f}/s, p99 {best.p99:.1f} ms" if best else "none measured again"
    kept = sum(run.verdict not in ("over the budget", "") for run in verdicts)
    print(
        f"{'':>7} in budget {kept} of {count}, right {right} (with those that cannot be told apart {alike};"
        f" if the best may be over the budget too {sum(run.strict == 'yes' for run in verdicts)};"
        f" at the usual pace {sum(run.usual == 'yes' for run in verdicts)});"
        f" {statistics.median(seconds):.0f} s in the median, {max(seconds):.0f} s at most; best: {known}"
    )


def _verdict(
    entry: Again | None, measured: Mapping[str, Again], kind: str, budget: float, *, best_over: float = 1.0
) -> str:
    """A choice may be over the budget by 3 %, and below the best by as much; the best keeps `best_over` times the budget."""
    if entry is None:
        return ""
    if entry.p99 > budget / NEAR:
        return "over the budget"
    best, share = _best(measured, kind, budget * best_over), _share(entry, measured, kind, budget * best_over)
    if best is None or share is None or share >= NEAR:
        return "yes"
    return "not told apart" if _alike(entry, best) else "no"


def _share(entry: Again, measured: Mapping[str, Again], kind: str, budget: float) -> float | None:
    """What a choice gives of the best, fairly: the even rounds name the best and the odd ones compare, and the other way round.

    The highest of several noisy numbers is too high by chance: six equal points with an error of 2 % each have one that seems
    2.5 % better than they all are, so that few of them would be within 3 % of "the best".
    """
    found = []
    for odd in (False, True):
        rates = {half.rate: point for point in _kept(measured, kind, budget) if (half := point.half(odd))}
        other, own = rates[max(rates)].half(not odd) if rates else None, entry.half(not odd)
        if other and own:
            found.append(math.log(own.rate / other.rate))
    return math.exp(statistics.fmean(found)) if found else None


def _alike(entry: Again, best: Again) -> bool:
    """Whether the rounds leave it open that the choice gives 97 % of the best: one-sided, 95 %, in pairs."""
    logs = [entry.rates[number] - best.rates[number] for number in entry.rates if number in best.rates]
    if len(logs) < 3:
        return False
    error = statistics.stdev(logs) / math.sqrt(len(logs))
    return statistics.fmean(logs) + _T90[min(len(logs) - 1, max(_T90))] * error >= math.log(NEAR)


def _best(measured: Mapping[str, Again], kind: str, budget: float) -> Again | None:
    """The highest throughput of all that keep the budget."""
    return max(_kept(measured, kind, budget), key=lambda entry: entry.rate, default=None)


def _kept(measured: Mapping[str, Again], kind: str, budget: float) -> list[Again]:
    """Who keeps the budget, among those in half of the rounds at least."""
    most = max((len(entry.rates) for entry in measured.values()), default=0)
    return [
        entry
        for entry in measured.values()
        if entry.p99 <= budget and 2 * len(entry.rates) >= most and (kind == "ours" or not entry.delayed)
    ]


def _in_it(state: State, kind: str, budget: float) -> list[Again]:
    """Who may still be the best."""
    measured = _measured(state)
    best = _best(measured, kind, budget)
    return [
        entry
        for entry in measured.values()
        if best
        and entry.p99 <= EDGE * budget
        and entry.rate >= IN_IT * best.rate
        and (kind == "ours" or not entry.delayed)
    ]


def _measured(state: State) -> dict[str, Again]:
    """Every point with its rounds, at the usual pace of the machine."""
    times = _times(state)
    found: dict[str, tuple[Point, dict[int, float], dict[int, float]]] = {}
    for number, entries in enumerate(entries for name, entries in state.items() if name.startswith("again ")):
        for point, rate, p99, _, window in entries:
            pace = _pace(window, times)
            _, rates, p99s = found.setdefault(key(point), (point, {}, {}))
            rates[number], p99s[number] = math.log(rate) + pace, math.log(p99) - pace
    return {name: Again(*values) for name, values in found.items()}


def _times(state: State) -> Times:
    """What batches take in the rounds on average."""
    batches: dict[Runner, tuple[BatchCount, ...]] = {}
    for name, entries in state.items():
        if name.startswith("again "):
            for *_, window in entries:
                runner = Runner(*window["busy"])
                batches[runner] = merged(batches.get(runner, ()), [BatchCount(*batch) for batch in window["batches"]])
    return batch_times(batches)


def _pace(window: Mapping[str, Any], times: Times) -> float:
    """How much longer than usual the batches of a window took, as a logarithm: the machine is slower at times, by 8 % or so."""
    time = time_of(Runner(*window["busy"]), times)
    took = sum(seconds for _, _, seconds in window["batches"])
    usual = sum(count * time.seconds(size) for size, count, _ in window["batches"])
    return math.log(took / usual) if usual > 0 and times else 0.0


def _level(result: Any, times: Times) -> float:
    """The pace that the machine had while a search ran."""
    windows = result.get("paces", [])
    return (
        middle([_pace(window, times) for window in windows], [window["seconds"] for window in windows])
        if windows
        else 0.0
    )


def _overhead(runs: Sequence[Any]) -> None:
    """What our searches spent their time on, as shares of perf_analyzer's measuring windows."""
    total: Counter[str] = Counter()
    for run in runs:
        total.update(run["parts"])
    windows = total.pop("windows")
    shares = ", ".join(f"{name} {seconds / windows:.0%}" for name, seconds in total.most_common())
    without = sum(total.values()) - total["reloads"] - total["warm-up"]
    print(
        f"overhead over measuring windows: {sum(total.values()) / windows:.0%} ({shares});"
        f" without loading models anew and warming them up {without / windows:.0%}"
    )


def _searches(state: State) -> Iterator[tuple[str, Any]]:
    for name, result in state.items():
        if name.startswith(("ours ", "plain ", "analyzer ")):
            yield name, result


def _analyzers(state: State, budget: float) -> list[tuple[str, Any]]:
    """Model Analyzer's runs for this budget; one that ran for one budget only counts for all (it measures the same points)."""
    names = [name for name in state if name.startswith("analyzer ")]
    found = []
    for name in names:
        _, mode, own = name.split()
        alone = sum(other.split()[1] == mode for other in names) == 1
        result = state[name]
        if alone or float(own) == budget:
            choice = result["choices"].get(f"{budget:g}")
            told = {"choice": choice, "text": choice["text"] if choice else "nothing"}
            found.append((f"MA {mode} ({own} ms)", result | told))
    return found


def _rounds(state: State) -> int:
    return sum(name.startswith("again ") for name in state)


def _space(state: State) -> Iterator[tuple[Point, float, float]]:
    """Every point of the space with its mean throughput and its median p99 over all passes."""
    found: dict[str, tuple[Point, list[float], list[float]]] = {}
    for name, entries in state.items():
        if name.startswith("space "):
            for point, rate, p99, *_ in entries:
                _, rates, p99s = found.setdefault(point["text"], (point, [], []))
                rates.append(rate)
                p99s.append(p99)
    for point, rates, p99s in found.values():
        yield point, statistics.fmean(rates), statistics.median(p99s)
