"""Runs the measurements of `measurement` on this machine's GPU, with `trtexec` or our own runner."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repository_builder.console import Progress
from repository_builder.errors import RepositoryError, StageFailed
from repository_builder.release.measurement import Measured, Point, points, read_trtexec, trtexec_command
from repository_builder.repository.releases import numbers
from repository_builder.resources import data_folder
from repository_builder.shapes.profile import Profile

WORKER = Path(__file__).with_name("measurement_worker.py")
FACTS = "engine.json"
COMPARED_RUNS = 200


@dataclass(frozen=True)
class Engine:
    """A plan of a repository and what it is measured at."""

    model: str
    plan: Path
    package: str
    version: str
    points: tuple[Point, ...]
    compute_capabilities: tuple[str, ...] = ()
    """What it was built for."""


def engines(repository: Path, wanted: Sequence[str] | None) -> list[Engine]:
    """Every engine of a repository, or those of the named Triton models."""
    found = [
        _engine(path)
        for path in sorted([*repository.glob(f"*/{FACTS}"), *repository.glob("*/engine.*.json")])
        if not wanted or path.parent.name in wanted
    ]
    if not found:
        raise RepositoryError(
            f"there is no engine in {repository}",
            why=f"no model has an {FACTS}" + (f" ({', '.join(wanted)} was asked for)" if wanted else ""),
            fix="build it for tensorrt_plan or tensorrt_rtx",
        )
    return found


def _engine(facts: Path) -> Engine:
    told = json.loads(facts.read_text(encoding="utf-8"))
    name = facts.name.replace("engine", "model").replace(".json", ".plan")  # engine.9.0.json describes model.9.0.plan
    plans = sorted(facts.parent.glob(f"*/{name}"), key=lambda path: int(path.parent.name))
    model = facts.parent.name
    measured = points(model, [Profile.from_json(profile) for profile in told["profiles"]])
    package, version = told["builder"]["package"], told["builder"]["version"]
    return Engine(model, plans[-1], package, version, tuple(measured), tuple(told["compute_capabilities"]))


def trtexec_commands(engine: Engine, folder: Path) -> Iterator[tuple[Point, Path, list[str]]]:
    """The line for each point, and the file with its times."""
    for number, point in enumerate(engine.points):
        times = folder / f"{engine.model}-{number}.json"
        yield point, times, trtexec_command(engine.plan, point, times, major=numbers(engine.version)[0])


def uses_trtexec(engine: Engine, tool: str) -> bool:
    """`trtexec` measures plans of the full TensorRT where it is installed; other engines take our runner."""
    return (
        engine.package == "tensorrt" and tool != "python" and (tool == "trtexec" or shutil.which("trtexec") is not None)
    )


def measure(
    engine: Engine, *, tool: str, runs: int, progress: Progress, python: str = sys.executable
) -> tuple[dict[str, Measured], Any]:
    """Results by point, and the engine inspector's layers where our runner gives them.

    `python` is the interpreter that has the engine's version of TensorRT: no other loads it.
    """
    with tempfile.TemporaryDirectory(prefix="triton-repo-profile-") as name:
        if uses_trtexec(engine, tool):
            return _with_trtexec(engine, Path(name), progress), None
        return _with_runner(engine, Path(name), runs, progress, python=python)


def medians(
    found: Sequence[Engine], interpreter: Callable[[str, str, Progress], str], progress: Progress
) -> dict[str, Measured]:
    """Results by point of every engine, by our own runner; `interpreter` finds the Python with (package, version)."""
    results: dict[str, Measured] = {}
    for engine in found:
        python = interpreter(engine.package, engine.version, progress)
        results |= measure(engine, tool="python", runs=COMPARED_RUNS, progress=progress, python=python)[0]
    return results


def _with_trtexec(engine: Engine, folder: Path, progress: Progress) -> dict[str, Measured]:
    results = {}
    for number, (point, times, command) in enumerate(trtexec_commands(engine, folder)):
        progress(point.key, number / len(engine.points))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise _failed(engine, "\n".join(done.stdout.splitlines()[-5:] + done.stderr.splitlines()[-5:]))
        results[point.key] = read_trtexec(times)
    return results


def _with_runner(
    engine: Engine, folder: Path, runs: int, progress: Progress, *, python: str
) -> tuple[dict[str, Measured], Any]:
    request = {
        "runner": str(data_folder("python_backends") / "backends" / "tensorrt_rtx"),
        "package": engine.package,
        "plan": str(engine.plan),
        "runs": runs,
        "points": [_asked(point) for point in engine.points],
    }
    (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
    progress(f"{engine.model}: {len(engine.points)} shapes", None)
    command = [python, "-I", str(WORKER), str(folder / "request.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    failure = {"failed": done.stderr[-500:] or f"exit code {done.returncode}"}
    answer: dict[str, Any] = json.loads(lines[-1]) if lines else failure
    if "failed" in answer:
        raise _failed(engine, answer["failed"])
    results = {key: Measured(**value, tool="runner") for key, value in answer["results"].items()}
    return results, {"inspector": answer["layers"], "times": answer["layer_times"]}


def _asked(point: Point) -> dict[str, Any]:
    """Layers are timed at the opt shape of each profile, for which the engine was tuned."""
    shapes = {name: list(shape) for name, shape in point.shapes.items()}
    return {"key": point.key, "shapes": shapes, "layers": point.at == "opt"}


def _failed(engine: Engine, why: str) -> StageFailed:
    return StageFailed(
        f"`{engine.model}` could not be measured",
        where=engine.plan,
        why=why,
        fix="`triton-repo doctor` says whether this engine loads on this machine",
    )
