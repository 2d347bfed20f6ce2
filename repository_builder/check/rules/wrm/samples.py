"""WRM001 to WRM008: the samples of `model_warmup`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from repository_builder.check.inputs import Model, dtype_name
from repository_builder.check.rule import Found, Severity, rule
from repository_builder.errors import nearest


def samples(model: Model) -> Iterator[tuple[str, Any]]:
    """(field path, sample) of every sample that Triton runs."""
    if model.is_ensemble:
        return
    for index, sample in enumerate(model.config.model_warmup):
        if sample.batch_size:
            yield f"model_warmup[{index}]", sample


def tensors(model: Model) -> Iterator[tuple[str, str, Any, Any]]:
    """(field path, name, sample's input, model's input or None) of every input of every sample."""
    known = {tensor.name: tensor for tensor in model.inputs}
    for path, sample in samples(model):
        for name, given in sample.inputs.items():
            yield f'{path}.inputs["{name}"]', name, given, known.get(name)


def _complete(model: Model) -> bool:
    """Does the config list all inputs, so that what is not listed does not exist?"""
    other = model.config.HasField("sequence_batching") or model.config.batch_input
    return bool(model.inputs) and not other


@rule(
    "WRM001",
    "variable-warmup-dimension",
    Severity.ERROR,
    triton="warmup setting expects all variable-size dimensions are specified for input '…'",
)
def variable_warmup_dimension(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that warm-up inputs have fixed dims.

    ## Why is this bad?
    Triton cannot make data of an unknown size and refuses the model.

    ## Example
    ```pbtxt
    model_warmup [ { batch_size: 1 inputs { key: "x" value { data_type: TYPE_FP32 dims: [ -1 ] zero_data: true } } } ]
    ```
    """
    for path, name, given, _ in tensors(model):
        if any(dim < 0 for dim in given.dims):
            yield model.finding(
                f"{path}.dims", f"`{name}` has a variable dimension", fix="write the size to warm up with"
            )


@rule("WRM002", "warmup-without-data", Severity.ERROR, triton="to have input_data_type set")
def warmup_without_data(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that every warm-up input says where its data comes from: zero_data, random_data or input_data_file.

    ## Why is this bad?
    Triton refuses the model.

    ## Example
    ```pbtxt
    model_warmup [ { batch_size: 1 inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 3 ] } } } ]
    ```
    """
    for path, name, given, _ in tensors(model):
        if given.WhichOneof("input_data_type") is None:
            yield model.finding(path, f"`{name}` has no data", fix="add `random_data: true`")


@rule("WRM003", "warmup-input-unknown", Severity.WARNING)
def warmup_input_unknown(model: Model) -> Iterator[Found]:
    """## What it does
    Reports a warm-up sample that gives an input which the model does not have.

    ## Why is this bad?
    Triton hands it to the backend as it is, without a check: it warms up nothing, and a backend that minds refuses the sample
    and with it the model.

    ## Example
    ```pbtxt
    model_warmup [ { batch_size: 1 inputs { key: "imgae" value { data_type: TYPE_FP32 dims: [ 3 ] zero_data: true } } } ]
    ```
    """
    if not _complete(model):
        return
    names = [tensor.name for tensor in model.inputs]
    for path, name, _, known in tensors(model):
        if known is None:
            message = f"the model has no input `{name}`{nearest(name, names)}"
            yield model.finding(path, message, fix="name one of its inputs")


@rule("WRM004", "warmup-input-missing", Severity.ERROR, triton="missing required input(s)")
def warmup_input_missing(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that a warm-up sample gives every input that is not optional.

    ## Why is this bad?
    The sample is a request like any other: without all inputs it is refused, and with it the model.

    ## Example
    ```pbtxt
    model_warmup [ { batch_size: 1 } ]
    ```
    """
    if not _complete(model):
        return
    for path, sample in samples(model):
        missing = [tensor.name for tensor in model.inputs if not tensor.optional and tensor.name not in sample.inputs]
        if missing:
            shown = ", ".join(f"`{name}`" for name in missing)
            yield model.finding(path, f"the sample lacks {shown}", fix="add the inputs")


@rule("WRM005", "warmup-type-differs", Severity.ERROR, triton="input")
def warmup_type_differs(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that warm-up inputs have the type of the model's inputs.

    ## Why is this bad?
    The sample is a request like any other: with another type it is refused, and with it the model.

    ## Example
    ```pbtxt
    input [ { name: "x" data_type: TYPE_FP16 dims: [ 3 ] } ]
    model_warmup [ { batch_size: 1 inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 3 ] zero_data: true } } } ]
    ```
    """
    for path, name, given, known in tensors(model):
        if known is not None and known.data_type and given.data_type != known.data_type:
            message = f"`{name}` is {dtype_name(known.data_type)}, the sample says {dtype_name(given.data_type)}"
            yield model.finding(f"{path}.data_type", message, fix=f"write {dtype_name(known.data_type)}")


@rule(
    "WRM006",
    "warmup-shape-differs",
    Severity.ERROR,
    requires=("WRM001",),
    triton="unexpected shape for input '…' for model '…'",
)
def warmup_shape_differs(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that warm-up inputs have dims that the model's input allows. As in the input, the batch is not among them.

    ## Why is this bad?
    The sample is a request like any other: with another shape it is refused, and with it the model.

    ## Example
    ```pbtxt
    max_batch_size: 8
    input [ { name: "x" data_type: TYPE_FP32 dims: [ 3 ] } ]
    model_warmup [ { batch_size: 8 inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 8, 3 ] zero_data: true } } } ]
    ```
    """
    for path, name, given, known in tensors(model):
        if known is not None and known.dims and not _fits(list(given.dims), list(known.dims)):
            message = f"`{name}` has dims {list(known.dims)}, the sample {list(given.dims)}"
            yield model.finding(f"{path}.dims", message, fix="write the input's dims, each -1 as a size")


def _fits(given: list[int], wanted: list[int]) -> bool:
    return len(given) == len(wanted) and all(want in (-1, have) for have, want in zip(given, wanted, strict=True))


@rule("WRM007", "warmup-batch-above-maximum", Severity.ERROR)
def warmup_batch_above_maximum(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that no warm-up sample has a larger batch than the model allows.

    ## Why is this bad?
    The sample cannot be executed: the model is refused, or (Python backend, seen on 24.10) the whole server ends.

    ## Example
    ```pbtxt
    max_batch_size: 4
    model_warmup [ { batch_size: 8 inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 3 ] zero_data: true } } } ]
    ```
    """
    maximum = model.config.max_batch_size
    for path, sample in samples(model):
        if maximum > 0 and sample.batch_size > maximum:
            message = f"batch {sample.batch_size} exceeds `max_batch_size` {maximum}"
            yield model.finding(f"{path}.batch_size", message, fix=f"write {maximum} or less")


@rule("WRM008", "warmup-without-batch", Severity.WARNING)
def warmup_without_batch(model: Model) -> Iterator[Found]:
    """## What it does
    Reports a warm-up sample whose `batch_size` is 0 or left out.

    ## Why is this bad?
    Triton skips it without a word: nothing is warmed up, and the first request pays.

    ## Example
    ```pbtxt
    model_warmup [ { name: "first" inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 3 ] zero_data: true } } } ]
    ```
    """
    for index, sample in enumerate(model.config.model_warmup):
        if not sample.batch_size and not model.is_ensemble:
            field = f"model_warmup[{index}].batch_size"
            yield model.finding(field, "a sample of batch 0 is skipped", fix="write batch_size: 1 or more")
