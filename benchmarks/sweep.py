"""Our sweep beside NVIDIA Model Analyzer: `python -m benchmarks.sweep`. Prints the table, writes every number as JSON.

Same model, space, budget, server, load generator and inputs, in one run. Both winners are measured again the same way: five
times eight seconds, in turns, each freshly loaded. With `--truth` the whole space is measured too (long: see --help), and "ok"
says whether our choice keeps the budget and is within 3 % of the best of the space. All of it takes hours on a quiet machine;
`--smoke` tries everything in two minutes and proves nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks import model_analyzer, sweep_models
from repository_builder.console import silent
from repository_builder.resources import cache_folder
from repository_builder.serving.perf_analyzer import PerfAnalyzer, write_input_data
from repository_builder.sweep.goal import Goal
from repository_builder.sweep.local import Kit, here, local_bench, only_sweep, requests_of
from repository_builder.sweep.measure import Bench
from repository_builder.sweep.sample import Candidate, Load, Refused, Sample, Setting
from repository_builder.sweep.search import Options, search
from repository_builder.sweep.store import opened
from repository_builder.sweep.subject import subject

LIMITS_S = {100: 30.0, 60: 75.0, 45: 75.0}
"""Time for our search by budget (ms): the targets."""


def main() -> None:
    """Run the benchmark."""
    options = _options()
    results: dict[str, Any] = {"started": time.strftime("%Y-%m-%d %H:%M"), "models": {}}
    with tempfile.TemporaryDirectory(prefix="triton-repo-sweep-bench-") as work, only_sweep():
        results["machine"] = dict(here(PerfAnalyzer.find()).facts)
        for name in options.models.split(","):
            print(f"\n{name}")
            repository = sweep_models.build(name, Path(work))
            results["models"][name] = _model(name, repository, Path(work), options)
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(results, indent=1))
    print(f"\nevery number: {options.out}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="mlp,conv,digits")
    parser.add_argument("--budgets", default="100,60,45", help="p99 in ms")
    parser.add_argument("--runs", type=int, default=10, help="runs of our search for each budget")
    parser.add_argument("--analyzer", choices=("none", "quick", "brute", "both"), default="both")
    parser.add_argument(
        "--analyzer-limit", type=float, default=1500, help="seconds after which Model Analyzer is stopped"
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds in which the winners are measured again")
    parser.add_argument("--seconds", type=float, default=8, help="length of each of these windows")
    parser.add_argument(
        "--truth", action="store_true", help="measure the space: two passes of 3 s, about 30 minutes a model"
    )
    parser.add_argument("--smoke", action="store_true", help="digits only, one short run of everything")
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks/sweep.json"))
    options = parser.parse_args()
    if options.smoke:
        options.models, options.budgets, options.runs, options.rounds, options.seconds = "digits", "100", 1, 1, 1.0
        options.analyzer = "none"
    return options


def _model(name: str, repository: Path, work: Path, options: argparse.Namespace) -> dict[str, Any]:
    model = sweep_models.MODELS[name]
    truth = _truth(model, repository, work) if options.truth else {}
    found: dict[str, Any] = {"truth": {str(candidate): value for candidate, value in truth.items()}, "budgets": {}}
    print(
        f"{'budget':>7} {'tool':<22}{'s':>7} {'windows':>8} {'its choice':<30}{'again: /s':>10}{'p99 ms':>8}{'ok':>7}"
    )
    for text in options.budgets.split(","):
        budget = float(text)
        ours = [_ours(model, repository, work, budget, options.smoke) for _ in range(options.runs)]
        theirs = _theirs(model, repository, work, budget, options)
        winners = {candidate for candidate, *_ in ours if candidate} | {c for c, *_ in theirs.values() if c}
        again = _again(model, repository, work, sorted(winners), options)
        found["budgets"][text] = _report(budget, ours, theirs, again, truth)
    return found


def _ours(model: sweep_models.Model, repository: Path, work: Path, budget_ms: float, smoke: bool) -> tuple[Any, ...]:
    """Winner, seconds from the start of the server to the answer, windows, and the share that was not measuring."""
    began = time.monotonic()
    limit = 15.0 if smoke else LIMITS_S.get(int(budget_ms), 75.0)
    with _bench(repository, work) as bench:
        space = bench.subject.member(model.member).space(2, (1, 64), axes=model.axes)
        window = 0.3 if smoke else 1.0
        searching = Options(limit_s=limit, explore_s=window, race_s=window)
        outcome = search(space, bench.of(model.member), Goal(budget_s=budget_ms / 1e3), searching)
        seconds = time.monotonic() - began
        other = seconds - bench.measuring_s - bench.loading_s
        windows = sum(len(e.explored) + len(e.raced) + len(e.disturbed) for e in outcome.estimates.values())
        return outcome.leader and outcome.leader.candidate, seconds, windows, other / seconds


def _theirs(
    model: sweep_models.Model, repository: Path, work: Path, budget_ms: float, options: argparse.Namespace
) -> dict[str, tuple[Candidate | None, model_analyzer.Answer | None, float]]:
    modes = {"none": (), "both": ("quick", "brute")}.get(options.analyzer, (options.analyzer,))
    if model.name != model.member:
        modes = ()  # it cannot pin one member of an ensemble
    found = {}
    for mode in modes:
        program = model_analyzer.install(cache_folder() / "benchmarks")
        data = work / f"{model.name}.json"
        with requests_of(repository, model.name, batched=True, file=None) as requests:
            if requests.first is None:
                raise SystemExit("the benchmark needs golden inputs")
            write_input_data(data, requests.first, batched=True)
        folder = work / f"analyzer-{model.name}-{mode}-{budget_ms:g}"
        answer, seconds = model_analyzer.profile(
            program, repository, model.name, model.axes, mode=mode, budget_ms=budget_ms, input_data=data, work=folder,
            limit_s=options.analyzer_limit,
        )  # fmt: skip
        setting = Setting(answer.instances, answer.max_batch, 0, (), 1) if answer else None
        found[mode] = (Candidate(setting, Load(answer.concurrency)) if setting and answer else None, answer, seconds)
    return found


def _again(
    model: sweep_models.Model, repository: Path, work: Path, winners: list[Candidate], options: argparse.Namespace
) -> dict[Candidate, list[Sample]]:
    """Every winner in turns, freshly loaded each time."""
    found: dict[Candidate, list[Sample]] = {candidate: [] for candidate in winners}
    with _bench(repository, work) as bench:
        for _ in range(options.rounds):
            for candidate in winners:
                sample = bench.window(model.member, candidate, options.seconds, role="again", reload=True)
                if not isinstance(sample, Refused):
                    found[candidate].append(sample)
    return found


def _report(
    budget: float, ours: Any, theirs: Any, again: Any, truth: dict[Candidate, tuple[float, float]]
) -> dict[str, Any]:
    """Print the rows of one budget; everything as JSON."""
    best = max((value for value, p99 in truth.values() if p99 <= budget), default=0.0)
    rows = [("ours", seconds, windows, candidate) for candidate, seconds, windows, _ in ours]
    for mode, (candidate, answer, seconds) in theirs.items():
        stopped = " (stopped)" if answer is None or not answer.ended else ""
        rows.append((f"MA {mode}{stopped}", seconds, answer.measurements if answer else 0, candidate))
    good, lines = 0, []
    for tool, seconds, windows, candidate in rows:
        samples = again.get(candidate) or []
        throughput = statistics.fmean(s.throughput for s in samples) if samples else 0.0
        p99 = statistics.median(s.p99 for s in samples) * 1e3 if samples else 0.0
        kept = bool(samples) and p99 <= 1.03 * budget
        ok = kept and throughput >= 0.97 * best if best else kept
        good += ok and tool == "ours"
        word = "yes" if ok else "no"
        print(
            f"{budget:>7.0f} {tool:<22}{seconds:>7.0f} {windows:>8} {candidate!s:<30}{throughput:>10.0f}{p99:>8.1f}{word:>7}"
        )
        windows_again = [[s.throughput, s.p99 * 1e3, s.foreign_cores] for s in samples]
        lines.append(
            {
                "tool": tool,
                "seconds": seconds,
                "windows": windows,
                "choice": str(candidate),
                "throughput": throughput,
                "p99_ms": p99,
                "ok": ok,
                "again": windows_again,
            }
        )
    overhead = statistics.median(share for *_, share in ours)
    against = f"best of the space {best:.0f}/s" if best else "budget only: the space was not measured (--truth)"
    print(f"{budget:>7.0f} ours: {good} of {len(ours)} ok, {against}")
    print(f"{'':>7} neither measuring nor loading: {overhead:.0%} of the time")
    answers = {mode: asdict(answer) for mode, (_, answer, _) in theirs.items() if answer}
    return {"rows": lines, "ok": good, "best_of_space": best, "overhead": overhead, "model_analyzer": answers}


def _truth(model: sweep_models.Model, repository: Path, work: Path) -> dict[Candidate, tuple[float, float]]:
    """Mean throughput and median p99 (ms) of every point, delays of 0, T/6 and T/3 included; two passes."""
    seen: dict[Candidate, list[Sample]] = {}
    with _bench(repository, work) as bench:
        space = bench.subject.member(model.member).space(2, (1, 64), axes=model.axes)
        outcome = search(space, bench.of(model.member), Goal(), Options(limit_s=60.0))
        for _ in range(2):
            for runner, time_ in outcome.times.items():
                for setting in space.settings(runner, time_):
                    for load in space.loads_for(setting.instances, setting.max_batch):
                        sample = bench.window(model.member, Candidate(setting, load), 3.0, role="truth")
                        if not isinstance(sample, Refused):
                            seen.setdefault(Candidate(setting, load), []).append(sample)
    return {
        candidate: (statistics.fmean(s.throughput for s in samples), statistics.median(s.p99 for s in samples) * 1e3)
        for candidate, samples in seen.items()
    }


@contextmanager
def _bench(repository: Path, work: Path) -> Iterator[Bench]:
    """A fresh server and a store that forgets."""
    with ExitStack() as stack:
        what = subject(repository)
        analyzer = PerfAnalyzer.find()
        requests = stack.enter_context(requests_of(repository, what.model, batched=True, file=None))
        store = stack.enter_context(opened(work / "windows.sqlite"))
        session = store.begin(here(analyzer), what.digest, {}, resume=False)
        kit = Kit(what, analyzer, session, replace(requests))
        yield stack.enter_context(local_bench(repository, kit, silent))


if __name__ == "__main__":
    main()
