"""Small Python models, sound and broken, and the ensemble of two."""

from __future__ import annotations

from pathlib import Path

CONFIG = """backend: "python"
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: [4] }
output { name: "y" data_type: TYPE_FP32 dims: [4] }
instance_group { kind: KIND_CPU count: 1 }
"""
_MODEL = """import triton_python_backend_utils as pb
class TritonPythonModel:
    def initialize(self, args):
        INITIALIZE
    def execute(self, requests):
        return [pb.InferenceResponse([pb.Tensor("y", self.value(r))]) for r in requests]
    def value(self, request):
        x = pb.get_input_tensor_by_name(request, "x").as_numpy()
        return VALUE
"""


def source(value: str, initialize: str = "pass") -> str:
    """A Python model that answers `value` for its input `x`."""
    return _MODEL.replace("VALUE", value).replace("INITIALIZE", initialize)


DOUBLE = source("x * 2")
ADD = source("x + 1")
ENSEMBLE = """platform: "ensemble"
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: [4] }
output { name: "y" data_type: TYPE_FP32 dims: [4] }
ensemble_scheduling {
  step { model_name: "double" model_version: -1 input_map { key: "x" value: "x" } output_map { key: "y" value: "mid" } }
  step { model_name: "add" model_version: -1 input_map { key: "x" value: "mid" } output_map { key: "y" value: "y" } }
}
"""


def python_model(repository: Path, name: str, code: str | None, config: str | None = CONFIG) -> None:
    """Write one model; None leaves the file out."""
    (repository / name / "1").mkdir(parents=True)
    if code is not None:
        (repository / name / "1" / "model.py").write_text(code)
    if config is not None:
        (repository / name / "config.pbtxt").write_text(config)
