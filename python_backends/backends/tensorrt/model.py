"""The backend `tensorrt` of a rehearsal: runs the FP32 ONNX graph on the CPU in the place of the engine.

The graph lies in the version folder beside the plan: `model.onnx`, or the name in the parameter `rehearsal_graph`.
Nothing of TensorRT is enforced but the shapes of its optimization profiles, where `profiles.json` tells them. Data
types of the engine's inputs and outputs are those of the config: they are converted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_batch
import onnx_session
import profile_ranges

DEFAULT_GRAPH = "model.onnx"


class TritonPythonModel:
    """One instance: one session."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Called by Triton once per instance."""
        self._config = json.loads(args["model_config"])
        version = Path(args["model_repository"], args["model_version"])
        parameters = self._config.get("parameters") or {}
        path = version / parameters.get("rehearsal_graph", {}).get("string_value", DEFAULT_GRAPH)
        if not path.is_file():
            raise FileNotFoundError(
                f"rehearsal of '{self._config['name']}': there is no ONNX graph '{path}' to stand in for the engine"
            )
        self._session = onnx_session.load(path, self._config)
        self._profiles = profile_ranges.read(version)
        self._graph_types = {node.name: _NUMPY[node.type] for node in self._session.get_inputs()}
        self._outputs = {tensor["name"]: tensor["data_type"] for tensor in self._config["output"]}

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Called by Triton: one response per request."""
        responses: list[Any] = onnx_batch.execute(requests, self._config, self._run)
        return responses

    def _run(self, inputs: onnx_session.Arrays) -> onnx_session.Arrays:
        refusal = profile_ranges.refusal(self._profiles, {name: array.shape for name, array in inputs.items()})
        if refusal is not None:
            raise onnx_session.RunFailed(refusal)
        feed = {name: array.astype(self._graph_types[name], copy=False) for name, array in inputs.items()}
        outputs = onnx_session.run(self._session, feed, list(self._outputs))
        return {name: array.astype(_CONFIG[self._outputs[name]], copy=False) for name, array in outputs.items()}


_NUMPY = {
    "tensor(bool)": np.bool_,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(float16)": np.float16,
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
}
_CONFIG = {
    "TYPE_BOOL": np.bool_,
    "TYPE_UINT8": np.uint8,
    "TYPE_INT8": np.int8,
    "TYPE_INT32": np.int32,
    "TYPE_INT64": np.int64,
    "TYPE_FP16": np.float16,
    "TYPE_FP32": np.float32,
}
"""TensorRT's types but BF16, which NumPy does not have."""
