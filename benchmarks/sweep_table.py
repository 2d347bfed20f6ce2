"""What `benchmarks/sweep.py` has measured, as a table."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

State = Mapping[str, Any]
_T90 = {2: 2.92, 3: 2.35, 4: 2.13, 5: 2.02, 6: 1.94}
"""Student's t, one-sided 95 %, by degrees of freedom."""
MOST = 8
"""Points of the space that are measured again for each budget, at most."""


def brief(result: Any) -> str:
    """One line for one step."""
    if isinstance(result, list):
        return f"{len(result)} points"
    return f"{result['text']} after {result['seconds']:.0f} s, {result['windows']} windows"


def again(state: State, budgets: Iterable[float], near: float) -> list[dict[str, Any]]:
    """All choices, and the points of the space that may be the best for one of the budgets."""
    found = {result["choice"]["text"]: result["choice"] for _, result in _searches(state) if result["choice"]}
    for budget in budgets:
        fitting = [(rate, point) for point, rate, p99 in _points(state, "space ") if p99 <= 1.05 * budget]
        best = max((rate for rate, _ in fitting), default=0.0)
        fitting.sort(key=lambda entry: -entry[0])
        found |= {point["text"]: point for rate, point in fitting[:MOST] if rate >= near * best}
    return [found[text] for text in sorted(found)]


def show(state: State, budgets: Iterable[float]) -> None:
    """Print the table of one model."""
    measured = {point["text"]: (rate, p99) for point, rate, p99 in _points(state, "again ")}
    rates = _rates(state)
    rounds = sum(name.startswith("again ") for name in state)
    print(f"measured again: {len(measured)} points, {rounds} rounds; the whole space: {_size(state)} points")
    print(
        f"{'budget':>7} {'tool':<16}{'s':>6}{'windows':>9}  {'its choice':<28}"
        f"{'again: /s':>10}{'p99 ms':>8}{'of best':>9}  ok"
    )
    single = len({name.split()[-1] for name in state if name.startswith("analyzer ")}) == 1  # one run for all budgets
    for budget in budgets:
        kept = {text: rate for text, (rate, p99) in measured.items() if p99 <= budget}
        best = max(kept, key=lambda text: kept[text], default="")
        right = []
        for name, result in _searches(state):
            kind, *rest = name.split()
            if float(rest[-1] if kind == "analyzer" else rest[0]) != budget and not (kind == "analyzer" and single):
                continue
            tool = "ours" if kind == "ours" else f"MA {rest[0]} ({rest[1]} ms)"
            rate, p99 = measured.get(result["text"], (0.0, 0.0))
            share = rate / kept[best] if best else 0.0
            ok = bool(rate) and p99 <= 1.03 * budget and share >= 0.97
            alike = bool(rate) and p99 <= 1.03 * budget and _alike(rates[result["text"]], rates[best])
            if kind == "ours":
                right.append((ok, ok or alike))
            print(
                f"{budget:>7.0f} {tool:<16}{result['seconds']:>6.0f}{result['windows']:>9}  {result['text']:<28}"
                f"{rate:>10.0f}{p99:>8.1f}{share:>9.0%}  {'yes' if ok else 'not told apart' if alike else 'no'}"
            )
        if right:
            known = f"{best}: {kept[best]:.0f}/s, p99 {measured[best][1]:.0f} ms" if best else "none measured again"
            seconds = [result["seconds"] for name, result in _searches(state) if name.startswith(f"ours {budget:g} ")]
            print(
                f"{'':>7} right in {sum(ok for ok, _ in right)} of {len(right)} (with those that cannot be told apart"
                f" {sum(alike for _, alike in right)}); {statistics.median(seconds):.0f} s in the median,"
                f" {max(seconds):.0f} s at most; best: {known}"
            )
    _overhead([result for name, result in _searches(state) if name.startswith("ours ")])


def _rates(state: State) -> dict[str, list[float]]:
    """Point → its throughput in each round."""
    found: dict[str, list[float]] = {}
    for name, entries in state.items():
        if name.startswith("again "):
            for point, rate, *_ in entries:
                found.setdefault(point["text"], []).append(rate)
    return found


def _alike(choice: list[float], best: list[float]) -> bool:
    """Whether the rounds leave it open that the choice gives 97 % of the best: one-sided, 95 %, in pairs."""
    logs = [math.log(ours / theirs) for ours, theirs in zip(choice, best, strict=False)]
    if len(logs) < 3:
        return False
    error = statistics.stdev(logs) / math.sqrt(len(logs))
    return statistics.fmean(logs) + _T90[min(len(logs) - 1, max(_T90))] * error >= math.log(0.97)


def _overhead(runs: list[Any]) -> None:
    """What our searches spent their time on, as shares of perf_analyzer's measuring windows."""
    if not runs:
        return
    total: Counter[str] = Counter()
    for run in runs:
        total.update(run["parts"])
    windows = total.pop("windows")
    shares = ", ".join(f"{name} {seconds / windows:.0%}" for name, seconds in total.most_common())
    without = sum(total.values()) - total["reloads"] - total["warm-up"]
    print(
        f"overhead over measuring windows: {sum(total.values()) / windows:.0%} ({shares});"
        f" without reloads {without / windows:.0%}"
    )


def _searches(state: State) -> Iterator[tuple[str, Any]]:
    for name, result in state.items():
        if name.startswith(("ours ", "analyzer ")):
            yield name, result


def _points(state: State, kind: str) -> Iterator[tuple[dict[str, Any], float, float]]:
    """Every point with its mean throughput and its median p99 over all passes."""
    found: dict[str, tuple[dict[str, Any], list[float], list[float]]] = {}
    for name, entries in state.items():
        if name.startswith(kind):
            for point, rate, p99, *_ in entries:
                _, rates, p99s = found.setdefault(point["text"], (point, [], []))
                rates.append(rate)
                p99s.append(p99)
    for point, rates, p99s in found.values():
        yield point, statistics.fmean(rates), statistics.median(p99s)


def _size(state: State) -> int:
    return sum(1 for _ in _points(state, "space "))
