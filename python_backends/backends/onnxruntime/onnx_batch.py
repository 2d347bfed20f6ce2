"""Requests to batches and back: all requests of one `execute` that can be one batch run together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from onnx_session import Array, Arrays, RunFailed

Run = Callable[[Arrays], Arrays]


def execute(requests: Sequence[Any], config: Mapping[str, Any], run: Run) -> list[Any]:
    """Triton's requests → one response each, in order. A run that fails answers its requests with the reason."""
    inputs = [tensor["name"] for tensor in config["input"]]
    received = [_read(request, inputs) for request in requests]
    answers: list[Arrays | str] = [""] * len(requests)
    for indices in groups(received, config["max_batch_size"] > 0):
        parts = run_together([received[index] for index in indices], run)
        for index, answer in zip(indices, parts, strict=True):
            answers[index] = answer
    return [_response(request, answer) for request, answer in zip(requests, answers, strict=True)]


def groups(received: Sequence[Arrays], batching: bool) -> Iterator[list[int]]:
    """Indices of requests that can be one batch; without batching each is its own."""
    if not batching:
        yield from ([index] for index in range(len(received)))
        return
    found: dict[Any, list[int]] = {}
    for index, inputs in enumerate(received):
        found.setdefault(tuple((name, array.shape[1:]) for name, array in inputs.items()), []).append(index)
    yield from found.values()


def run_together(parts: Sequence[Arrays], run: Run) -> list[Arrays] | list[str]:
    """The outputs of each part, or the reason of the failure for each."""
    if len(parts) == 1:
        try:
            return [run(parts[0])]
        except RunFailed as error:
            return [str(error)]
    counts = [len(next(iter(part.values()))) for part in parts]
    try:
        outputs = run({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
        return list(split(outputs, counts))
    except RunFailed as error:
        return [str(error)] * len(parts)


def split(outputs: Arrays, counts: Sequence[int]) -> Iterator[Arrays]:
    """Rows of each request. Raises RunFailed if an output has another number of rows than went in."""
    for name, array in outputs.items():
        if array.ndim == 0 or len(array) != sum(counts):
            raise RunFailed(f"output '{name}' has shape {list(array.shape)} for a batch of {sum(counts)}")
    ends = np.cumsum(counts)
    for end, count in zip(ends, counts, strict=True):
        yield {name: array[end - count : end] for name, array in outputs.items()}


def _read(request: Any, names: Sequence[str]) -> Arrays:
    import triton_python_backend_utils as triton

    tensors = ((name, triton.get_input_tensor_by_name(request, name)) for name in names)
    return {name: tensor.as_numpy() for name, tensor in tensors if tensor is not None}


def _response(request: Any, answer: dict[str, Array] | str) -> Any:
    import triton_python_backend_utils as triton

    if isinstance(answer, str):
        return triton.InferenceResponse(error=triton.TritonError(answer))
    wanted = request.requested_output_names()
    return triton.InferenceResponse([triton.Tensor(name, answer[name]) for name in answer if name in wanted])
