"""`model_warmup` of an engine: one request per profile at its opt shape, with real values where a sample has that shape."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repository_builder.repository.proto import messages
from repository_builder.repository.tree import Content
from repository_builder.shapes.profile import Profile
from repository_builder.stages import calibration
from repository_builder.tensor import NUMPY_OF, Interface, Tensor

FOLDER = "warmup"
"""Where Triton looks for `input_data_file`, beside the version folders."""
ROLES = ("held", "samples", "recorded")
"""Stages that hold real inputs of the network; golden ones first."""
RANDOM = ("FP32", "FP16", "BF16")
"""Integers are zero instead, which every table and mask has."""


@dataclass(frozen=True)
class Value:
    """One input of a warm-up request."""

    tensor: Tensor
    dims: tuple[int, ...]
    """Without the batch, where the model has one: Triton repeats the value for each row."""
    file: str = ""
    data: bytes = b""


@dataclass(frozen=True)
class Request:
    """One warm-up request."""

    profile: str
    batch: int
    """0 for a model without batching."""
    values: tuple[Value, ...]


def requests(
    profiles: Sequence[Profile], interface: Interface, limit: int, recorded: Sequence[Mapping[str, Any]]
) -> tuple[Request, ...]:
    """One request per profile; `limit` is the config's `max_batch_size`, `recorded` are batches of real inputs."""
    return tuple(_request(index, profile, interface, limit, recorded) for index, profile in enumerate(profiles))


def recorded(folders: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Batches of real inputs among finished stages, golden ones first; empty: there are none."""
    return [batch for role in ROLES if role in folders for batch in calibration.read(folders[role])[0]]


def add(message: Any, wanted: Sequence[Request]) -> dict[str, str]:
    """Add the requests to a config; returns comments."""
    for request in wanted:
        sample = message.model_warmup.add(name=f"profile {request.profile}", batch_size=request.batch, count=1)
        for value in request.values:
            entry = sample.inputs[value.tensor.name]
            entry.data_type = messages().DataType.Value(f"TYPE_{value.tensor.dtype}")
            entry.dims.extend(value.dims or [1])
            if value.file:
                entry.input_data_file = value.file
            elif value.tensor.dtype in RANDOM:
                entry.random_data = True
            else:
                entry.zero_data = True
    real = any(value.file for request in wanted for value in request.values)
    values = "; values of recorded samples where they have that shape" if real else ""
    return {"model_warmup": f"opt of each profile: the first request of a shape is slow{values}"}


def files(wanted: Sequence[Request]) -> dict[str, Content]:
    """The data files that the requests name, by path below the model's folder."""
    return {f"{FOLDER}/{v.file}": v.data for request in wanted for v in request.values if v.file}


def _request(
    index: int, profile: Profile, interface: Interface, limit: int, recorded: Sequence[Mapping[str, Any]]
) -> Request:
    cut = 1 if limit else 0
    dims = {tensor.name: profile.shapes[tensor.name].opt[cut:] for tensor in interface.inputs}
    row = next(_fitting(recorded, interface, dims, cut), None)
    values = []
    for tensor in interface.inputs:
        if row is None:
            values.append(Value(tensor, dims[tensor.name]))
        else:
            file = re.sub(r"[^\w.-]", "_", f"{index}.{profile.name}.{tensor.name}")
            values.append(Value(tensor, dims[tensor.name], file, row[tensor.name]))
    return Request(profile.name, min(profile.batch("opt"), limit), tuple(values))


def _fitting(
    recorded: Sequence[Mapping[str, Any]], interface: Interface, dims: Mapping[str, tuple[int, ...]], cut: int
) -> Iterator[dict[str, bytes]]:
    """Samples whose every input has the wanted dims, as raw bytes in the types of the engine."""
    import numpy as np

    if any(tensor.dtype not in NUMPY_OF or tensor.dtype == "STRING" for tensor in interface.inputs):
        return  # BF16 has no NumPy type
    for batch in recorded:
        if all(batch[name].shape[cut:] == size for name, size in dims.items()):
            rows = {tensor: batch[tensor.name][0] if cut else batch[tensor.name] for tensor in interface.inputs}
            yield {t.name: np.ascontiguousarray(array, dtype=NUMPY_OF[t.dtype]).tobytes() for t, array in rows.items()}
