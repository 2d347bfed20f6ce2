"""Speed and memory of the core: `python benchmarks/core.py [--runs 5]`. Prints a table with ratios; asserts nothing.

Every figure stands beside a baseline that is measured in the same run, in turn with it: `python -c pass` for the start of
the tool, an import of what a command cannot do without for the others, and ONNX Runtime loading the same file for memory.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
TOOL = [sys.executable, "-m", "repository_builder"]


def main() -> None:
    """Measure everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="measured runs of each command after one warm-up")
    parser.add_argument("--mib", type=int, default=200, help="size of the graph whose build is measured")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="triton-repo-bench-") as work:
        os.environ["TRITON_REPO_CACHE"] = f"{work}/cache"
        os.environ["PYTHONPATH"] = str(ROOT)
        rows = [*_times(Path(work), options.runs), _memory(Path(work), options.mib)]
    print(f"{'what':<42}{'goal':>14}{'measured':>12}{'baseline':>12}{'ratio':>8}")
    for what, goal, measured, baseline, unit in rows:
        print(f"{what:<42}{goal:>14}{measured:>10.3g} {unit}{baseline:>10.3g} {unit}{measured / baseline:>8.2f}")


def _times(work: Path, runs: int):  # noqa: ANN202
    python = [sys.executable, "-c", "pass"]
    pydantic = [sys.executable, "-c", "import pydantic, yaml, json"]
    spec, many = str(ROOT / "examples/digits/deploy.yaml"), str(_many(work, 200))
    build = [*TOOL, "build", spec, "-o", f"{work}/repository"]
    for what, goal, command, baseline in (
        ("triton-repo --help (baseline: python)", "< 0.2 s", [*TOOL, "--help"], python),
        ("unchanged build of digits (pydantic)", "< 1 s", build, pydantic),
        ("plan of 200 models (pydantic)", "< 2 s", [*TOOL, "plan", many, "-o", f"{work}/none"], pydantic),
    ):
        pairs = [(_seconds(command), _seconds(baseline)) for _ in range(runs + 1)][1:]
        measured, base = (statistics.median(column) for column in zip(*pairs, strict=True))
        yield what, goal, measured, base, "s"


def _memory(work: Path, mib: int):  # noqa: ANN202
    file = _large_graph(work, mib)
    (work / "large.yaml").write_text(f"models: {{large: {{source: {{onnx: {file}}}}}}}")
    load = f"import onnxruntime; onnxruntime.InferenceSession({str(file)!r})"
    measured = _peak_mib([*TOOL, "build", str(work / "large.yaml"), "-o", f"{work}/large"])
    size = file.stat().st_size / 2**20
    what = f"peak memory, build of {size:.0f} MiB (ORT load)"
    return what, f"< {3 * size + 300:.0f} MiB", measured, _peak_mib([sys.executable, "-c", load]), "MiB"


def _many(work: Path, count: int) -> Path:
    digits = ROOT / "examples/digits"
    lines = ["models:"]
    for number in range(count):
        lines += [
            f"  model_{number}:",
            f"    source: {{onnx: {digits}/digits.onnx}}",
            f"    max_batch_size: {number + 1}",
            "    preprocess: {image_decode: {size: [8, 8], mode: L}}",
            f"    postprocess: {{top_k: {{k: 3, labels: {digits}/labels.txt}}}}",
        ]
    (work / "many.yaml").write_text("\n".join(lines))
    return work / "many.yaml"


def _large_graph(work: Path, mib: int) -> Path:
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    width = 4096
    layers = max(1, mib * 2**20 // (4 * width * width))
    weights = np.random.default_rng(0).standard_normal((width, width), np.float32) / 64
    names = ["x", *(f"h{n}" for n in range(layers - 1)), "y"]
    nodes = [helper.make_node("MatMul", [names[n], f"w{n}"], [names[n + 1]]) for n in range(layers)]
    values = [helper.make_tensor_value_info(name, 1, ["batch", width]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "large", values[:1], values[1:])
    graph.initializer.extend(numpy_helper.from_array(weights + n, f"w{n}") for n in range(layers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(model, work / "large.onnx")
    return work / "large.onnx"


def _seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def _peak_mib(command: list[str]) -> float:
    """Peak resident memory of the largest process among a command and its children, in MiB."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    answer = subprocess.run([sys.executable, "-c", code, *command], check=True, capture_output=True, text=True)
    return int(answer.stdout) / 1024


if __name__ == "__main__":
    main()
