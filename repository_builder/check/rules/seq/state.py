"""SEQ010 and SEQ011: implicit state."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from repository_builder.check.inputs import Model, dtype_name
from repository_builder.check.rule import Found, Severity, rule

BYTES = {
    "BOOL": 1, "UINT8": 1, "UINT16": 2, "UINT32": 4, "UINT64": 8, "INT8": 1, "INT16": 2, "INT32": 4, "INT64": 8,
    "FP16": 2, "FP32": 4, "FP64": 8, "BF16": 2,
}  # fmt: skip
"""Bytes of one element."""


@rule("SEQ010", "initial-state-differs", Severity.ERROR, triton="initial_state")
def initial_state_differs(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that an `initial_state` agrees with its state: one at most, with a name, the same type and rank, fixed dims, a
    source of data.

    ## Why is this bad?
    Triton refuses a model whose first state cannot be made.

    ## Example
    ```pbtxt
    state [ { input_name: "S" output_name: "T" data_type: TYPE_FP32 dims: [ 4 ]
              initial_state: { name: "zero" data_type: TYPE_INT32 dims: [ 4 ] zero_data: true } } ]
    ```
    """
    for index, state in enumerate(model.config.sequence_batching.state):
        path = f"sequence_batching.state[{index}].initial_state"
        if len(state.initial_state) > 1:
            yield model.finding(f"{path}[1]", "a state has one initial state", fix="keep one")
            continue
        for initial in state.initial_state:
            yield from _differences(model, f"{path}[0]", state, initial)


def _differences(model: Model, path: str, state: Any, initial: Any) -> Iterator[Found]:
    if initial.data_type != state.data_type:
        yield model.finding(f"{path}.data_type", "its type is not that of the state", fix="give both the same type")
    if not initial.name:
        yield model.finding(f"{path}.name", "it has no name", fix="give it a name")
    if len(initial.dims) != len(state.dims):
        yield model.finding(
            f"{path}.dims", f"it has {len(initial.dims)} dims, the state {len(state.dims)}", fix="equal them"
        )
    else:
        for place, (own, wanted) in enumerate(zip(initial.dims, state.dims, strict=True)):
            if own == -1 or (wanted not in (-1, own)):
                message = "its size must be fixed" if own == -1 else f"its size {own} is not the state's {wanted}"
                yield model.finding(f"{path}.dims[{place}]", message, fix="write the state's size")
    if not initial.WhichOneof("state_data"):
        yield model.finding(path, "it has no data", fix="add zero_data: true, or data_file")


@rule(
    "SEQ011",
    "missing-initial-state-file",
    Severity.ERROR,
    requires=("SEQ010",),
    triton="failed to open text file for read …",
)
def missing_initial_state_file(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that the `data_file` of an initial state lies in the model's folder `initial_state` and is long enough.

    ## Why is this bad?
    Triton refuses the model.

    ## Example
    ```pbtxt
    initial_state: { name: "start" data_type: TYPE_FP32 dims: [ 4 ] data_file: "start.bin" }
    ```
    """
    for index, state in enumerate(model.config.sequence_batching.state):
        for initial in state.initial_state:
            if initial.WhichOneof("state_data") == "data_file":
                path = f"sequence_batching.state[{index}].initial_state[0].data_file"
                yield from file_findings(model, path, model.path / "initial_state" / initial.data_file, initial)


def file_findings(model: Model, field: str, file: Path, tensor: Any) -> Iterator[Found]:
    """Is the file of raw values there, and long enough for type and dims?"""
    needed = math.prod(tensor.dims) * BYTES.get(_dtype(tensor), 0)
    inside = f"{file.parent.name}/{file.name}"
    if not file.is_file():
        yield model.finding(field, f"there is no file {inside}", fix=f"put it at {inside} in the model's folder")
    elif (size := file.stat().st_size) < needed:
        yield model.finding(field, f"{inside} holds {size} bytes, {needed} are needed", fix="write all values")


def _dtype(tensor: Any) -> str:

    return dtype_name(tensor.data_type).removeprefix("TYPE_")
