"""Measures one engine on the GPU: `python measurement_worker.py REQUEST.json`, a program of its own like the engine's builder.

The request names the folder of `engine_runner`, the package, the plan and the points; the answer is one JSON document on
standard output: `{"results": {key: {...}}, "layers": {...}, "layer_times": {key: [[name, ms], ...]}}` or `{"failed": why}`.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any


def main(request_path: str) -> int:
    """Measure every point."""
    request = json.loads(Path(request_path).read_text(encoding="utf-8"))
    folder = Path(request["runner"])
    failed = _module(folder, "run_types").RunFailed
    _module(folder, "cuda_runtime")
    try:
        answer = _measure(_module(folder, "engine_runner"), request)
    except (failed, ImportError, OSError) as error:
        answer = {"failed": str(error)}
    sys.stdout.write(json.dumps(answer) + "\n")
    return "failed" in answer


def _measure(module: ModuleType, request: dict[str, Any]) -> dict[str, Any]:
    runner = module.EngineRunner(request["package"], Path(request["plan"]))
    results, times = {}, {}
    for point in request["points"]:
        shapes = {name: tuple(shape) for name, shape in point["shapes"].items()}
        timing = runner.measure(shapes, runs=request["runs"])
        results[point["key"]] = {"mean_ms": timing.mean, "median_ms": timing.median, "p99_ms": timing.p99}
        if point["layers"]:
            times[point["key"]] = runner.layer_times(shapes)
    return {"results": results, "layers": json.loads(runner.layers()), "layer_times": times}


def _module(folder: Path, name: str) -> ModuleType:
    """A module by its file, under the plain name by which its siblings import it."""
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder / name}.py is missing")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
