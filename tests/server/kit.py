"""What the tests of the Python models and backends ask of a running server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

Array = np.ndarray[Any, Any]


def strings(*items: bytes | str) -> Array:
    """A STRING tensor [n, 1]."""
    array = np.empty((len(items), 1), object)
    array[:, 0] = items
    return array


def infer(
    client: triton.InferenceServerClient,
    model: str,
    inputs: Mapping[str, Array],
    outputs: Sequence[str] = (),
    timeout_s: float = 60,
) -> dict[str, Array]:
    """One request; all outputs, or those that are named."""
    tensors = []
    for name, array in inputs.items():
        tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    requested = [triton.InferRequestedOutput(name) for name in outputs] or None
    answer = client.infer(model, tensors, outputs=requested, client_timeout=timeout_s)
    return {output.name: answer.as_numpy(output.name) for output in answer.get_response().outputs}


def infer_all(url: str, model: str, requests: Sequence[Mapping[str, Array]]) -> list[dict[str, Array] | str]:
    """All requests at once; outputs, or the error's message."""
    client = triton.InferenceServerClient(url)

    def one(inputs: Mapping[str, Array]) -> dict[str, Array] | str:
        try:
            return infer(client, model, inputs)
        except InferenceServerException as error:
            return str(error.message())

    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(one, requests))


def executions(client: triton.InferenceServerClient, model: str) -> tuple[int, int]:
    """Items and executions so far."""
    statistics = client.get_inference_statistics(model).model_stats[0]
    return statistics.inference_count, statistics.execution_count


def write_onnx(repository: Path, model: str, graph: str, config: str) -> None:
    """A model of the backend `onnxruntime`: graph in ONNX text, config without name and backend."""
    version = repository / model / "1"
    version.mkdir(parents=True)
    onnx.save(onnx.parser.parse_model(graph), version / "model.onnx")
    head = f'name: "{model}"\nbackend: "onnxruntime"\ninstance_group [{{ kind: KIND_CPU count: 1 }}]\n'
    (repository / model / "config.pbtxt").write_text(head + config)
