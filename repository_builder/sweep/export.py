"""The same sweep for people who use NVIDIA's tools: a perf_analyzer command line, or a Model Analyzer configuration."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from repository_builder.sweep.runner import Plan
from repository_builder.sweep.space import Runner
from repository_builder.sweep.subject import Subject


def perf_analyzer(
    subject: Subject, plan: Plan, input_data: str = "input_data.json", url: str = "localhost:8001"
) -> str:
    """Command lines that measure the present configuration over the same loads."""
    command = ["perf_analyzer", "-m", subject.model, "-u", url, "-i", "grpc", "-b", "1", "--input-data", input_data]
    if plan.rates:
        low, high = min(plan.rates), max(plan.rates)
        step = (high - low) / max(len(plan.rates) - 1, 1)
        command += ["--request-rate-range", f"{low:g}:{high:g}:{step or low:g}", "--request-distribution", "poisson"]
    else:
        low_c, high_c = plan.concurrency
        command += ["--concurrency-range", f"{low_c}:{high_c}:{max(1, (high_c - low_c) // 8)}"]
    if plan.goal.budget_s is not None:
        command += ["--latency-threshold", f"{plan.goal.budget_s * 1e3:.0f}", "--percentile", "99"]
    return shlex.join(command)


def model_analyzer(subject: Subject, plan: Plan, repository: Path, *, member: str = "") -> str:
    """A `model-analyzer profile -f` configuration: a manual search over the same points, queue delays included."""
    import yaml

    varied = subject.member(member) if member else subject.members[0]
    space = varied.space(plan.cores, plan.concurrency, rates=plan.rates, axes=plan.axes)
    parameters: dict[str, object] = {
        "max_batch_size": list(space.batches),
        "instance_group": [[_group(varied.gpu, _counts(space.runners))]],
    }
    if space.largest_batch > 1:
        parameters["dynamic_batching"] = {"max_queue_delay_microseconds": list(space.delays_us) or [0, 1000, 5000]}
    constraints = {"perf_latency_p99": {"max": round(plan.goal.budget_s * 1e3)}} if plan.goal.budget_s else {}
    document = {
        "model_repository": str(repository.resolve()),
        "output_model_repository_path": "output_model_repository",
        "override_output_model_repository": True,
        "run_config_search_mode": "brute",
        "triton_launch_mode": "local",
        "constraints": constraints,
        "profile_models": {
            varied.name: {
                "parameters": {"concurrency": sorted({int(v) for v in space.loads} or set(_powers(*plan.concurrency)))},
                "model_config_parameters": parameters,
            }
        },
    }
    return yaml.safe_dump({key: value for key, value in document.items() if value != {}}, sort_keys=False)


def _counts(runners: Sequence[Runner]) -> list[int]:
    return sorted({runner.instances for runner in runners})


def _group(gpu: bool, counts: list[int]) -> Mapping[str, object]:
    return {"kind": "KIND_GPU" if gpu else "KIND_CPU", "count": counts}


def _powers(low: int, high: int) -> list[int]:
    values, size = [], 1
    while size <= high:
        if size >= low:
            values.append(size)
        size *= 2
    return values
