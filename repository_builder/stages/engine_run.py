"""Runs a finished engine on this machine's GPU, in a process of its own: answers to recorded inputs, and times.

The process has the interpreter whose TensorRT built the engine, since no other version loads it.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from repository_builder.console import Progress
from repository_builder.errors import StageFailed
from repository_builder.resources import data_folder
from repository_builder.shapes.profile import Shape
from repository_builder.stages import engine_package
from repository_builder.stages.engine_facts import PLAN, EngineFacts

WORKER = Path(__file__).with_name("parity_worker.py")
REQUEST, TIMES = "request.json", "times.json"
RUNS = 200


def answers(built: EngineFacts, plan: Path, folder: Path, places: Sequence[str], progress: Progress) -> None:
    """Answer `<place>.in.npz` of `folder` with `<place>.out.npz`. Raises StageFailed where the engine does not run."""
    _run(built, plan, folder, {"places": list(places)}, progress)


def times(
    built: EngineFacts, engine: Path, shapes: Mapping[str, Mapping[str, Shape]], progress: Progress
) -> dict[str, float]:
    """Median milliseconds at each place's full shapes, of the engine in the folder `engine`."""
    wanted = {place: {name: list(shape) for name, shape in sizes.items()} for place, sizes in shapes.items()}
    _run(built, engine / PLAN, engine, {"times": wanted, "runs": RUNS}, progress)
    found: dict[str, float] = json.loads((engine / TIMES).read_text(encoding="utf-8"))
    return found


def _run(built: EngineFacts, plan: Path, folder: Path, wanted: Mapping[str, Any], progress: Progress) -> None:
    runner = data_folder("python_backends") / "backends" / "tensorrt_rtx"
    request = {"runner": str(runner), "package": built.package, "plan": str(plan), **wanted}
    (folder / REQUEST).write_text(json.dumps(request), encoding="utf-8")
    python = engine_package.interpreter(built.package, built.version, progress)
    command = [python, "-I", str(WORKER), str(folder / REQUEST)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StageFailed(
            "the engine could not be run on this machine's GPU",
            where=plan,
            why=(done.stdout or done.stderr).strip()[-600:],
            fix="`triton-repo doctor` says whether this engine loads on this machine",
        )
