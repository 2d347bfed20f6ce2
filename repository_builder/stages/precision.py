"""The stage `precision`: the first of the wanted precisions whose answers stay close enough to FP32; on a GPU that can run
the engines, the fastest of them.

The gate compares ONNX Runtime's answers of the lowered graph with those of the FP32 graph on real samples, at the
batches of every optimization profile. Where a precision fails, the few layers that spoil it are searched, kept in
FP32 and recorded.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repository_builder.build.stage import Stage, StageContext, content_digest
from repository_builder.errors import CheckFailed, GraphError, Problem, StageFailed
from repository_builder.shapes.profile import Profile
from repository_builder.stages import calibration, precision_environment, precision_speed, profiles
from repository_builder.stages.accuracy import Gate, Score, make_gate
from repository_builder.stages.graph import FACTS as GRAPH_FACTS
from repository_builder.stages.graph import MODEL, GraphFacts
from repository_builder.stages.precision_gate import Comparison
from repository_builder.stages.precision_search import Exhausted, smallest
from repository_builder.stages.precision_tool import ConversionFailed, PrecisionTool, precision_tool

REPORT = "precision.json"
REAL_SHARE = 0.5
"""At least this share of the heavy nodes must compute in a precision that the graph is said to have."""
MAX_TRIALS = 24
"""Conversions that a search for spoiling layers may cost."""


def stage(model: str, *, needs: Mapping[str, Stage], params: Mapping[str, Any], sources: Mapping[str, Path]) -> Stage:
    """The stage for one model; `params` are those of `run`, `sources` the files that they need (role `metric`: a metric).

    `needs`: `graph`, `samples` (for calibration and gate), and `held` (for the gate alone), where there are other ones.
    """
    return Stage(
        name=f"{model}/precision",
        run=run,
        params=params,
        sources=sources,
        needs=needs,
        tools=precision_environment.versions(),
        modules=tuple(
            f"repository_builder.stages.{name}"
            for name in (
                "accuracy",
                "bf16",
                "graph_dtypes",
                "precision_gate",
                "precision_search",
                "precision_speed",
                "precision_worker",
                "profiles",
            )
        ),
    )


@dataclass
class Trial:
    """What became of one precision."""

    precision: str
    passed: bool = False
    why: str = ""
    scores: tuple[Score, ...] = ()
    kept: tuple[str, ...] = ()
    """Nodes that stay in a higher precision: FP32, or FP16 beside INT8 and FP8."""
    share: float = 0.0
    """Share of the heavy nodes that compute in the precision."""
    opt_ms: Mapping[str, float] = field(default_factory=dict)
    """Profile → median milliseconds of its engine at opt, where it was timed."""

    def as_json(self) -> dict[str, Any]:
        """The trial as plain JSON values."""
        scores = [score.as_json() for score in self.scores]
        return {**vars(self), "kept": list(self.kept), "scores": scores, "opt_ms": dict(self.opt_ms)}


@dataclass(frozen=True)
class _Work:
    """Everything that the trials of one run share."""

    context: StageContext
    tool: PrecisionTool
    comparison: Comparison
    source: Path
    scratch: Path
    external: bool
    profiles: tuple[Profile, ...]
    trials: list[Trial] = field(default_factory=list)

    def convert(self, precision: str, keep: tuple[str, ...]) -> Path:
        """The graph in a precision, in a folder of its own. Raises ConversionFailed."""
        folder = Path(tempfile.mkdtemp(dir=self.scratch))
        samples = self.context.inputs["samples"] / calibration.FILE
        method = self.context.params["method"]
        self.tool.convert(
            self.source, folder / MODEL, precision, keep=keep, samples=samples, method=method, external=self.external
        )
        return folder


def run(context: StageContext) -> None:
    """Try the precisions `levels` in order; parameters: levels, metric, threshold, output, method, rescue, max_kept,
    those of `profiles`, and `speed` where a GPU can run the engines (the parameters of `engine.request`).
    """
    facts = GraphFacts.read(context.inputs["graph"])
    gate = make_gate(
        context.params["metric"],
        context.params["threshold"],
        context.params["output"],
        [tensor.name for tensor in facts.interface.outputs],
        context.sources.get("metric"),
    )
    python = precision_environment.ensure(context.progress)
    with tempfile.TemporaryDirectory(prefix="triton-repo-precision-") as folder, precision_tool(python) as tool:
        work = _start(context, facts, gate, tool, Path(folder))
        tried = ((level, _try(work, level)) for level in context.params["levels"])
        passing = ((level, found) for level, found in tried if found is not None)
        candidates = dict(passing if context.params.get("speed") else itertools.islice(passing, 1))
        if not candidates:
            raise _none_passed(work, context)
        chosen, why = _choose(work, candidates)
        shutil.copytree(candidates[chosen], context.out, dirs_exist_ok=True)
        labelled = work.comparison.labelled(candidates[chosen] / MODEL)
    shutil.copyfile(context.inputs["graph"] / GRAPH_FACTS, context.out / GRAPH_FACTS)
    report = _report(work, chosen, why) | ({"labelled": labelled} if labelled else {})
    (context.out / REPORT).write_text(json.dumps(report, indent=1))


def _choose(work: _Work, candidates: Mapping[str, Path]) -> tuple[str, str]:
    """The precision that is taken, and why: the fastest where engines can be timed, else the first that passed."""
    speed = work.context.params.get("speed")
    if not speed:
        return next(iter(candidates)), "the first that passes (no GPU here runs the engine)"
    if len(candidates) == 1:
        return next(iter(candidates)), "the only one that passes"
    timed = {}
    for level, folder in candidates.items():
        work.context.progress(f"precision: {level}: building and timing its engine")
        try:
            times = precision_speed.measure(
                folder / MODEL, work.scratch / f"engine-{level}", speed, work.profiles, work.context.progress
            )
            timed[level] = precision_speed.Timed(times)
            next(trial for trial in work.trials if trial.precision == level).opt_ms = times
        except (StageFailed, GraphError) as failure:
            timed[level] = precision_speed.Timed({}, f"{failure.problems[0].what} ({failure.problems[0].why})")
    return precision_speed.fastest(timed)


def _start(context: StageContext, facts: GraphFacts, gate: Gate, tool: PrecisionTool, scratch: Path) -> _Work:
    original = context.inputs["graph"] / MODEL
    batches, known = calibration.read(context.inputs["samples"])
    wanted, _ = profiles.resolve(context.params, facts, context.sources)
    corners = profiles.corners(wanted) if facts.batched else {}
    context.progress("precision: running the FP32 reference")
    held = calibration.read(context.inputs["held"])[0] if "held" in context.inputs else None
    comparison = Comparison.start(original, batches, gate, corners, labels=known["labels"], held=held)
    external = any(p.name not in (MODEL, GRAPH_FACTS) for p in original.parent.rglob("*") if p.is_file())
    named = scratch / "named" / MODEL
    _with_names(original, named, external=external)
    return _Work(context, tool, comparison, named, scratch, external, tuple(wanted))


def _with_names(original: Path, named: Path, *, external: bool) -> None:
    """The FP32 graph with a name for every node, so that layers can be kept by name."""
    import onnx

    named.parent.mkdir()
    model = onnx.load(str(original))
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
    where = {"save_as_external_data": True, "location": "model.data"} if external else {}
    onnx.save(model, str(named), **where)


def _try(work: _Work, level: str) -> Path | None:
    """The folder of the graph in this precision if it passes, else None; the trial is recorded."""
    trial = Trial(level)
    work.trials.append(trial)
    if level == "fp32":
        trial.passed, trial.share, trial.why = True, 1.0, "the reference itself"
        return _unchanged(work)
    try:
        folder = _measure(work, trial, ())
        if folder is not None or not work.context.params["rescue"] or trial.share < REAL_SHARE:
            return folder
        return _rescue(work, trial)
    except ConversionFailed as failure:
        trial.why = f"nvidia-modelopt: {failure}"
        return None


def _unchanged(work: _Work) -> Path:
    folder = Path(tempfile.mkdtemp(dir=work.scratch))
    shutil.copytree(work.context.inputs["graph"], folder, dirs_exist_ok=True)
    return folder


def _measure(work: _Work, trial: Trial, keep: tuple[str, ...]) -> Path | None:
    from repository_builder.stages import graph_dtypes

    kept = f", {len(keep)} layers kept" if keep else ""
    work.context.progress(f"precision: {trial.precision}{kept}: converting")
    folder = work.convert(trial.precision, keep)
    trial.kept, trial.share = keep, graph_dtypes.share(_structure(folder), trial.precision)
    if trial.share < REAL_SHARE:
        trial.why = f"only {trial.share:.0%} of the layers that do the arithmetic became {trial.precision}"
        return None
    work.context.progress(f"precision: {trial.precision}{kept}: comparing with FP32")
    trial.scores = tuple(work.comparison.scores(folder / MODEL))
    failed = [score for score in trial.scores if not score.passed]
    trial.passed = not failed
    gate = work.comparison.gate.metric
    trial.why = (
        "; ".join(f"{gate} {score.value:.7g} at {score.at}, needs {score.needed:g}" for score in failed[:3])
        or f"{gate} passes everywhere"
    )
    return folder if trial.passed else None


def _rescue(work: _Work, trial: Trial) -> Path | None:
    """Keep the smallest set of layers out of it with which the precision passes, if it is small."""
    from repository_builder.stages import graph_dtypes

    first, limit = trial.why, work.context.params["max_kept"]
    roles = graph_dtypes.roles(_structure(work.source.parent))
    layers = tuple(roles)

    def passes(keep: tuple[str, ...]) -> bool:
        work.context.progress(f"precision: {trial.precision}: which layers must stay? trying {len(keep)}")
        try:
            folder = work.convert(trial.precision, keep)
        except ConversionFailed:
            return len(keep) == len(layers)  # nothing left to quantize: that is the FP32 graph
        return work.comparison.quick(folder / MODEL).passed

    try:
        keep = smallest(layers, passes, max_size=limit, max_trials=MAX_TRIALS, roles=roles)
    except Exhausted as exhausted:
        trial.why = f"{first}; {exhausted}"
        return None
    folder = _measure(work, trial, keep)
    trial.why = f"{first}; with {', '.join(keep)} in higher precision: {trial.why}"
    return folder


def _structure(folder: Path) -> Any:
    import onnx

    return onnx.load(str(folder / MODEL), load_external_data=False)


def _report(work: _Work, level: str, why: str) -> dict[str, Any]:
    chosen = next(trial for trial in work.trials if trial.precision == level)
    return {
        "chosen": chosen.precision,
        "why": why,
        "kept": list(chosen.kept),
        "metric": work.comparison.gate.metric,
        "question": _question(work),
        "samples": calibration.read(work.context.inputs["samples"])[1]["origin"],
        "reference": "FP32 ONNX graph, ONNX Runtime on the CPU",
        "trials": [trial.as_json() for trial in work.trials],
    }


def _question(work: _Work) -> dict[str, str]:
    """What the scores answer: they are comparable with those of another build only where this is the same."""
    inputs, labels = work.context.inputs, work.comparison.labels
    asked = {role: calibration.digest(inputs[role]) for role in ("samples", "held") if role in inputs}
    asked |= {"labels": hashlib.sha256(json.dumps(labels).encode()).hexdigest()} if labels else {}
    if own := work.context.sources.get("metric"):
        asked["metric"] = content_digest(own)
    return {**asked, "output": work.comparison.gate.output}


def _none_passed(work: _Work, context: StageContext) -> CheckFailed:
    what = "no wanted precision is accurate enough"
    where = "precision.try"
    error = CheckFailed.many(
        Problem(f"{what}: {trial.precision}", where, trial.why, _advice(trial, context)) for trial in work.trials
    )
    error.log = work.tool.log
    return error


def _advice(trial: Trial, context: StageContext) -> str:
    if trial.share < REAL_SHARE:
        return "this network has too few layers of a kind and size that can be lowered; try another precision"
    more = "more, and representative, calibration samples; " if trial.precision in ("int8", "fp8") else ""
    return f"{more}add `fp32` to `try` as the last resort; or lower the threshold of `{context.params['metric']}`"
