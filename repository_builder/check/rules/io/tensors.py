"""IO001 to IO009: names, types, dims and flags of inputs and outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from repository_builder.check.inputs import Model
from repository_builder.check.rule import Found, Severity, Skip, rule


@rule("IO001", "tensor-without-name", Severity.ERROR, triton="model input must specify 'name' for …")
def tensor_without_name(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that every input and output has a name.

    ## Why is this bad?
    Requests address tensors by name; Triton refuses a model with a nameless one.

    ## Example
    ```pbtxt
    input [ { data_type: TYPE_FP32 dims: [ 3 ] } ]
    ```
    """
    for path, tensor in model.tensors():
        if not tensor.name:
            yield model.finding(f"{path}.name", "the tensor has no name", fix="name it as the model file does")


@rule("IO002", "incomplete-tensor", Severity.ERROR, triton="model input '…' must specify 'data_type' for …")
def incomplete_tensor(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that every listed input and output has `data_type` and `dims`, unless the backend can read them from the model
    file (TensorRT does, ONNX Runtime and the others complete whole lists only) or model.py completes its configuration.

    ## Why is this bad?
    Triton refuses a tensor without type or dims.

    ## Example
    ```pbtxt
    input [ { name: "x" dims: [ 3 ] } ]
    ```
    """
    missing = list(_missing(model))
    if missing and model.host.auto_complete and not _decidable(model):
        if model.backend == "tensorrt":  # IO003 speaks
            return
        raise Skip(f"backend `{model.backend}` may complete the configuration of {model.name} by itself")
    for field, tensor, what in missing:
        yield model.finding(field, f"`{tensor.name}` has no `{what}`", fix=f"add `{what}`")


def _missing(model: Model) -> Iterator[tuple[str, Any, str]]:
    for path, tensor in model.tensors():
        if not tensor.name:
            continue
        if not tensor.data_type:
            yield f"{path}.data_type", tensor, "data_type"
        if not tensor.dims:
            yield f"{path}.dims", tensor, "dims"


def _decidable(model: Model) -> bool:
    """Does it depend on the configuration alone?"""
    if model.is_ensemble or model.backend in ("onnxruntime", "pytorch", "dali", "fil"):
        return True
    if model.backend != "python":
        return False
    return all(not version.may_complete for version in model.served) and bool(model.served)


@rule("IO003", "tensor-left-to-completion", Severity.WARNING)
def tensor_left_to_completion(model: Model) -> Iterator[Found]:
    """## What it does
    Reports a listed tensor of a TensorRT model without `data_type` or `dims`.

    ## Why is this bad?
    The backend reads them from the plan, so nobody notices when a new plan has another type; and a server that is started
    with `--disable-auto-complete-config` answers `must specify 'data_type'` and refuses the model.

    ## Example
    ```pbtxt
    platform: "tensorrt_plan"
    input [ { name: "x" } ]
    ```
    """
    if model.backend != "tensorrt" or not model.host.auto_complete:
        return
    for field, tensor, what in _missing(model):
        yield model.finding(field, f"`{what}` of `{tensor.name}` is left to auto-completion", fix=f"add `{what}`")


@rule("IO004", "invalid-dimension", Severity.ERROR, triton="model input '…' dimension must be integer >= 1, or -1")
def invalid_dimension(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that every dimension of `dims` and of `reshape` is 1 or more, or -1 for a variable one.

    ## Why is this bad?
    Triton refuses a model with 0 or another negative dimension.

    ## Example
    ```pbtxt
    input [ { name: "x" data_type: TYPE_FP32 dims: [ 0, 224 ] } ]
    ```
    """
    for path, tensor in model.tensors():
        lists = ((f"{path}.dims", tensor.dims), (f"{path}.reshape.shape", tensor.reshape.shape))
        for field, dims in lists:
            for index, dim in enumerate(dims):
                if dim < 1 and dim != -1:
                    yield model.finding(
                        f"{field}[{index}]",
                        f"dimension {dim} of `{tensor.name}` is neither a size nor -1",
                        fix="write the size, or -1 where it varies",
                    )


@rule("IO005", "format-needs-three-dims", Severity.ERROR, triton="model input NHWC/NCHW require 3 dims for …")
def format_needs_three_dims(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that an input with `format` FORMAT_NHWC or FORMAT_NCHW has exactly three `dims` (the batch is not one of them).

    ## Why is this bad?
    Triton refuses the model.

    ## Example
    ```pbtxt
    input [ { name: "x" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 224, 224 ] } ]
    ```
    """
    for index, tensor in enumerate(model.inputs):
        if tensor.format and len(tensor.dims) != 3 and tensor.dims:
            yield model.finding(
                f"input[{index}].format",
                f"`{tensor.name}` has {len(tensor.dims)} dims, an image format needs 3",
                fix="remove `format`, or give channels, height and width",
            )


@rule(
    "IO006",
    "shape-tensor-outside-tensorrt",
    Severity.ERROR,
    triton="shape tensors are only supported for TensorRT platform for …",
)
def shape_tensor_outside_tensorrt(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that only TensorRT models mark shape tensors.

    ## Why is this bad?
    Triton refuses `is_shape_tensor` on any other platform.

    ## Example
    ```pbtxt
    platform: "onnxruntime_onnx"
    input [ { name: "size" data_type: TYPE_INT32 dims: [ 2 ] is_shape_tensor: true } ]
    ```
    """
    for path, tensor in model.tensors():
        if tensor.is_shape_tensor and _platform(model) != "tensorrt_plan":
            yield model.finding(
                f"{path}.is_shape_tensor",
                f"`{tensor.name}` is marked as a shape tensor, which only TensorRT has",
                fix="remove `is_shape_tensor`",
            )


def _platform(model: Model) -> str:
    return model.effective.platform


@rule(
    "IO007",
    "non-linear-format",
    Severity.ERROR,
    triton="Non-linear IO format is only supported for the TensorRT platform for …",
)
def non_linear_format(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that `is_non_linear_format_io` stands on TensorRT models only, on tensors with three dims, without ragged batches.

    ## Why is this bad?
    Triton refuses the model.

    ## Example
    ```pbtxt
    platform: "onnxruntime_onnx"
    input [ { name: "x" data_type: TYPE_FP16 dims: [ 16, 8, 8 ] is_non_linear_format_io: true } ]
    ```
    """
    for path, tensor in model.tensors():
        if not tensor.is_non_linear_format_io:
            continue
        if _platform(model) != "tensorrt_plan":
            message = f"`{tensor.name}` has a non-linear format, which only TensorRT has"
        elif len(tensor.dims) != 3 and tensor.dims:
            message = f"`{tensor.name}` has a non-linear format and {len(tensor.dims)} dims instead of 3"
        elif getattr(tensor, "allow_ragged_batch", False):
            message = f"`{tensor.name}` cannot be both ragged and of a non-linear format"
        else:
            continue
        yield model.finding(f"{path}.is_non_linear_format_io", message, fix="remove `is_non_linear_format_io`")


@rule("IO008", "duplicate-input", Severity.ERROR, triton="expected … inputs but got … inputs for model '…'")
def duplicate_input(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that no two inputs have the same name.

    ## Why is this bad?
    The model loads, but Triton counts both and keeps one: every request is answered with an error.

    ## Example
    ```pbtxt
    input [ { name: "x" data_type: TYPE_FP32 dims: [ 3 ] }, { name: "x" data_type: TYPE_FP32 dims: [ 3 ] } ]
    ```
    """
    yield from _duplicates(model, "input", model.inputs)


@rule("IO009", "duplicate-output", Severity.WARNING)
def duplicate_output(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that no two outputs have the same name.

    ## Why is this bad?
    The model loads and answers, but one of the two descriptions counts for nothing, and an ensemble that uses the output is
    refused (`multiple outputs … are mapped to the same ensemble tensor`).

    ## Example
    ```pbtxt
    output [ { name: "y" data_type: TYPE_FP32 dims: [ 3 ] }, { name: "y" data_type: TYPE_FP32 dims: [ 5 ] } ]
    ```
    """
    yield from _duplicates(model, "output", model.outputs)


def _duplicates(model: Model, side: str, tensors: tuple[Any, ...]) -> Iterator[Found]:
    counts = Counter(tensor.name for tensor in tensors if tensor.name)
    seen: set[str] = set()
    for index, tensor in enumerate(tensors):
        if counts[tensor.name] > 1 and tensor.name in seen:
            yield model.finding(
                f"{side}[{index}].name", f"a second {side} is called `{tensor.name}`", fix="remove or rename it"
            )
        seen.add(tensor.name)


@rule(
    "IO011",
    "torchscript-without-tensors",
    Severity.ERROR,
    triton="model configuration must contain at least one output",
)
def torchscript_without_tensors(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that a TorchScript model lists inputs and outputs.

    ## Why is this bad?
    A TorchScript file does not tell types and shapes, so nothing can be completed; the backend does not load the model.

    ## Example
    ```pbtxt
    platform: "pytorch_libtorch"
    input [ { name: "INPUT__0" data_type: TYPE_FP32 dims: [ 3 ] } ]        # and no output
    ```
    """
    if (
        model.effective.platform != "pytorch_libtorch"
        or model.backend != "pytorch"
        or model.config.runtime == "model.py"
    ):
        return
    if any(version.file.suffix != ".pt" or (version.path / "model.py").exists() for version in model.served):
        return
    for side, tensors in (("input", model.inputs), ("output", model.outputs)):
        if not tensors and not (
            side == "input" and (model.config.batch_input or model.config.HasField("sequence_batching"))
        ):
            yield model.finding(side, f"a TorchScript model lists its {side}s", fix=f"add `{side} [ … ]`")


@rule("IO010", "ragged-batch-ignored", Severity.WARNING)
def ragged_batch_ignored(model: Model) -> Iterator[Found]:
    """## What it does
    Reports `allow_ragged_batch` on a model of the Python backend, which does not build ragged batches.

    ## Why is this bad?
    Triton accepts the flag and merges requests of different shapes, but the Python backend hands over each request by
    itself: the flag promises what does not happen.

    ## Example
    ```pbtxt
    backend: "python"
    input [ { name: "x" data_type: TYPE_FP32 dims: [ -1 ] allow_ragged_batch: true } ]
    ```
    """
    if model.backend != "python":
        return
    for index, tensor in enumerate(model.inputs):
        if tensor.allow_ragged_batch:
            yield model.finding(
                f"input[{index}].allow_ragged_batch",
                f"`{tensor.name}` allows ragged batches, which the Python backend does not build",
                fix="remove `allow_ragged_batch`",
            )
