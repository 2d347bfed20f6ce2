"""A finished sweep as plain JSON values: what `--json` prints, the store keeps and the report draws."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from repository_builder.sweep.goal import Estimate, Goal, judge
from repository_builder.sweep.measure import Bench
from repository_builder.sweep.runner import Part, Plan, Result
from repository_builder.sweep.sample import Candidate, Sample, Setting
from repository_builder.sweep.store import Fingerprint
from repository_builder.sweep.subject import Subject

FORMAT = 1
_Z95 = 1.96


def document(subject: Subject, plan: Plan, result: Result, machine: Fingerprint, diff: str) -> dict[str, Any]:
    """Everything that a reader of the sweep may want."""
    goal = plan.goal
    leader = result.parts[-1].outcome.leader if result.parts else None
    return _head(subject, plan, machine) | {
        "start": _configuration(result.start, result.start_load.value, result.start_load.kind),
        "winner": _configuration(result.winner, result.winner_load.value, result.winner_load.kind) if leader else None,
        "better": result.better,
        "cheaper": round(result.cheaper, 3),
        "verdict": result.verdict.as_json() if result.verdict else None,
        "pairs": {
            "before": [_window(s) for s in result.before],
            "after": [_window(s) for s in result.after],
        },
        "parts": [_part(part, goal) for part in result.parts],
        "diff": diff,
        "seconds": {
            "search": round(result.search_s, 1),
            "total": round(result.total_s, 1),
            "measuring": round(result.measuring_s, 1),
            "loading": round(result.loading_s, 1),
            "windows": round(result.windows_s, 1),
            "warming": round(result.warming_s, 1),
        },
    }


def grid_document(
    bench: Bench,
    plan: Plan,
    member: str,
    points: tuple[Mapping[Candidate, Estimate], Mapping[Candidate, str]],
    machine: Fingerprint,
) -> dict[str, Any]:
    """The same for a plain grid: points without a winner."""
    estimates, refused = points
    entries = [point(estimate, plan.goal, member, None) for estimate in estimates.values()]
    for entry in entries:
        entry["pareto"] = _undominated(entry, entries)
    part = {
        "member": member,
        "why": "grid",
        "stopped": "settled",
        "seconds": round(bench.clock, 1),
        "points": entries,
        "nearest": None,
        "pruned": [],
        "refused": [{"point": str(candidate), "why": why} for candidate, why in refused.items()],
        "batch_times": [],
    }
    subject = bench.subject
    return _head(subject, plan, machine) | {
        "start": _configuration(bench.settings, 0, "concurrency"),
        "winner": None,
        "better": False,
        "verdict": None,
        "pairs": {"before": [], "after": []},
        "parts": [part],
        "diff": "",
        "seconds": {
            "search": round(bench.clock, 1),
            "total": round(bench.clock, 1),
            "measuring": round(bench.measuring_s, 1),
            "loading": round(bench.loading_s, 1),
            "windows": round(bench.windows_s, 1),
            "warming": round(bench.warming_s, 1),
        },
    }


def _head(subject: Subject, plan: Plan, machine: Fingerprint) -> dict[str, Any]:
    goal = plan.goal
    return {
        "format": FORMAT,
        "model": subject.model,
        "members": [member.name for member in subject.members],
        "ensembles": {name: _steps(config) for name, config in subject.ensembles.items()},
        "objective": goal.objective,
        "latency_p99_ms": None if goal.budget_s is None else goal.budget_s * 1e3,
        "min_throughput": goal.min_throughput,
        "machine": dict(machine.facts),
    }


def _configuration(settings: Mapping[str, Setting], load: float, kind: str) -> dict[str, Any]:
    return {
        "settings": {name: setting.as_json() for name, setting in settings.items()},
        "text": "; ".join(f"{name}: {setting}" for name, setting in settings.items()),
        "load": load,
        "load_kind": kind,
    }


def _part(part: Part, goal: Goal) -> dict[str, Any]:
    outcome = part.outcome
    leader = outcome.leader
    points = [point(estimate, goal, part.member, leader) for estimate in outcome.estimates.values()]
    for entry in points:
        entry["pareto"] = _undominated(entry, points)
    return {
        "member": part.member,
        "why": part.why,
        "stopped": outcome.stopped,
        "seconds": round(outcome.seconds, 1),
        "points": points,
        "nearest": str(outcome.nearest.candidate) if outcome.nearest else None,
        "pruned": [{"point": str(candidate), "why": why} for candidate, why in outcome.pruned.items()],
        "refused": [{"point": str(candidate), "why": why} for candidate, why in outcome.refused.items()],
        "batch_times": [
            {
                "instances": runner.instances,
                "threads": runner.threads,
                "fixed_ms": time.fixed * 1e3,
                "per_item_ms": time.per_item * 1e3,
                "seen_ms": {str(size): seconds * 1e3 for size, seconds in sorted(time.seen.items())},
            }
            for runner, time in sorted(outcome.times.items())
        ],
    }


def point(estimate: Estimate, goal: Goal, member: str, leader: Estimate | None) -> dict[str, Any]:
    """One measured point with its intervals, latency parts and batches."""
    samples = list(estimate.used)
    error = _Z95 * estimate.relative_error * estimate.throughput
    latencies = samples[0].latencies
    for sample in samples[1:]:
        latencies = latencies.merged(sample.latencies)
    p99s = [sample.p99 for sample in samples]
    return {
        "setting": estimate.candidate.setting.as_json(),
        "load": estimate.candidate.load.value,
        "load_kind": estimate.candidate.load.kind,
        "text": str(estimate.candidate),
        "status": "winner" if leader is not None and estimate is leader else judge(estimate, goal),
        "windows": len(estimate.explored) + len(estimate.raced),
        "fresh_loads": len(estimate.raced),
        "disturbed_windows": len(estimate.disturbed),
        "throughput": round(estimate.throughput, 1),
        "throughput_low": round(estimate.throughput - error, 1),
        "throughput_high": round(estimate.throughput + error, 1),
        "p50_ms": _ms(latencies.quantile(0.50)),
        "p90_ms": _ms(latencies.quantile(0.90)),
        "p95_ms": _ms(latencies.quantile(0.95)),
        "p99_ms": _ms(estimate.p99),
        "p99_low_ms": _ms(min(p99s)),
        "p99_high_ms": _ms(max(p99s)),
        "mean_ms": _ms(latencies.mean),
        "mean_batch": round(_mean(sample.times(member).mean_batch for sample in samples), 2),
        "batches": _batches(samples, member),
        "breakdown_ms": breakdown(samples),
        "foreign_cores": round(max(sample.foreign_cores for sample in samples), 2),
        "loader_cores": round(max(sample.loader_cores for sample in samples), 2),
    }


def breakdown(samples: Iterable[Sample]) -> dict[str, dict[str, float]]:
    """Mean milliseconds of a request: of the client, and of each model its queue, input, compute and output."""
    samples = list(samples)
    client = ("send", "network", "receive")
    parts = {"client": {name: _ms(_mean(sample.client.get(name, 0.0) for sample in samples)) for name in client}}
    for name in samples[0].models:
        times = [sample.times(name) for sample in samples]
        parts[name] = {
            label: _ms(_mean(getattr(t, field) / max(t.requests, 1) for t in times))
            for label, field in (
                ("queue", "queue_s"),
                ("input", "input_s"),
                ("compute", "infer_s"),
                ("output", "output_s"),
            )
        }
    return parts


def _batches(samples: Iterable[Sample], member: str) -> dict[str, int]:
    found: dict[int, int] = {}
    for sample in samples:
        for batch in sample.times(member).batches:
            found[batch.size] = found.get(batch.size, 0) + batch.count
    return {str(size): count for size, count in sorted(found.items())}


def _undominated(entry: Mapping[str, Any], points: Iterable[Mapping[str, Any]]) -> bool:
    """On the Pareto front: nothing gives more throughput at a lower p99."""
    return not any(
        other["throughput"] >= entry["throughput"] and other["p99_ms"] <= entry["p99_ms"] and other is not entry
        and (other["throughput"], other["p99_ms"]) != (entry["throughput"], entry["p99_ms"])
        for other in points
    )  # fmt: skip


def _window(sample: Sample) -> dict[str, float]:
    return {
        "throughput": round(sample.throughput, 1),
        "p99_ms": _ms(sample.p99),
        "foreign_cores": round(sample.foreign_cores, 2),
    }


def _steps(ensemble: Any) -> list[dict[str, Any]]:
    return [
        {"model": step.model_name, "inputs": dict(step.input_map), "outputs": dict(step.output_map)}
        for step in ensemble.ensemble_scheduling.step
    ]


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3) if math.isfinite(seconds) else 0.0


def _mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)
