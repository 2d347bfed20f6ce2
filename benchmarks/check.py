"""Speed and memory of the checker: `python benchmarks/check.py [--models 1000]`.

Repositories of pipelines (pre-processor, ONNX graph, post-processor, ensemble: four models each) are checked in fresh
processes by the command that users type. Fails if 1,000 models take 3 s or 300 MB, or if time per model grows.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TIME_LIMIT_S, MEMORY_LIMIT_MB = 3.0, 300

PYTHON = """backend: "python"
max_batch_size: 16
input [ {{ name: "{0}" data_type: TYPE_FP32 dims: [ 3, 224, 224 ] }} ]
output [ {{ name: "{1}" data_type: TYPE_FP32 dims: [ 3, 224, 224 ] }} ]
instance_group [ {{ kind: KIND_CPU count: 2 }} ]
dynamic_batching {{ max_queue_delay_microseconds: 100 default_queue_policy {{ max_queue_size: 256 }} }}
parameters {{ key: "mode" value {{ string_value: "fast" }} }}
"""
NET = """platform: "onnxruntime_onnx"
max_batch_size: 16
input [ { name: "x" data_type: TYPE_FP32 dims: [ 3, 224, 224 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 3, 224, 224 ] } ]
instance_group [ { kind: KIND_GPU count: 1 } ]
dynamic_batching { preferred_batch_size: [ 4, 16 ] }
model_warmup [ { batch_size: 4 inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 3, 224, 224 ] random_data: true } } } ]
"""
STEP = """    {{
      model_name: "{0}" model_version: -1
      input_map {{ key: "{1}" value: "{2}" }}
      output_map {{ key: "{3}" value: "{4}" }}
    }}"""
MODEL = """import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        inputs = [pb_utils.get_input_tensor_by_name(request, "{0}").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("{1}", array)]) for array in inputs]
"""
GRAPH = '<ir_version: 8, opset_import: ["" : 17]>\nnet (float[N,3,224,224] x) => (float[N,3,224,224] y) {{ {0} }}'


def main() -> int:
    """Measure three sizes and judge the largest."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--models", type=int, default=1000)
    options = arguments.parse_args()
    measured = {}
    for count in (options.models // 4, options.models // 2, options.models):
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder), count // 4)
            measured[count] = measure(Path(folder))
        seconds, megabytes = measured[count]
        print(f"{count:6} models: {seconds:6.2f} s, {seconds / count * 1000:5.2f} ms per model, {megabytes:5.0f} MB")
    (small, (short, _)), *_, (large, (long, megabytes)) = measured.items()
    growth = (long / large) / (short / small)
    print(f"time per model, {large} against {small} models: x{growth:.2f} (below 1: the start is shared by more)")
    return 0 if long < TIME_LIMIT_S and megabytes < MEMORY_LIMIT_MB and growth < 1.3 else 1


def make(folder: Path, pipelines: int) -> None:
    """Write `pipelines` times four models."""
    import onnx

    chain = " ".join(f"t{i} = Relu({'x' if i == 0 else f't{i - 1}'})" for i in range(100)) + " y = Relu(t99)"
    graph = onnx.parser.parse_model(GRAPH.format(chain)).SerializeToString()
    for number in range(pipelines):
        names = {part: f"{part}_{number}" for part in ("pre", "net", "post")}
        for name in (*names.values(), f"pipeline_{number}"):
            (folder / name / "1").mkdir(parents=True)
        (folder / names["pre"] / "config.pbtxt").write_text(PYTHON.format("image", "tensor"))
        (folder / names["pre"] / "1" / "model.py").write_text(MODEL.format("image", "tensor"))
        (folder / names["post"] / "config.pbtxt").write_text(PYTHON.format("raw", "scores"))
        (folder / names["post"] / "1" / "model.py").write_text(MODEL.format("raw", "scores"))
        (folder / names["net"] / "config.pbtxt").write_text(NET)
        (folder / names["net"] / "1" / "model.onnx").write_bytes(graph)
        (folder / f"pipeline_{number}" / "config.pbtxt").write_text(_ensemble(names))


def _ensemble(names: dict[str, str]) -> str:
    tensor = "data_type: TYPE_FP32 dims: [ 3, 224, 224 ] } ]"
    steps = [
        STEP.format(names["pre"], "image", "image", "tensor", "a"),
        STEP.format(names["net"], "x", "a", "y", "b"),
        STEP.format(names["post"], "raw", "b", "scores", "scores"),
    ]
    head = f'platform: "ensemble"\nmax_batch_size: 16\ninput [ {{ name: "image" {tensor}\noutput [ {{ name: "scores" {tensor}\n'
    return head + "ensemble_scheduling {\n  step [\n" + ",\n".join(steps) + "\n  ]\n}\n"


def measure(repository: Path) -> tuple[float, float]:
    """Wall time in seconds and peak memory in MB of the whole command."""
    command = [sys.executable, "-m", "repository_builder", "check", str(repository), "--format", "json"]
    start = time.perf_counter()
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    (record,) = json.loads(answer.stdout)["repositories"]
    assert answer.returncode == 0, (record["findings"][:3], answer.stderr)
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
