"""IO020 and IO021: `reshape`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from repository_builder.check.inputs import Model
from repository_builder.check.rule import Found, Severity, rule


@rule(
    "IO020",
    "empty-reshape-without-batching",
    Severity.ERROR,
    triton="cannot have empty reshape for non-batching model as scalar tensors are not supported",
)
def empty_reshape_without_batching(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that `reshape: { }` (a tensor that is nothing but its batch) is used with batching only.

    ## Why is this bad?
    Without a batch dimension it would mean a scalar, which Triton refuses.

    ## Example
    ```pbtxt
    max_batch_size: 0
    input [ { name: "x" data_type: TYPE_FP32 dims: [ 1 ] reshape: { } } ]
    ```
    """
    for path, tensor in model.tensors():
        if tensor.HasField("reshape") and not tensor.reshape.shape and model.config.max_batch_size == 0:
            yield model.finding(
                f"{path}.reshape",
                f"`{tensor.name}` is reshaped to a scalar, and the model has no batch dimension",
                fix="write `reshape: { shape: [ 1 ] }` or remove it, or set max_batch_size",
            )


@rule("IO021", "reshape-of-another-size", Severity.ERROR, triton="has different size for dims and reshape")
def reshape_of_another_size(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that `reshape` holds as many elements as `dims`: in all, and between each two variable dimensions.

    ## Why is this bad?
    Triton refuses a reshape that would gain or lose elements.

    ## Example
    ```pbtxt
    input [ { name: "x" data_type: TYPE_FP32 dims: [ 4, -1 ] reshape: { shape: [ 2, -1 ] } } ]
    ```
    """
    for path, tensor in model.tensors():
        if not tensor.HasField("reshape") or not tensor.dims:
            continue
        dims, shape = list(tensor.dims), list(tensor.reshape.shape)
        if any(dim < 1 and dim != -1 for dim in (*dims, *shape)):
            continue
        scalar = not shape and math.prod(dims) == 1 and -1 not in dims
        if not scalar and (_trunks(dims) != _trunks(shape) or not shape):
            yield model.finding(
                f"{path}.reshape",
                f"`{tensor.name}`: dims {dims} cannot become {shape}",
                fix="keep the number of elements, and each -1 between the same neighbours",
            )


def _trunks(dims: Sequence[int]) -> list[int]:
    """Products of the sizes between variable dimensions."""
    products = [1]
    for dim in dims:
        if dim == -1:
            products.append(1)
        else:
            products[-1] *= dim
    return products
