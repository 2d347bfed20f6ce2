"""Between Triton and the processors: the only file that knows `triton_python_backend_utils`.

A processor is a class that names its parameters and has one pure method `process`, which sees the items of *all*
requests of one `execute` as one batch. The same class runs outside Triton: `configure`, then `process`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]


@dataclass(frozen=True)
class Result:
    """What `process` gives back for a batch of n items."""

    outputs: Arrays
    """Name → array with n rows; rows of items that failed hold anything."""
    errors: dict[int, str] = field(default_factory=dict)
    """Row → why that item failed, without naming it: the adapter does."""


class Processor:
    """Base of the `TritonPythonModel` in every entry file."""

    parameters_type: ClassVar[type]
    """Frozen dataclass; its fields are the `parameters` of config.pbtxt, each value in JSON."""
    parameters: Any

    def configure(self, parameters: Mapping[str, str], folder: Path) -> Processor:
        """Get ready to `process`; `folder` is the version folder. Raises ValueError for wrong parameters."""
        self.parameters = read_parameters(self.parameters_type, parameters)
        self.setup(folder)
        return self

    def setup(self, folder: Path) -> None:
        """Read the files that the parameters name, once."""

    def process(self, inputs: Arrays) -> Result:
        """Full tensors, the first axis being the batch, also when `max_batch_size` is 0 → outputs and errors."""
        raise NotImplementedError

    def initialize(self, args: Mapping[str, str]) -> None:
        """Called by Triton once per instance."""
        config = json.loads(args["model_config"])
        self._inputs: list[str] = [tensor["name"] for tensor in config["input"]]
        parameters = {name: value["string_value"] for name, value in config["parameters"].items()}
        self.configure(parameters, Path(args["model_repository"], args["model_version"]))

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Called by Triton: one response per request, in order."""
        responses: list[Any] = [None] * len(requests)
        received = [self._read(request) for request in requests]
        for indices in same_shapes(received):
            merged = merge([received[index] for index in indices])
            result = self.process(merged)
            counts = [rows(received[index]) for index in indices]
            for index, part in zip(indices, split(result, counts), strict=True):
                responses[index] = self._response(requests[index], part)
        return responses

    def _read(self, request: Any) -> Arrays:
        import triton_python_backend_utils as triton

        tensors = {name: triton.get_input_tensor_by_name(request, name) for name in self._inputs}
        return {name: tensor.as_numpy() for name, tensor in tensors.items() if tensor is not None}

    def _response(self, request: Any, result: Result) -> Any:
        import triton_python_backend_utils as triton

        if result.errors:
            told = "; ".join(f"{self._inputs[0]}[{row}]: {why}" for row, why in sorted(result.errors.items()))
            return triton.InferenceResponse(error=triton.TritonError(told))
        wanted = request.requested_output_names()
        return triton.InferenceResponse(
            [triton.Tensor(name, array) for name, array in result.outputs.items() if name in wanted]
        )


def read_parameters(parameters_type: type, encoded: Mapping[str, str]) -> Any:
    """The frozen dataclass out of JSON values. Names in capitals are Triton's own (`EXECUTION_ENV_PATH`).

    Raises ValueError, naming everything that is unknown, missing or not JSON.
    """
    known = {f.name: f for f in fields(parameters_type)}
    given = {name: text for name, text in encoded.items() if not name.isupper()}
    problems = [f"unknown parameter `{name}`" for name in given if name not in known]
    required = [name for name, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
    problems += [f"missing parameter `{name}`" for name in required if name not in given]
    values = {}
    for name, text in given.items():
        try:
            values[name] = json.loads(text)
        except ValueError:
            problems.append(f"parameter `{name}` is not JSON: {text}")
    if problems:
        raise ValueError("; ".join(problems) + f" (parameters: {', '.join(known)})")
    return parameters_type(**values)


def rows(inputs: Arrays) -> int:
    """Number of items of one request."""
    return len(next(iter(inputs.values())))


def same_shapes(received: Sequence[Arrays]) -> Iterator[list[int]]:
    """Indices of requests that can be one batch: equal inputs and equal shapes but for the first axis."""
    groups: dict[Any, list[int]] = {}
    for index, inputs in enumerate(received):
        key = tuple((name, array.shape[1:]) for name, array in inputs.items())
        groups.setdefault(key, []).append(index)
    yield from groups.values()


def merge(parts: Sequence[Arrays]) -> Arrays:
    """One batch out of several; a lone one is passed through uncopied."""
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def split(result: Result, counts: Sequence[int]) -> Iterator[Result]:
    """Inverse of `merge` for a result; rows of errors are counted within their own part."""
    start = 0
    for count in counts:
        stop = start + count
        errors = {row - start: why for row, why in result.errors.items() if start <= row < stop}
        yield Result({name: array[start:stop] for name, array in result.outputs.items()}, errors)
        start = stop
