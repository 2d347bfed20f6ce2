"""The backend `tensorrt_rtx`: serves plans of TensorRT for RTX on a GPU, by Python.

All requests of a batch run together; the optimization profile is chosen by their shapes. NEVER RUN SO FAR: there was no GPU
where this was written. Without one it refuses to load and says so; `triton-repo serve --rehearse` is for such machines.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_batch
from engine_runner import EngineRunner
from run_types import Arrays

PACKAGE = "tensorrt_rtx"


class TritonPythonModel:
    """One instance: one engine with its contexts."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Called by Triton once per instance."""
        self._config = json.loads(args["model_config"])
        version = Path(args["model_repository"], args["model_version"])
        plan = version / (self._config.get("default_model_filename") or "model.plan")
        device = int(args["model_instance_device_id"]) if args.get("model_instance_kind") == "GPU" else 0
        self._runner = EngineRunner(PACKAGE, plan, device)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Called by Triton: one response per request."""
        responses: list[Any] = onnx_batch.execute(requests, self._config, self._run)
        return responses

    def _run(self, inputs: Arrays) -> Arrays:
        return {name: np.ascontiguousarray(array) for name, array in self._runner.run(inputs).items()}
