"""Runs an engine: `python parity_worker.py REQUEST.json`, a program of its own like the engine's builder.

Beside the request lie `<place>.in.npz` for its `places`; their answers become `<place>.out.npz`. For the full shapes in its
`times` the median milliseconds go to `times.json`. On failure the reason goes to standard output.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any


def main(request_path: str) -> int:
    """Answer every place of the request."""
    path = Path(request_path)
    request = json.loads(path.read_text(encoding="utf-8"))
    folder = Path(request["runner"])
    failed = module(folder, "run_types").RunFailed
    module(folder, "cuda_runtime")
    try:
        _answer(module(folder, "engine_runner"), request, path.parent)
    except (failed, ImportError, OSError) as error:
        sys.stdout.write(f"{error}\n")
        return 1
    return 0


def _answer(runner_module: ModuleType, request: dict[str, Any], folder: Path) -> None:
    import numpy as np

    runner = runner_module.EngineRunner(request["package"], Path(str(request["plan"])))
    for place in request.get("places", ()):
        with np.load(folder / f"{place}.in.npz") as stored:
            outputs = runner.run({name: stored[name] for name in stored.files})
        np.savez(folder / f"{place}.out.npz", **outputs)
    if "times" in request:
        shapes = {p: {name: tuple(size) for name, size in sizes.items()} for p, sizes in request["times"].items()}
        found = {place: runner.measure(sizes, runs=request["runs"]).median for place, sizes in shapes.items()}
        (folder / "times.json").write_text(json.dumps(found), encoding="utf-8")


def module(folder: Path, name: str) -> ModuleType:
    """A module by its file, under the plain name by which its siblings import it."""
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder / name}.py is missing")
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found
    spec.loader.exec_module(found)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
