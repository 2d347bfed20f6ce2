"""NVIDIA Model Analyzer for `benchmarks/sweep.py`: in an environment of its own, against the same embedded server."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERSION = "1.58.0"


@dataclass(frozen=True)
class Row:
    """One of its measurements."""

    instances: int
    max_batch: int
    concurrency: int
    throughput: float
    p99_ms: float


def install(folder: Path) -> Path:
    """The program; made on first use."""
    program = folder / "model_analyzer" / "bin" / "model-analyzer"
    if not program.is_file():
        subprocess.run([sys.executable, "-m", "venv", str(folder / "model_analyzer")], check=True)
        pip = [str(program.with_name("pip")), "install", "-q", f"triton-model-analyzer=={VERSION}"]
        subprocess.run(pip, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return program


def profile(
    program: Path, repository: Path, model: str, axes: dict[str, tuple[int, ...]], *, mode: str, budget_ms: float,
    input_data: Path, work: Path, limit_s: float,
) -> tuple[list[Row], float, bool]:  # fmt: skip
    """Let it search: its measurements, the seconds it took, and whether it ended by itself.

    It gets a server that stays up and every instance on the CPU, which is how it did best without a GPU.
    """
    from repository_builder.serving.perf_analyzer import PerfAnalyzer
    from repository_builder.serving.server import serve

    work.mkdir(parents=True)
    analyzer = PerfAnalyzer.find()
    load = _script(work / "perf_analyzer", {"LD_LIBRARY_PATH": analyzer.library_path}, [str(analyzer.program)])
    document: dict[str, Any] = {
        "model_repository": str(repository),
        "output_model_repository_path": str(work / "output"),
        "override_output_model_repository": True,
        "checkpoint_directory": str(work / "checkpoints"),
        "export_path": str(work),
        "perf_analyzer_path": str(load),
        "run_config_search_mode": mode,
        "run_config_search_max_concurrency": max(axes["concurrency"]),
        "constraints": {"perf_latency_p99": {"max": round(budget_ms)}},
        "profile_models": {model: {"cpu_only": True, "perf_analyzer_flags": {"input-data": str(input_data)}}},
        "skip_summary_reports": True,
        "skip_detailed_reports": True,
    }
    if mode == "brute":
        document["run_config_search_max_instance_count"] = max(axes["instances"])
        document["run_config_search_max_model_batch_size"] = max(axes["max_batch"])
    began = time.monotonic()
    with serve(repository, control="explicit", graceful=False) as server:
        document |= {
            "triton_launch_mode": "remote",
            "triton_http_endpoint": server.http,
            "triton_grpc_endpoint": server.grpc,
            "triton_metrics_url": f"http://{server.metrics}/metrics",
            "client_protocol": "grpc",
        }
        ended = _run(program, document, work, limit_s)
    seconds = time.monotonic() - began
    return _measured(work), seconds, ended


def _run(program: Path, document: dict[str, Any], work: Path, limit_s: float) -> bool:
    import yaml

    config = work / "profile.yaml"
    config.write_text(yaml.safe_dump(document))
    with (work / "log.txt").open("w") as log:
        command = [str(program), "profile", "-f", str(config)]
        process = subprocess.Popen(command, cwd=work, stdout=log, stderr=subprocess.STDOUT)
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait(60)
            return False
    return True


def _measured(work: Path) -> list[Row]:
    """The newest checkpoint, which is there however it ended."""
    files = sorted((work / "checkpoints").glob("*.ckpt"), key=lambda file: file.stat().st_mtime)
    return rows(files[-1]) if files else []


def rows(checkpoint: Path) -> list[Row]:
    """Every measurement of a checkpoint, in its order."""
    results = json.loads(checkpoint.read_text())["ResultManager.results"]["_results"]
    found = []
    for variants in results.values():
        for config, measurements in variants.values():
            model = config["_model_run_configs"][0]["_model_config_variant"]["model_config"]
            count, batch = model["instanceGroup"][0].get("count", 1), model["maxBatchSize"]
            for measurement in measurements.values():
                part = measurement["_model_config_measurements"][0]
                values = {tag: value[1]["_value"] for tag, value in part["_non_gpu_data_from_tag"].items()}
                clients = part["_model_specific_pa_params"]["concurrency-range"]
                rate, p99 = values["perf_throughput"], values["perf_latency_p99"]
                found.append(Row(count, batch, clients, rate, p99))
    return found


def best(measured: Sequence[Row], budget_ms: float) -> Row | None:
    """What it would name: the most throughput within the budget."""
    kept = [row for row in measured if row.p99_ms <= budget_ms]
    return max(kept, key=lambda row: row.throughput, default=None)


def _script(path: Path, environment: dict[str, str], command: list[str]) -> Path:
    """A program that starts another one with its libraries: Model Analyzer has no option for them."""
    assignments = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items() if value)
    path.write_text(f'#!/bin/sh\nexec env {assignments} {shlex.join(command)} "$@"\n')
    path.chmod(0o755)
    return path
