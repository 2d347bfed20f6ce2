"""What our engine build costs over the bare builder call, in one run on one machine: time and peak memory, as ratios.

    python benchmarks/engine_build.py [--layers 12] [--rounds 3]

Both sides start a child process that imports TensorRT for RTX, parses the same network of about 25 million parameters and
builds it for the same architectures; the bare side does nothing else. Ours adds the request, the log, progress, the counts
of data types, `engine.json` and the audit. Limits of the issue: time ≤ 1.10, memory ≤ 1.5; a rebuild with one profile
changed runs one stage.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from repository_builder import builder
from repository_builder.build.stage import StageContext
from repository_builder.console import Progress, silent
from repository_builder.onnx_graph import read
from repository_builder.stages import engine
from repository_builder.stages.graph import GraphFacts

CHANNELS = 480
PROFILE = {"min": [1, CHANNELS, 16, 16], "opt": [4, CHANNELS, 16, 16], "max": [8, CHANNELS, 16, 16]}
ARCHITECTURES = ["8.6", "8.9", "12.0"]
BARE = f"""
import sys, tensorrt_rtx as trt
logger = trt.Logger(trt.Logger.WARNING)
builder = trt.Builder(logger)
network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
parser = trt.OnnxParser(network, logger)
assert parser.parse_from_file(sys.argv[1])
config = builder.create_builder_config()
profile = builder.create_optimization_profile()
profile.set_shape("x", {PROFILE["min"]}, {PROFILE["opt"]}, {PROFILE["max"]})
config.add_optimization_profile(profile)
config.num_compute_capabilities = {len(ARCHITECTURES)}
for index, name in enumerate({[f"SM{number.replace('.', '')}" for number in ARCHITECTURES]}):
    config.set_compute_capability(getattr(trt.ComputeCapability, name), index)
open(sys.argv[2], "wb").write(builder.build_serialized_network(network, config))
"""


def network(path: Path, layers: int) -> int:
    """Convolutions with residual connections; returns the number of parameters."""
    random = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for index in range(layers):
        kernel = (random.standard_normal((CHANNELS, CHANNELS, 3, 3)) * 0.01).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"w{index}"))
        nodes.append(
            helper.make_node("Conv", [last, f"w{index}"], [f"c{index}"], name=f"conv{index}", pads=[1, 1, 1, 1])
        )
        nodes.append(helper.make_node("Relu", [f"c{index}"], [f"r{index}"], name=f"relu{index}"))
        nodes.append(helper.make_node("Add", [last, f"r{index}"], [f"a{index}"], name=f"add{index}"))
        last = f"a{index}"
    nodes.append(helper.make_node("ReduceMean", [last, "axes"], ["y"], name="mean", keepdims=0))
    weights.append(numpy_helper.from_array(np.array([2, 3], np.int64), "axes"))
    value = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", CHANNELS, 16, 16])]
    out = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["batch", CHANNELS])]
    graph = helper.make_graph(nodes, "residual", value, out, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)
    GraphFacts(read.interface(model), True, "by name", 18, 10, {}).write(path.parent)
    return sum(int(np.prod(w.dims)) for w in weights)


def bare(onnx_file: Path, plan: Path) -> tuple[float, int]:
    """Seconds and peak memory (KiB) of the builder alone."""
    return measured([sys.executable, "-c", BARE, str(onnx_file), str(plan)])


def ours(folder: Path, out: Path) -> tuple[float, int]:
    """Seconds of the stage in a tool that runs already, and peak memory (KiB) of a fresh one's largest process."""
    start = time.perf_counter()
    stage(str(folder), f"{out}-timed")
    seconds = time.perf_counter() - start
    code = (
        "import sys; sys.path.insert(0, sys.argv[3]); from benchmarks.engine_build import stage; stage(*sys.argv[1:3])"
    )
    root = str(Path(__file__).parent.parent)
    return seconds, measured([sys.executable, "-c", code, str(folder), str(out), root])[1]


def stage(folder: str, out: str) -> None:
    """Run the engine stage as a build does."""
    profiles = [{"name": "default", "shapes": {"x": PROFILE}}]
    params = {"package": "tensorrt_rtx", "compute_capabilities": ARCHITECTURES, "precision": "fp32"}
    params |= {"profiles": profiles, "bounds": {}, "max_batch_size": None}
    Path(out).mkdir()
    engine.run(StageContext(Path(out), {"graph": Path(folder)}, {}, params, silent))


def measured(command: list[str]) -> tuple[float, int]:
    """Wall seconds, and peak memory of the largest process among the command and its children."""
    wrapper = (
        "import resource, subprocess, sys, time; start = time.perf_counter(); "
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL); "
        "print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", wrapper, *command], capture_output=True, text=True, check=True)
    seconds, peak = done.stdout.split()
    return float(seconds), int(peak)


class Quiet:
    """A reporter that counts what ran."""

    def stage(self, stage: object, event: str) -> None:
        pass

    def progress(self, stage: object) -> Progress:  # noqa: ARG002
        return silent


def reuse(onnx_file: Path, folder: Path) -> list[str]:
    """The stages that run again when one profile changes."""
    spec = folder / "deploy.yaml"
    for opt in (4, 6):
        shapes = {"default": {"x": {**PROFILE, "opt": [opt, CHANNELS, 16, 16]}}}
        model = {
            "source": {"onnx": str(onnx_file)},
            "target": "tensorrt_rtx",
            "profiles": shapes,
            "golden": {"count": 1},
        }
        spec.write_text(json.dumps({"models": {"net": model}}))
        built = builder.build(spec, folder / "repository", Quiet(), warn=print)
    return [str(name) for name in built.ran]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TRITON_REPO_CACHE"] = str(folder / "cache")
        (folder / "graph").mkdir()
        parameters = network(folder / "graph" / "model.onnx", options.layers)
        times: dict[str, list[tuple[float, int]]] = {"bare": [], "ours": []}
        for index in range(options.rounds):
            times["bare"].append(bare(folder / "graph" / "model.onnx", folder / f"bare{index}.plan"))
            times["ours"].append(ours(folder / "graph", folder / f"out{index}"))
        seconds = {side: statistics.median(t for t, _ in runs) for side, runs in times.items()}
        peaks = {side: max(m for _, m in runs) / 1024 for side, runs in times.items()}
        start = time.perf_counter()
        ran = reuse(folder / "graph" / "model.onnx", folder)
        print(
            f"network: {parameters / 1e6:.1f} M parameters, {options.layers} convolutions, median of {options.rounds}"
        )
        print(
            f"time:    {seconds['ours']:.2f} s / {seconds['bare']:.2f} s = {seconds['ours'] / seconds['bare']:.2f} (limit 1.10)"
        )
        print(
            f"memory:  {peaks['ours']:.0f} MiB / {peaks['bare']:.0f} MiB = {peaks['ours'] / peaks['bare']:.2f} (limit 1.5)"
        )
        print(
            f"rebuild with one profile changed: ran {', '.join(ran)} ({time.perf_counter() - start:.1f} s with the first build)"
        )


if __name__ == "__main__":
    main()
