"""`baseline.json`: what later builds must not fall behind. Accuracy of a build that was accepted, and its latency.

The file lies at the repository's root, where a build leaves foreign files alone. `build` and `upgrade` compare and keep the
accuracy, `profile` the latency; `--set-baseline` of each accepts what it has found. The accuracy that is kept is the best of
the accepted builds, so that many small steps down are not missed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from repository_builder.errors import CheckFailed, Problem, RepositoryError
from repository_builder.repository.manifest import Manifest, PipelineEntry

FILENAME = "baseline.json"
GROWTH = 1.25
"""The error may grow by this factor before a rebuild counts as less accurate."""
FLOOR = {"top1": 0.005, "accuracy": 0.005, "cosine": 1e-5, "max_abs": 1e-5}
"""Metric → growth of the error that is never a loss: rounding differs from build to build."""
DECIBELS = 1.0
"""Allowed loss of a signal-to-noise ratio (a factor of 1.26 in energy)."""
SHARE = 0.01
"""Allowed loss of a metric of the user's own, whose best value is not known."""


@dataclass(frozen=True)
class Accuracy:
    """How far one network is from its reference, by one measurement. All scores are such that more is better."""

    metric: str
    question: Mapping[str, str]
    """What was asked (samples, output, GPU): numbers are compared only where this is the same."""
    precision: str
    scores: Mapping[str, float]
    """Where (`small.max (batch 8)`) → score."""
    rows: Mapping[str, int] = field(default_factory=dict)
    """Where → samples behind the score, if known."""


@dataclass(frozen=True)
class Baseline:
    """The whole file."""

    accuracy: Mapping[str, Accuracy] = field(default_factory=dict)
    """`digits/precision` → what was measured."""
    gpu: str = ""
    """The GPU on which latencies were measured; empty: none were."""
    points: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Latency by shape, as `release.measurement` writes it."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """The file's content; an empty baseline where there is no file."""
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            accuracy = {key: Accuracy(**entry) for key, entry in value.get("accuracy", {}).items()}
            return cls(accuracy, str(value["gpu"]), {key: dict(entry) for key, entry in value["points"].items()})
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RepositoryError(
                "cannot read the baseline", where=path, why=str(error), fix="measure it again with `--set-baseline`"
            ) from error

    def write(self, path: Path) -> None:
        """Write the file; an empty baseline needs none."""
        if self != Baseline():
            path.write_text(json.dumps(asdict(self), indent=1, sort_keys=True) + "\n", encoding="utf-8")


def accuracies(manifest: Manifest, models: tuple[str, ...] | None = None) -> dict[str, Accuracy]:
    """Everything that the manifest knows of the accuracy of its models (of `models` only, if given)."""
    wanted = manifest.pipelines if models is None else {name: manifest.pipelines[name] for name in models}
    return {f"{name}/{kind}": found for name, entry in wanted.items() for kind, found in _measured(entry)}


def _measured(entry: PipelineEntry) -> Iterator[tuple[str, Accuracy]]:
    report, parity = entry.notes.get("precision"), entry.notes.get("parity") or {}
    precision = str(entry.notes.get("engine", {}).get("precision", ""))
    if report and "question" in report:
        chosen = next(trial for trial in report["trials"] if trial["precision"] == report["chosen"])
        scores = {score["at"]: float(score["value"]) for score in chosen["scores"]}
        rows = {score["at"]: int(score["rows"]) for score in chosen["scores"]}
        if scores:
            yield "precision", Accuracy(report["metric"], report["question"], report["chosen"], scores, rows)
        if labelled := report.get("labelled"):
            at = "against the labels"
            scores, rows = {at: float(labelled["network"])}, {at: int(labelled["rows"])}
            yield "labels", Accuracy("accuracy", report["question"], report["chosen"], scores, rows)
    if "scores" in parity:
        scores = {
            f"{at} `{name}`": v["cosine"] for at, outputs in parity["scores"].items() for name, v in outputs.items()
        }
        yield "engine", Accuracy("cosine", parity["question"], precision, scores)


def least(metric: str, before: float, rows: int = 0) -> float:
    """The smallest score that is as good as `before`. One sample may change its class."""
    if metric == "snr_db":
        return before - DECIBELS
    if metric not in FLOOR:
        return before - SHARE * abs(before)
    best = 0.0 if metric == "max_abs" else 1.0
    one = 1 / rows if rows and metric in ("top1", "accuracy") else 0.0
    return best - ((best - before) * GROWTH + max(FLOOR[metric], one))


def losses(name: str, before: Accuracy, after: Accuracy) -> Iterator[Problem]:
    """Every score that fell further than allowed, with both numbers; a NaN always has."""
    for at in before.scores.keys() & after.scores.keys():
        old, new = before.scores[at], after.scores[at]
        needed = least(before.metric, old, min(before.rows.get(at, 0), after.rows.get(at, 0)))
        if not new >= needed:
            yield Problem(
                f"less accurate than the baseline: {name.partition('/')[0]} at {at}",
                name,
                f"{before.metric} {new:.6g} ({after.precision}), the baseline has {old:.6g} ({before.precision}); "
                f"{needed:.6g} would do",
                "`triton-repo plan` shows what changed; accept the loss with `--set-baseline`",
            )


def compared(known: Baseline, now: Mapping[str, Accuracy]) -> tuple[list[Problem], list[str]]:
    """What fell behind, and in words what could not be compared because something else was asked."""
    problems, notes = [], []
    for name, after in now.items():
        before = known.accuracy.get(name)
        if before is None:
            continue
        if changed := _changed(before, after):
            notes.append(
                f"note: accuracy of {name} is not compared with the last build (another {changed}); it starts anew"
            )
        else:
            problems += sorted(losses(name, before, after), key=lambda problem: problem.what)
    return problems, notes


def _changed(before: Accuracy, after: Accuracy) -> str:
    """What was asked differently; empty: nothing, so that the numbers can be compared."""
    asked = {"metric": (before.metric, after.metric)}
    for key in {**before.question, **after.question}:
        asked[key] = before.question.get(key, ""), after.question.get(key, "")
    return ", ".join(key for key, (old, new) in asked.items() if old != new)


def renewed(known: Baseline, now: Mapping[str, Accuracy], *, accepted: bool = False) -> Baseline:
    """The baseline after a build. What is new, was asked differently, is nowhere worse, or was accepted, is taken over."""
    kept = dict(known.accuracy)
    for name, after in now.items():
        before = kept.get(name)
        better = before is not None and all(after.scores.get(at, old) >= old for at, old in before.scores.items())
        if before is None or accepted or better or _changed(before, after):
            kept[name] = after
    return replace(known, accuracy=kept)


def require(known: Baseline, now: Mapping[str, Accuracy], *, accepted: bool = False) -> list[str]:
    """Raise CheckFailed for what fell behind, unless it is accepted; notes on what could not be compared."""
    problems, notes = compared(known, now)
    if problems and not accepted:
        raise CheckFailed.many(problems)
    return notes + [f"accepted: {problem.what} ({problem.why})" for problem in problems]
