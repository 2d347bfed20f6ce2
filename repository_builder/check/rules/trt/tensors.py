"""TRT040 to TRT045: config.pbtxt against the engine's inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from repository_builder.check.engine import EngineTensor
from repository_builder.check.inputs import Version, dtype_name
from repository_builder.check.rule import Found, Severity, rule
from repository_builder.check.rules.trt.settings import is_trt
from repository_builder.errors import nearest


def _others(version: Version) -> set[str]:
    config = version.model.config
    names = {tensor.name for tensor in config.sequence_batching.control_input}
    for state in config.sequence_batching.state:
        names |= {state.input_name, state.output_name}
    for batch in (*config.batch_input, *config.batch_output):
        names |= set(batch.target_name)
    return names


def pairs(version: Version) -> Iterator[tuple[str, Any, EngineTensor]]:
    """(field path, configured tensor, engine's tensor) of those that both have."""
    known = {tensor.name: tensor for tensor in version.engine.tensors}
    for path, tensor in version.model.tensors():
        if tensor.name in known:
            yield path, tensor, known[tensor.name]


@rule("TRT040", "unknown-engine-tensor", Severity.ERROR, triton="unexpected inference input '…', allowed inputs are: …")
def unknown_engine_tensor(version: Version) -> Iterator[Found]:
    """## What it does
    Checks that every configured input and output is one of the engine.

    ## Why is this bad?
    The backend does not load the model.

    ## Example
    ```pbtxt
    input [ { name: "imgae" data_type: TYPE_FP32 dims: [ 3, 224, 224 ] } ]      # the engine has image
    ```
    """
    if not is_trt(version.model):
        return
    for side, tensors in (("input", version.model.inputs), ("output", version.model.outputs)):
        names = [tensor.name for tensor in version.engine.tensors if tensor.is_input == (side == "input")]
        for index, tensor in enumerate(tensors):
            if tensor.name and tensor.name not in names and tensor.name not in _others(version):
                message = f"the engine has no {side} `{tensor.name}`{nearest(tensor.name, names)}"
                yield version.finding(f"{side}[{index}].name", message, fix=f"name one of {', '.join(names)}")


@rule(
    "TRT041",
    "missing-engine-tensor",
    Severity.ERROR,
    requires=("TRT040",),
    triton="expected configuration for output '…'",
)
def missing_engine_tensor(version: Version) -> Iterator[Found]:
    """## What it does
    Checks that config.pbtxt lists all inputs and all outputs of the engine, once it lists any of them.

    ## Why is this bad?
    The backend binds every tensor of the engine, outputs too, and does not load the model.

    ## Example
    ```pbtxt
    output [ { name: "boxes" data_type: TYPE_FP32 dims: [ 100, 4 ] } ]      # the engine also has scores
    ```
    """
    if not is_trt(version.model):
        return
    for side, tensors in (("input", version.model.inputs), ("output", version.model.outputs)):
        names = {tensor.name for tensor in tensors} | _others(version)
        for tensor in version.engine.tensors:
            if tensors and tensor.is_input == (side == "input") and tensor.name not in names:
                yield version.finding(side, f"{side} `{tensor.name}` of the engine is not listed", fix="add it")


@rule(
    "TRT042",
    "type-differs-from-engine",
    Severity.ERROR,
    triton="configuration expects datatype … for …, model provides …",
)
def type_differs_from_engine(version: Version) -> Iterator[Found]:
    """## What it does
    Checks that configured inputs and outputs have the engine's data type.

    ## Why is this bad?
    The backend converts nothing and does not load the model. (Since TensorRT 9, INT64 of ONNX stays INT64.)

    ## Example
    ```pbtxt
    input [ { name: "input_ids" data_type: TYPE_INT32 dims: [ -1 ] } ]      # the engine has INT64
    ```
    """
    if not is_trt(version.model):
        return
    for path, tensor, own in pairs(version):
        wanted = f"TYPE_{own.dtype}"
        if tensor.data_type and dtype_name(tensor.data_type) != wanted:
            message = f"`{tensor.name}` is {wanted} in the engine, {dtype_name(tensor.data_type)} here"
            yield version.finding(f"{path}.data_type", message, fix=f"write {wanted}")


def batches(version: Version) -> bool | None:
    """Does the engine's first dimension count as the batch? None where the configured dims contradict each other.

    With auto-completion a `max_batch_size` of 0 means "not said": the rank of the configured dims decides.
    """
    if version.model.config.max_batch_size > 0 or not version.host.auto_complete:
        return bool(version.model.config.max_batch_size > 0)
    ranks = {len(own.shape) - len(_dims(tensor)) for _, tensor, own in pairs(version) if _dims(tensor)}
    if ranks == {0, 1}:
        return None
    return ranks == {1}


def _dims(tensor: Any) -> list[int]:
    return list(tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims)


@rule(
    "TRT046",
    "contradicting-ranks",
    Severity.ERROR,
    requires=("CFG021",),
    triton="model tensor configurations are contradicting each other in terms of whether batching is supported",
)
def contradicting_ranks(version: Version) -> Iterator[Found]:
    """## What it does
    Checks, where `max_batch_size` is left to auto-completion, that all dims are given either with or without the batch.

    ## Why is this bad?
    The backend cannot tell whether the model batches, and does not load it.

    ## Example
    ```pbtxt
    # the engine has x [-1, 16] and y [-1, 16]
    input  [ { name: "x" data_type: TYPE_FP32 dims: [ 16 ] } ]
    output [ { name: "y" data_type: TYPE_FP32 dims: [ -1, 16 ] } ]
    ```
    """
    if is_trt(version.model) and batches(version) is None:
        yield version.finding("max_batch_size", "some dims include the batch, others do not", fix="set max_batch_size")


@rule(
    "TRT043",
    "dims-differ-from-engine",
    Severity.ERROR,
    requires=("CFG021", "TRT046"),
    triton="model configuration specifies",
)
def dims_differ_from_engine(version: Version) -> Iterator[Found]:
    """## What it does
    Checks that `dims` (or `reshape`), with the batch in front when `max_batch_size` is above 0, agree with the engine: the
    same rank, and the same sizes where both are fixed.

    ## Why is this bad?
    The backend does not load the model. The classic slip is to repeat the batch in `dims`.

    ## Example
    ```pbtxt
    max_batch_size: 8
    input [ { name: "image" data_type: TYPE_FP32 dims: [ -1, 3, 224, 224 ] } ]      # the engine has [-1, 3, 224, 224]
    ```
    """
    if not is_trt(version.model):
        return
    batching = batches(version)
    for path, tensor, own in pairs(version):
        dims = _dims(tensor)
        if own.is_shape_tensor or tensor.is_shape_tensor or (not dims and not tensor.HasField("reshape")):
            continue
        if getattr(tensor, "allow_ragged_batch", False):
            continue
        full = [-1, *dims] if batching else dims
        equal = len(full) == len(own.shape) and all(
            mine == theirs or -1 in (mine, theirs) for mine, theirs in zip(full, own.shape, strict=True)
        )
        if not equal:
            means = f"; with the batch that is {full}" if batching else ""
            message = f"`{tensor.name}` is {list(own.shape)} in the engine, {dims} here{means}"
            yield version.finding(
                f"{path}.dims", message, fix=f"write {list(own.shape[1:] if batching else own.shape)}"
            )


@rule("TRT044", "unmarked-shape-tensor", Severity.ERROR, triton="shape tensor")
def unmarked_shape_tensor(version: Version) -> Iterator[Found]:
    """## What it does
    Checks that `is_shape_tensor` stands on exactly the engine's shape tensors. (Where it is missing, auto-completion adds it.)

    ## Why is this bad?
    The backend does not load the model.

    ## Example
    ```pbtxt
    input [ { name: "image" data_type: TYPE_FP32 dims: [ 3, -1, -1 ] is_shape_tensor: true } ]
    ```
    """
    if not is_trt(version.model):
        return
    for path, tensor, own in pairs(version):
        if tensor.is_shape_tensor and not own.is_shape_tensor:
            message = f"`{tensor.name}` is no shape tensor of the engine"
            yield version.finding(f"{path}.is_shape_tensor", message, fix="remove `is_shape_tensor`")
        elif own.is_shape_tensor and not tensor.is_shape_tensor and not version.host.auto_complete:
            message = f"`{tensor.name}` is a shape tensor of the engine"
            yield version.finding(path, message, fix="add is_shape_tensor: true")


@rule(
    "TRT047",
    "wrongly-marked-format",
    Severity.ERROR,
    triton="uses a linear IO format, but 'is_non_linear_format_io' is incorrectly set to true",
)
def wrongly_marked_format(version: Version) -> Iterator[Found]:
    """## What it does
    Checks that `is_non_linear_format_io` stands on tensors of the engine that have a non-linear format.

    ## Why is this bad?
    The backend does not load the model.

    ## Example
    ```pbtxt
    input [ { name: "x" data_type: TYPE_FP16 dims: [ 16, 8, 8 ] is_non_linear_format_io: true } ]      # the engine is linear
    ```
    """
    if not is_trt(version.model):
        return
    for path, tensor, own in pairs(version):
        if tensor.is_non_linear_format_io and own.is_linear:
            field = f"{path}.is_non_linear_format_io"
            yield version.finding(field, f"`{tensor.name}` has a linear format in the engine", fix="remove the line")


@rule("TRT045", "ragged-input-of-rank", Severity.ERROR, triton="ragged")
def ragged_input_of_rank(version: Version) -> Iterator[Found]:
    """## What it does
    Checks that an input with `allow_ragged_batch` is one-dimensional in the engine.

    ## Why is this bad?
    Ragged requests are laid end to end; the backend does not load a model whose engine wants another rank.

    ## Example
    ```pbtxt
    input [ { name: "tokens" data_type: TYPE_INT32 dims: [ -1 ] allow_ragged_batch: true } ]      # the engine has [-1, -1]
    ```
    """
    if not is_trt(version.model):
        return
    for path, tensor, own in pairs(version):
        if getattr(tensor, "allow_ragged_batch", False) and len(own.shape) != 1:
            message = f"`{tensor.name}` has rank {len(own.shape)} in the engine, ragged batches need 1"
            yield version.finding(f"{path}.allow_ragged_batch", message, fix="remove `allow_ragged_batch`")
