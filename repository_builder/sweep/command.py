"""A sweep from request to result: opens everything, runs search or grid, keeps and shows what was found, applies it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repository_builder.console import Progress, note
from repository_builder.errors import CheckFailed, Problem
from repository_builder.serving.client import Client
from repository_builder.serving.perf_analyzer import PerfAnalyzer
from repository_builder.sweep import apply as applying
from repository_builder.sweep import document as documents
from repository_builder.sweep import export, grid
from repository_builder.sweep.local import Kit, here, local_bench, only_sweep, remote_bench, requests_of
from repository_builder.sweep.measure import Bench
from repository_builder.sweep.runner import Plan, Result, run
from repository_builder.sweep.sample import Load
from repository_builder.sweep.store import Fingerprint, Session, opened, path_for
from repository_builder.sweep.subject import Subject, remote_subject, subject

Table = tuple[str, Sequence[str], list[Sequence[object]]]
_SHOWN = 12
"""Points in the table; the report and --json have all."""


@dataclass(frozen=True)
class Request:
    """What the user asked for."""

    repository: Path | None
    url: str
    model: str
    plan: Plan
    grid: bool = False
    input_data: Path | None = None
    golden: Path | None = None
    control: bool = False
    resume: bool = True

    @property
    def read_only(self) -> bool:
        """Whether nothing may be loaded: a running server without permission."""
        return bool(self.url) and not self.control


@dataclass(frozen=True)
class Done:
    """A finished sweep."""

    request: Request
    subject: Subject
    document: dict[str, Any]
    result: Result | None
    """None for a grid."""
    change: applying.Change | None
    """What `--apply` would write."""

    @property
    def found(self) -> bool:
        """Whether anything meets the constraints."""
        points = [point for part in self.document["parts"] for point in part["points"]]
        return any(point["status"] in ("winner", "meets") for point in points) if points else False

    @property
    def applicable(self) -> bool:
        """Whether there is a proven better configuration."""
        return self.result is not None and self.result.better and self.change is not None

    def problems(self) -> list[Problem]:
        """Why nothing was found."""
        nearest = min(
            (point for part in self.document["parts"] for point in part["points"]),
            key=lambda p: p["p99_ms"],
            default=None,
        )
        refused = [entry for part in self.document["parts"] for entry in part["refused"]]
        why = (
            f"nearest: {nearest['text']} with p99 {nearest['p99_ms']:.1f} ms"
            if nearest
            else "nothing could be measured"
        )
        if refused:
            why += f"\nrefused by the server: {refused[0]['point']}: {refused[0]['why']}"
        if any(part["stopped"] == "time" for part in self.document["parts"]):
            why += "\nthe time for the search ran out (--budget)"
        fix = "allow more latency (--latency-p99), lower --min-throughput, or make the model faster (lower precision)"
        return [Problem(f"no configuration of `{self.subject.model}` meets the constraints", why=why, fix=fix)]

    def tables(self) -> Iterator[Table]:
        """The best measured points of each model that was varied."""
        columns = ("configuration", "n", "inferences/s", "p50 ms", "p99 ms", "mean batch", "")
        for part in self.document["parts"]:
            ranked = sorted(part["points"], key=_rank)
            rows: list[Sequence[object]] = [
                (
                    p["text"],
                    p["windows"],
                    f"{p['throughput']:.0f} ± {(p['throughput_high'] - p['throughput_low']) / 2:.0f}",
                    f"{p['p50_ms']:.1f}",
                    f"{p['p99_ms']:.1f}",
                    f"{p['mean_batch']:.1f}",
                    _remark(p),
                )
                for p in ranked[:_SHOWN]
            ]
            hidden = f", {len(ranked) - _SHOWN} more in the report" if len(ranked) > _SHOWN else ""
            pruned = f", {len(part['pruned'])} points promised too little" if part["pruned"] else ""
            yield f"{part['member']} ({part['why']}): {len(ranked)} points measured{hidden}{pruned}", columns, rows

    def sentences(self) -> Iterator[str]:
        """What it means."""
        seconds = self.document["seconds"]
        if self.document["winner"]:
            yield f"best: {self.document['winner']['text']}, {self.document['winner']['load']:g} clients"
        if self.document["verdict"]:
            verdict = self.document["verdict"]
            yield f"against the present configuration ({verdict['throughput']['pairs']} pairs): {verdict['text']}"
            if verdict["poisson"]:
                before, after = (1e3 * value for value in verdict["poisson"])
                yield f"Poisson arrivals, {verdict['poisson_rate']:g}/s: p99 {before:.1f} ms now, {after:.1f} ms tuned"
            if abs(verdict["drift"]) > 0.15:
                yield f"note: this machine's speed changed by {verdict['drift']:+.0%} meanwhile (a laptop that throttles?)"
        elif self.result is not None and self.document["winner"]:
            yield "no difference found: the present configuration is the best that was found"
        heaviest = max((p["loader_cores"] for part in self.document["parts"] for p in part["points"]), default=0.0)
        if heaviest > 0.25 * self.request.plan.cores:
            yield f"note: perf_analyzer itself used up to {heaviest:.1f} cores; from another machine the server would give more"
        started = seconds["measuring"] - seconds["windows"]
        rest = seconds["total"] - seconds["measuring"] - seconds["loading"] - seconds["warming"]
        yield (
            f"{seconds['total']:.0f} s: {seconds['windows']:.0f} s in measuring windows, {started:.0f} s perf_analyzer's start,"
            f" {seconds['loading']:.0f} s loading, {seconds['warming']:.0f} s warming up, {max(rest, 0.0):.0f} s the rest"
        )


def exported(request: Request, tool: str) -> str:
    """The equivalent for NVIDIA's tools."""
    what, _ = _subject(request)
    if tool == "perf_analyzer":
        return export.perf_analyzer(what, request.plan, url=request.url or "localhost:8001") + "\n"
    return export.model_analyzer(
        what, request.plan, request.repository or Path("model_repository"), member=request.plan.member
    )


def sweep(request: Request, progress: Progress) -> Done:
    """Do it. Whatever was measured stays in the store, also when this ends early."""
    what, golden_inputs = _subject(request)
    if request.plan.member:
        what.member(request.plan.member)
    analyzer = PerfAnalyzer.find(progress)
    machine = here(analyzer)
    with ExitStack() as stack:
        stack.enter_context(only_sweep())
        front = what.ensembles.get(what.model) or what.member(what.model).config
        requests = stack.enter_context(
            requests_of(golden_inputs, what.model, batched=front.max_batch_size > 0, file=request.input_data)
        )
        store = stack.enter_context(opened(path_for(request.repository, request.url)))
        session = store.begin(machine, what.digest, _question(request), resume=request.resume)
        if session.resumed:
            note(
                f"going on with an interrupted sweep: {session.resumed} windows are there already (--fresh to begin anew)"
            )
        stack.enter_context(_told_when_interrupted())
        bench = stack.enter_context(_bench(request, Kit(what, analyzer, session, requests), progress))
        return _measured(request, bench, session, machine, progress)


def write_report(done: Done, file: Path) -> None:
    """The HTML file."""
    from repository_builder.sweep.report import write

    write(done.document, file)


def apply(done: Done, say: Callable[[str], None]) -> bool:
    """Write the winner; the diff is shown first. The repository stays as it was if the golden answers differ."""
    from repository_builder.serving.server import serve
    from repository_builder.serving.verify import golden_files, verify

    repository, result, change = done.request.repository, done.result, done.change
    if repository is None or result is None or change is None:
        return False
    say(change.diff())

    def check(fresh: Path) -> None:
        golden_files(fresh, [done.subject.model])
        with serve(fresh, graceful=False) as server:
            (answer,) = verify(server, fresh, [done.subject.model])
        if not answer.passed:
            raise CheckFailed(
                "the tuned repository does not answer as recorded",
                why="; ".join(f"{output.tensor}: {output.why}" for output in answer.outputs if not output.equal),
                fix="nothing was written; see `triton-repo verify`",
            )

    record = {
        name: done.document[name] for name in ("start", "winner", "verdict", "pairs", "machine", "latency_p99_ms")
    }
    applying.write(repository, done.subject.model, change, record, check)
    return True


def _measured(request: Request, bench: Bench, session: Session, machine: Fingerprint, progress: Progress) -> Done:
    if request.grid or request.read_only:
        found = _grid(request, bench, machine, progress)
        session.finish(found)
        return Done(request, bench.subject, found, None, None)
    result = run(bench, request.plan, progress)
    change = None
    if request.repository is not None and result.changed:
        change = applying.change(request.repository, bench.subject, result.winner)
    diff = change.diff() if change else ""
    found = documents.document(bench.subject, request.plan, result, machine, diff)
    session.finish(found)
    return Done(request, bench.subject, found, result, change)


def _grid(request: Request, bench: Bench, machine: Fingerprint, progress: Progress) -> dict[str, Any]:
    """Every point of the grid; of a server that may not be changed only the loads."""
    plan = request.plan
    axes = {"concurrency": plan.axes.get("concurrency", ())} if request.read_only else plan.axes
    if request.read_only and set(plan.axes) - {"concurrency"}:
        note("the running server is only measured as it is; --control allows changes (and restores them)")
    member = bench.subject.member(plan.member) if plan.member else bench.subject.members[-1]
    if not plan.member and len(bench.subject.members) > 1 and set(axes) - {"concurrency"}:
        member = max(bench.subject.members, key=lambda m: m.config.backend != "python")
        note(f"the grid varies `{member.name}`; --member names another")
    loads = _loads(plan, axes.get("concurrency", ()))
    candidates = list(grid.points(axes, bench.settings[member.name], loads))
    for candidate in candidates:
        if candidate.setting.max_batch > member.max_batch:
            member.space(plan.cores, plan.concurrency, axes=axes)  # raises with the reason
    points = grid.run(bench, member.name, candidates, plan.options.explore_s, progress)
    return documents.grid_document(bench, plan, member.name, points, machine)


def _loads(plan: Plan, asked: Sequence[int]) -> list[Load]:
    if plan.rates:
        return [Load(rate, "rate") for rate in plan.rates]
    if asked:
        return [Load(value) for value in asked]
    low, high = plan.concurrency
    return [Load(value) for value in sorted({low, high, *(2**n for n in range(16) if low <= 2**n <= high)})]


def _subject(request: Request) -> tuple[Subject, Path | None]:
    """What is swept, and where its golden inputs lie."""
    if request.repository is not None:
        return subject(request.repository, request.model), request.repository
    with Client(request.url) as client:
        return remote_subject(request.url, request.model, client.config), request.golden


@contextmanager
def _bench(request: Request, kit: Kit, progress: Progress) -> Iterator[Bench]:
    if request.repository is None:
        with remote_bench(request.url, kit, control=request.control) as bench:
            yield bench
    else:
        with local_bench(request.repository, kit, progress) as bench:
            yield bench


@contextmanager
def _told_when_interrupted() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        note("interrupted: what was measured is kept, and the same command goes on from there; nothing was changed")
        raise


def _question(request: Request) -> dict[str, Any]:
    """What must be the same for an interrupted sweep to be taken up."""
    plan = request.plan
    return {
        "model": request.model,
        "goal": [plan.goal.objective, plan.goal.budget_s, plan.goal.min_throughput],
        "loads": [list(plan.concurrency), list(plan.rates)],
        "axes": {name: list(values) for name, values in plan.axes.items()},
        "member": plan.member,
        "window": plan.options.explore_s,
        "input_data": str(request.input_data or ""),
        "grid": request.grid,
    }


def _rank(point: dict[str, Any]) -> tuple[int, float]:
    return (0 if point["status"] == "winner" else 1 if point["status"] == "meets" else 2, -point["throughput"])


def _remark(point: dict[str, Any]) -> str:
    words = {"winner": "best", "breaks": "over the budget", "unsure": "too near to the budget"}
    parts = [words.get(point["status"], "")]
    if point["disturbed_windows"]:
        parts.append(f"{point['disturbed_windows']} disturbed windows measured again")
    return ", ".join(filter(None, parts))
