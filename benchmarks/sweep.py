"""Our sweep beside NVIDIA Model Analyzer: `python -m benchmarks.sweep`. Prints the table, keeps every number as JSON.

Same model, server, load generator and inputs; the same instances, batches and loads for both (queue delays are ours alone).
Ours searches twice: without queue delays, and with them. In this order, all in one state file: every point of the space
(`space`), then in turns our searches for each budget and a round in which all choices and the best points of the space are
measured, each freshly loaded; halfway Model Analyzer. A choice is right if it keeps the budget within 3 % there and gives at
least 97 % of the best point that keeps the budget, both at the pace that the machine had during that search.

It takes one to two hours on a quiet machine, in slices if need be: `--slice 240` stops before the next step would not fit and
goes on when it is called again. `--smoke` tries everything in two minutes and proves nothing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import model_analyzer, sweep_models, sweep_table
from repository_builder.console import silent
from repository_builder.resources import cache_folder
from repository_builder.serving.perf_analyzer import PerfAnalyzer, write_input_data
from repository_builder.sweep.goal import Goal
from repository_builder.sweep.local import Kit, here, local_bench, only_sweep, requests_of
from repository_builder.sweep.measure import Bench
from repository_builder.sweep.pace import busy
from repository_builder.sweep.sample import Candidate, Load, Refused, Sample, Setting
from repository_builder.sweep.search import Options, search
from repository_builder.sweep.space import DELAY_SHARES, rounded
from repository_builder.sweep.store import opened
from repository_builder.sweep.subject import subject

LIMITS_S = {100: 30.0, 60: 75.0, 45: 75.0}
"""Time for our search by budget (ms), start of the server included: the targets."""
NEAR = 0.88
"""Points of the space that seem at least so good compared with the best are measured again: a window is off by 10 %."""

State = dict[str, Any]

Step = tuple[str, float, Callable[[], Any]]
"""Name, about how long it takes (s), and what gives its result."""


@dataclass(frozen=True)
class Question:
    """What one of our searches is asked."""

    member: str
    axes: dict[str, tuple[int, ...]]
    budget_ms: float
    limit_s: float
    window_s: float


def main() -> None:
    """Run what is not in the state file yet, then print the table."""
    options = _options()
    state: State = json.loads(options.state.read_text()) if options.state.is_file() else {}
    options.state.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with only_sweep():
        state.setdefault("machine", dict(here(PerfAnalyzer.find()).facts))
        for name in options.models.split(","):
            _continue(state.setdefault(name, {}), name, options, began, lambda: _write(options.state, state))
    for name in options.models.split(","):
        print(f"\n{name}")
        sweep_table.show(state[name], [float(budget) for budget in options.budgets.split(",")])
    print(f"\nevery number: {options.state}")


def _write(file: Path, state: State) -> None:
    file.write_text(json.dumps(state, indent=1))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="mlp,conv,digits")
    parser.add_argument("--budgets", default="100,60,45", help="p99 in ms")
    parser.add_argument("--runs", type=int, default=10, help="runs of our search for each budget")
    parser.add_argument("--space", type=int, default=2, help="passes over the whole space (0: leave it out)")
    parser.add_argument("--analyzer", default="quick,brute", help="modes of Model Analyzer, or none")
    parser.add_argument("--analyzer-budget", default="", help="p99 that it is given (ms); default: each of --budgets")
    parser.add_argument(
        "--analyzer-limit", type=float, default=1500, help="seconds after which Model Analyzer is stopped"
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds in which choices are measured again")
    parser.add_argument("--seconds", type=float, default=8, help="length of each of these windows")
    parser.add_argument("--slice", type=float, default=float("inf"), help="seconds after which no step is begun")
    parser.add_argument("--smoke", action="store_true", help="digits only, one short run of everything")
    parser.add_argument("--state", type=Path, default=Path("out/benchmarks/sweep.json"))
    options = parser.parse_args()
    if options.smoke:
        options.models, options.budgets, options.runs, options.rounds, options.seconds = "digits", "100", 1, 1, 1.0
        options.analyzer, options.space = "none", 0
    return options


def _continue(state: State, name: str, options: argparse.Namespace, began: float, save: Callable[[], None]) -> None:
    """All steps of a model that are left and fit into the slice."""
    work = options.state.parent
    model = sweep_models.MODELS[name]
    repository = work / f"repository_{name}"
    if not repository.is_dir():
        sweep_models.build(name, work)
    for step, seconds, run in _steps(state, model, repository, options):
        if step in state:
            continue
        if time.monotonic() - began + seconds > options.slice:
            print(f"{name}: {step} and what follows is left for the next slice", flush=True)
            return
        state[step] = run()
        save()
        print(f"{time.strftime('%H:%M:%S')} {name} {step}: {sweep_table.brief(state[step])}", flush=True)


def _steps(state: State, model: sweep_models.Model, repository: Path, options: argparse.Namespace) -> Iterator[Step]:
    for number in range(options.space):
        for instances in model.axes["instances"]:
            name = f"space {number} {instances}x"
            yield name, 120.0, lambda i=instances: _space(model, repository, i)  # type: ignore[misc]
    # the machine changes within an hour: searches and the rounds that judge them take turns
    runs = max(options.runs, 1)
    for number in range(runs):
        yield from _searching(model, repository, options, range(number, min(number + 1, options.runs)))
        if number == runs // 2:
            yield from _analyzing(model, repository, options)
        rounds = range(options.rounds * number // runs, options.rounds * (number + 1) // runs)
        yield from _judging(state, model, repository, options, rounds)


def _searching(
    model: sweep_models.Model, repository: Path, options: argparse.Namespace, numbers: range
) -> Iterator[Step]:
    for number in numbers:
        for budget in options.budgets.split(","):
            limit = 15.0 if options.smoke else LIMITS_S.get(int(budget), 75.0)
            window = 0.3 if options.smoke else 1.0
            for kind, axes in (("plain", model.axes | {"delay_us": (0,)}), ("ours", model.axes)):
                question = Question(model.member, axes, float(budget), limit, window)
                yield f"{kind} {budget} {number}", limit, lambda q=question: _ours(repository, q)  # type: ignore[misc]


def _analyzing(model: sweep_models.Model, repository: Path, options: argparse.Namespace) -> Iterator[Step]:
    if model.name != model.member:
        return  # Model Analyzer cannot pin one member of an ensemble
    for mode in options.analyzer.removeprefix("none").split(","):
        for budget in (options.analyzer_budget or options.budgets).split(","):
            if mode:
                name = f"analyzer {mode} {budget}"
                yield name, 240.0, lambda m=mode, b=budget: _theirs(model, repository, m, float(b), options)  # type: ignore[misc]


def _judging(
    state: State, model: sweep_models.Model, repository: Path, options: argparse.Namespace, numbers: range
) -> Iterator[Step]:
    budgets = [float(budget) for budget in options.budgets.split(",")]
    for number in numbers:
        points = sweep_table.again(state, budgets, NEAR)
        cost = len(points) * (options.seconds + 2.0)
        yield f"again {number}", cost, lambda p=points: _again(model, repository, p, options.seconds)  # type: ignore[misc]


def _ours(repository: Path, question: Question) -> State:
    """One search, from the start of the server to the answer."""
    began = time.monotonic()
    with bench_of(repository) as bench:
        starting = time.monotonic() - began
        space = bench.subject.member(question.member).space(2, (1, 64), axes=question.axes)
        options = Options(limit_s=question.limit_s - starting, explore_s=question.window_s)
        outcome = search(space, bench.of(question.member), Goal(budget_s=question.budget_ms / 1e3), options)
        seconds = time.monotonic() - began
        parts = {
            "windows": bench.windows_s,
            "perf_analyzer": bench.measuring_s - bench.windows_s,
            "reloads": bench.loading_s,
            "warm-up": bench.warming_s,
            "start": starting,
        }
        leader = outcome.leader
        return {
            "choice": _point(leader.candidate) if leader else None,
            "text": str(leader.candidate) if leader else "nothing",
            "seconds": seconds,
            "windows": sum(len(e.windows) + len(e.disturbed) for e in outcome.estimates.values()),
            "stopped": outcome.stopped,
            "parts": parts | {"rest": seconds - sum(parts.values())},
            "tried": [
                [str(e.candidate), [[s.throughput, 1e3 * s.p99, s.foreign_cores] for s in e.windows]]
                for e in outcome.estimates.values()
            ],
            "paces": [_pace(e.candidate, s, question.member) for e in outcome.estimates.values() for s in e.windows],
        }


def _theirs(
    model: sweep_models.Model, repository: Path, mode: str, budget_ms: float, options: argparse.Namespace
) -> State:
    """One run of Model Analyzer."""
    program = model_analyzer.install(cache_folder() / "benchmarks")
    with (
        tempfile.TemporaryDirectory(prefix="triton-repo-sweep-bench-") as folder,
        requests_of(repository, model.name, batched=True, file=None) as requests,
    ):
        if requests.first is None:
            raise SystemExit("the benchmark needs golden inputs")
        data = Path(folder, "input_data.json")
        write_input_data(data, requests.first, batched=True)
        measured, seconds, ended = model_analyzer.profile(
            program, repository, model.name, model.axes, mode=mode, budget_ms=budget_ms, input_data=data,
            work=Path(folder, "analyzer"), limit_s=options.analyzer_limit,
        )  # fmt: skip
    choices = {}
    for budget in {*options.budgets.split(","), f"{budget_ms:g}"}:
        if row := model_analyzer.best(measured, float(budget)):
            candidate = Candidate(Setting(row.instances, row.max_batch, 0, (), 1), Load(row.concurrency))
            choices[budget] = _point(candidate)
    choice = choices.get(f"{budget_ms:g}")
    return {
        "choice": choice,
        "choices": choices,
        "text": choice["text"] if choice else "nothing",
        "seconds": seconds,
        "windows": len(measured),
        "ended": ended,
        "rows": [asdict(row) for row in measured],
    }


def _space(model: sweep_models.Model, repository: Path, instances: int) -> list[list[Any]]:
    """A window of a second of every point with so many instances that can differ, as in `_again`."""
    found: list[list[Any]] = []
    seen: set[str] = set()
    with bench_of(repository) as bench:
        space = bench.subject.member(model.member).space(2, (1, 64), axes=model.axes)
        shortest: dict[int, float] = {}
        for batch in space.batches:
            setting = Setting(instances, batch, 0, (), 1)
            sample = bench.window(model.member, Candidate(setting, Load(instances * batch)), 1.0, role="space")
            if not isinstance(sample, Refused):
                times = sample.times(model.member).batches
                shortest[batch] = max((b.seconds / b.count for b in times), default=0.0)
        for batch, whole in shortest.items():
            delays = {rounded(1e6 * whole * share) for share in DELAY_SHARES} if batch > 1 else {0}
            for delay in sorted(delays):
                for load in space.loads_for(instances, batch):
                    candidate = Candidate(Setting(instances, batch, delay, (), 1), load)
                    if sweep_table.key(_point(candidate)) in seen:
                        continue
                    seen.add(sweep_table.key(_point(candidate)))
                    sample = bench.window(model.member, candidate, 1.0, role="space")
                    if not isinstance(sample, Refused):
                        pace = _pace(candidate, sample, model.member)
                        found.append([_point(candidate), sample.throughput, 1e3 * sample.p99, 0.0, pace])
    return found


def _again(model: sweep_models.Model, repository: Path, points: list[Any], seconds: float) -> list[list[Any]]:
    """Every point, freshly loaded: [point, inferences/s, p99 in ms, foreign cores, `_pace`]."""
    found = []
    with bench_of(repository) as bench:
        for point in points:
            setting = Setting.from_json(point["setting"])
            candidate = Candidate(setting, Load(point["load"]))
            sample = bench.window(model.member, candidate, seconds, role="again", reload=True)
            if not isinstance(sample, Refused):
                pace = _pace(candidate, sample, model.member)
                found.append([point, sample.throughput, 1e3 * sample.p99, sample.foreign_cores, pace])
    return found


def _pace(candidate: Candidate, sample: Sample, member: str) -> State:
    """What says how fast the machine was: instances that were busy at once, seconds, and [size, count, seconds] of batches."""
    batches = [[batch.size, batch.count, batch.seconds] for batch in sample.times(member).batches]
    runner = busy(candidate)
    return {"busy": [runner.instances, runner.threads], "seconds": sample.seconds, "batches": batches}


def _point(candidate: Candidate) -> State:
    return {"setting": candidate.setting.as_json(), "load": candidate.load.value, "text": str(candidate)}


@contextmanager
def bench_of(repository: Path) -> Iterator[Bench]:
    """A fresh server and a store that forgets."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="triton-repo-sweep-bench-"))
        what = subject(repository)
        analyzer = PerfAnalyzer.find()
        requests = stack.enter_context(requests_of(repository, what.model, batched=True, file=None))
        store = stack.enter_context(opened(Path(folder, "windows.sqlite")))
        session = store.begin(here(analyzer), what.digest, {}, resume=False)
        yield stack.enter_context(local_bench(repository, Kit(what, analyzer, session, requests), silent))


if __name__ == "__main__":
    main()
