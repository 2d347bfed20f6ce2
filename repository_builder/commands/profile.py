"""Measure engines on this machine's GPU: latency at min, opt and max of every optimization profile, and between.

Plans of the full TensorRT are measured with `trtexec` where it is installed, all others with a runner of our own.
The result can be kept as the baseline of the repository, with which later builds are compared: a slower or less
accurate one fails with both numbers.

examples:
  triton-repo profile model_repository --dry-run             # what would be run, and a ready Nsight Systems line
  triton-repo profile model_repository --set-baseline --plot engines.html
  triton-repo profile model_repository --model digits_core --json

exit codes: 0 measured, 3 no GPU that runs them, 4 an engine does not run, 5 slower or less accurate than the baseline,
8 no engine or unreadable baseline
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repository_builder import console

if TYPE_CHECKING:
    from repository_builder.release.measurement import Measured, Point
    from repository_builder.release.measuring import Engine


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `profile`."""
    parser.add_argument("repository", type=Path, help="a repository with engines")
    parser.add_argument("--model", action="append", metavar="NAME", help="only this Triton model; may be repeated")
    parser.add_argument("--tool", choices=("auto", "trtexec", "python"), default="auto", help="what measures")
    parser.add_argument("--runs", type=int, default=200, help="executions per shape (default: %(default)s)")
    parser.add_argument("--set-baseline", action="store_true", help="keep the result as the baseline")
    parser.add_argument("--plot", type=Path, metavar="FILE.html", help="write a page with latency over the batch")
    parser.add_argument("--dry-run", action="store_true", help="only print what would be run")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(options: argparse.Namespace) -> int:
    """Measure every engine; compare with the baseline, or set it."""
    from repository_builder.release import measurement_plot, measuring
    from repository_builder.stages import engine_package

    found = measuring.engines(options.repository, options.model)
    if options.dry_run:
        return _dry_run(found, options)
    found = _for_this_machine(found)
    gpu = _gpu(found)
    results: dict[str, Measured] = {}
    layers: dict[str, Any] = {}
    with console.progress("profile", quiet=options.json) as progress:
        for engine in found:
            python = engine_package.interpreter(
                engine.package, engine.version, progress
            )  # after `upgrade`: another one
            measured, table = measuring.measure(
                engine, tool=options.tool, runs=options.runs, progress=progress, python=python
            )
            results |= measured
            layers[engine.model] = table
    _show(found, results, layers, as_json=options.json)
    if options.plot:
        every = [point for engine in found for point in engine.points]
        options.plot.write_text(measurement_plot.page(every, results, gpu), encoding="utf-8")
        console.note(f"plot: {options.plot}")
    _judge(options, results, gpu)
    return 0


def _judge(options: argparse.Namespace, results: dict[str, Measured], gpu: str) -> None:
    """Set the baseline, or compare latency and accuracy with it."""
    from repository_builder.release import measurement
    from repository_builder.repository import baseline, manifest

    file = options.repository / measurement.BASELINE
    record = manifest.read(options.repository)
    now = baseline.accuracies(record) if record else {}
    if options.set_baseline:
        measurement.write_baseline(file, results, gpu)
        baseline.renewed(baseline.Baseline.read(file), now, accepted=True).write(file)
        console.note(f"baseline: {file}")
    elif file.is_file():
        for note in baseline.require(baseline.Baseline.read(file), now):
            console.note(note)
        compared = measurement.require_as_fast(file, results, gpu)
        console.note(
            f"as fast as the baseline at {compared} shapes" if compared else "there is no latency to compare with"
        )


def _for_this_machine(found: list[Engine]) -> list[Engine]:
    """Of a model with plans for several kinds of GPUs those that run here; all of a model of which none does."""
    from repository_builder.machine import Gpu, able, this_machine

    machine = this_machine()
    runs = {id(e): isinstance(able(e.package, e.compute_capabilities, machine), Gpu) for e in found}
    served = {engine.model for engine in found if runs[id(engine)]}
    return [engine for engine in found if runs[id(engine)] or engine.model not in served]


def _gpu(found: list[Engine]) -> str:
    """The name of the GPU that runs every engine; raises TargetUnavailable where there is none that can."""
    from repository_builder.errors import Problem, TargetUnavailable
    from repository_builder.machine import Obstacle, able, this_machine

    machine = this_machine()
    runs_on = {engine.model: able(engine.package, engine.compute_capabilities, machine) for engine in found}
    problems = [
        Problem(
            f"cannot measure the engine of `{model}` here", why=gpu.why, fix=f"{gpu.fix}; `--dry-run` shows the lines"
        )
        for model, gpu in runs_on.items()
        if isinstance(gpu, Obstacle)
    ]
    if problems:
        raise TargetUnavailable.many(problems)
    return machine.gpus[0].name


def _dry_run(found: list[Engine], options: argparse.Namespace) -> int:
    from repository_builder.release.measurement import nsight_command
    from repository_builder.release.measuring import trtexec_commands

    lines = [
        shlex.join(command)
        for engine in found
        if engine.package == "tensorrt"
        for _, _, command in trtexec_commands(engine, Path())
    ]
    traced = ["triton-repo", "profile", str(options.repository), "--tool", "python"]
    nsight = nsight_command(traced, "triton-repo")
    shapes = [point.key for engine in found for point in engine.points]
    if options.json:
        console.print_json({"shapes": shapes, "trtexec": lines, "nsight": nsight})
        return 0
    console.table(("shape", "at"), [(point.key, point.at) for engine in found for point in engine.points])
    print("\n".join([*lines, nsight]))
    return 0


def _show(found: list[Engine], results: dict[str, Measured], layers: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        console.print_json({"points": {key: vars(value) for key, value in results.items()}, "layers": layers})
        return
    rows = [_row(point, results[point.key]) for engine in found for point in engine.points]
    console.table(("model", "profile", "at", "batch", "median ms", "p99 ms", "per second"), rows)
    for table in layers.values():
        for key, times in (table or {}).get("times", {}).items():
            console.table(("layer", "ms", "share"), slowest(times), title=f"slowest layers of {key}")


def slowest(times: list[tuple[str, float]], count: int = 10) -> list[tuple[str, str, str]]:
    """The layers that take the longest, with their share of the whole."""
    total = sum(ms for _, ms in times) or 1.0
    ordered = sorted(times, key=lambda layer: -layer[1])[:count]
    return [(name, f"{ms:.4f}", f"{ms / total:.1%}") for name, ms in ordered]


def _row(point: Point, result: Measured) -> tuple[object, ...]:
    rate = point.batch / result.median_ms * 1000
    return (
        point.model,
        point.profile,
        point.at,
        point.batch,
        f"{result.median_ms:.3f}",
        f"{result.p99_ms:.3f}",
        f"{rate:.0f}",
    )
