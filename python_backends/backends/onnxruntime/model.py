"""The backend `onnxruntime` of the embedded server: ONNX Runtime on the CPU, behind Triton's own Python backend.

Triton imports this file as the top-level module `model`, with its folder at the end of `sys.path`: siblings are found
under their plain names, which must therefore be unusual ones.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx_batch
import onnx_config
import onnx_session

DEFAULT_MODEL_FILENAME = "model.onnx"


class TritonPythonModel:
    """One instance: one session."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        """Called by Triton once per model, unless auto-completion is switched off."""
        import triton_python_backend_utils as triton

        config = auto_complete_model_config.as_dict()
        if not (config["input"] and config["output"]):
            session = onnx_session.peek(_graph_path(config, Path(triton.get_model_dir())))
            onnx_config.complete(config, onnx_config.Graph.of(session))
        return auto_complete_model_config

    def initialize(self, args: Mapping[str, str]) -> None:
        """Called by Triton once per instance: refuse a config that disagrees with the graph."""
        self._config = json.loads(args["model_config"])
        path = _graph_path(self._config, Path(args["model_repository"], args["model_version"]))
        self._session = onnx_session.load(path, self._config)
        onnx_config.check(self._config, onnx_config.Graph.of(self._session))
        self._outputs = [tensor["name"] for tensor in self._config["output"]]

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Called by Triton: one response per request."""
        responses: list[Any] = onnx_batch.execute(requests, self._config, self._run)
        return responses

    def _run(self, inputs: onnx_session.Arrays) -> onnx_session.Arrays:
        return onnx_session.run(self._session, inputs, self._outputs)


def _graph_path(config: Mapping[str, Any], version: Path) -> Path:
    path = version / (config.get("default_model_filename") or DEFAULT_MODEL_FILENAME)
    if not path.is_file():
        raise FileNotFoundError(f"unable to find '{path}' for model instance '{config['name']}'")
    return path
