"""ONX010 to ONX016: config.pbtxt against the graph's inputs and outputs.

The comparisons of the ONNX Runtime backend (00fd3e8): `ValidateInputs`, `ValidateOutputs`, `CompareDimsSupported`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from repository_builder.check.inputs import Version, dtype_name
from repository_builder.check.rule import Found, Severity, rule
from repository_builder.check.rules.onx.file import is_onnx
from repository_builder.errors import nearest
from repository_builder.onnx_graph.outline import Value

DTYPES = {
    1: "FP32", 2: "UINT8", 3: "INT8", 4: "UINT16", 5: "INT16", 6: "INT32", 7: "INT64", 8: "STRING", 9: "BOOL",
    10: "FP16", 11: "FP64", 12: "UINT32", 13: "UINT64", 16: "BF16",
}  # fmt: skip
"""TensorProto.DataType → Triton."""


def pairs(version: Version) -> Iterator[tuple[str, str, Any, Value | None]]:
    """(side, field path, configured tensor, the graph's) of every configured tensor; the side is input or output."""
    for side, tensors, values in (
        ("input", version.model.inputs, version.onnx.inputs),
        ("output", version.model.outputs, version.onnx.outputs),
    ):
        known = {value.name: value for value in values}
        for index, tensor in enumerate(tensors):
            if tensor.name:
                yield side, f"{side}[{index}]", tensor, known.get(tensor.name)


def _others(version: Version) -> set[str]:
    """Names that the batchers feed: control inputs, states, batch inputs."""
    config = version.model.config
    names = {tensor.name for tensor in config.sequence_batching.control_input}
    names |= {state.input_name for state in config.sequence_batching.state}
    names |= {state.output_name for state in config.sequence_batching.state}
    for batch in (*config.batch_input, *config.batch_output):
        names |= set(batch.target_name)
    return names


@rule(
    "ONX010",
    "unknown-graph-tensor",
    Severity.ERROR,
    requires=("ONX001",),
    triton="unexpected inference input '…', allowed inputs are: …",
)
def unknown_graph_tensor(version: Version) -> Iterator[Found]:
    """## What it does
    Checks that every configured input and output is one of the ONNX graph.

    ## Why is this bad?
    The ONNX Runtime backend does not load the model.

    ## Example
    ```pbtxt
    input [ { name: "imgae" data_type: TYPE_FP32 dims: [ 3, 224, 224 ] } ]      # the graph has image
    ```
    """
    if not is_onnx(version):
        return
    for side, path, tensor, value in pairs(version):
        if value is None and tensor.name not in _others(version) | version.onnx.overridable:
            names = [each.name for each in (version.onnx.inputs if side == "input" else version.onnx.outputs)]
            message = f"the graph has no {side} `{tensor.name}`{nearest(tensor.name, names)}"
            yield version.finding(f"{path}.name", message, fix=f"name one of {', '.join(names)}")


@rule(
    "ONX011",
    "missing-graph-input",
    Severity.ERROR,
    requires=("ONX001", "ONX010"),
    triton="configuration expects … inputs, model provides …",
)
def missing_graph_input(version: Version) -> Iterator[Found]:
    """## What it does
    Checks that config.pbtxt lists all inputs of the ONNX graph, once it lists any.

    ## Why is this bad?
    The ONNX Runtime backend compares the numbers and does not load the model. Outputs may be left out.

    ## Example
    ```pbtxt
    input [ { name: "input_ids" data_type: TYPE_INT64 dims: [ -1 ] } ]      # the graph also has attention_mask
    ```
    """
    if not is_onnx(version) or not version.model.inputs:
        return
    listed = {tensor.name for tensor in version.model.inputs} | _others(version)
    for value in version.onnx.inputs:
        if value.name not in listed:
            yield version.finding("input", f"input `{value.name}` of the graph is not listed", fix="add it")


@rule(
    "ONX012",
    "type-differs-from-graph",
    Severity.ERROR,
    requires=("ONX001",),
    triton="configuration expects datatype … for input '…', model provides …",
)
def type_differs_from_graph(version: Version) -> Iterator[Found]:
    """## What it does
    Checks that configured inputs and outputs have the graph's data type.

    ## Why is this bad?
    The ONNX Runtime backend converts nothing and does not load the model.

    ## Example
    ```pbtxt
    input [ { name: "input_ids" data_type: TYPE_INT32 dims: [ -1 ] } ]      # the graph has INT64
    ```
    """
    if not is_onnx(version):
        return
    for _, path, tensor, value in pairs(version):
        if value is None or not tensor.data_type or value.dtype not in DTYPES:
            continue
        wanted = f"TYPE_{DTYPES[value.dtype]}"
        if dtype_name(tensor.data_type) != wanted:
            message = f"`{tensor.name}` is {wanted} in the graph, {dtype_name(tensor.data_type)} here"
            yield version.finding(f"{path}.data_type", message, fix=f"write {wanted}")


def _shape(value: Value) -> list[int] | None:
    return None if value.shape is None else [dim if isinstance(dim, int) else -1 for dim in value.shape]


@rule(
    "ONX013",
    "graph-without-batch",
    Severity.ERROR,
    requires=("ONX001", "CFG021"),
    triton="for the model to support batching the shape should have at least 1 dimension and the first dimension must be -1",
)
def graph_without_batch(version: Version) -> Iterator[Found]:
    """## What it does
    Checks that with `max_batch_size` above 0 the first dimension of every configured tensor is dynamic in the graph.

    ## Why is this bad?
    The graph was exported for one batch only; the ONNX Runtime backend does not load the model.

    ## Example
    ```pbtxt
    max_batch_size: 8          # and the graph's input is [1, 3, 224, 224]
    ```
    """
    if not is_onnx(version) or version.model.config.max_batch_size <= 0:
        return
    bad = []
    values = [value for *_, value in pairs(version)] or [*version.onnx.inputs, *version.onnx.outputs]
    for value in values:
        shape = _shape(value) if value is not None else None
        if value is not None and shape is not None and (not shape or shape[0] != -1):
            bad.append(f"`{value.name}` {shape}")
    ragged = any(tensor.allow_ragged_batch for tensor in version.model.inputs)
    if bad and not ragged:
        yield version.finding(
            "max_batch_size",
            f"the graph has a fixed first dimension: {', '.join(bad[:4])}",
            fix="export it with a dynamic batch, or set max_batch_size to 0 and give dims in full",
        )


@rule(
    "ONX014",
    "dims-differ-from-graph",
    Severity.ERROR,
    requires=("ONX001", "ONX013"),
    triton="the model expects … dimensions (shape …) but the model configuration specifies … dimensions",
)
def dims_differ_from_graph(version: Version) -> Iterator[Found]:
    """## What it does
    Checks that `dims` (or `reshape`), with the batch in front when `max_batch_size` is above 0, agree with the graph: the
    same rank, and each fixed size repeated. A variable size of an input may be narrowed.

    ## Why is this bad?
    The ONNX Runtime backend does not load the model. The classic slip is to repeat the batch in `dims`.

    ## Example
    ```pbtxt
    max_batch_size: 8
    input [ { name: "image" data_type: TYPE_FP32 dims: [ -1, 3, 224, 224 ] } ]      # the graph has [N, 3, 224, 224]
    ```
    """
    if not is_onnx(version):
        return
    batching = version.model.config.max_batch_size > 0
    for _, path, tensor, value in pairs(version):
        shape = _shape(value) if value is not None else None
        if shape is None or not tensor.dims or getattr(tensor, "allow_ragged_batch", False):
            continue
        reshaped = tensor.HasField("reshape")
        dims = list(tensor.reshape.shape if reshaped else tensor.dims)
        full = [-1, *dims] if batching else dims
        if not shape and not batching:
            fits = all(dim == 1 for dim in dims)
        else:
            fits = len(shape) == len(full) and all(own in (-1, given) for own, given in zip(shape, full, strict=True))
        if not fits:
            means = f"; with the batch that is {full}" if batching else ""
            wanted = shape[1:] if batching else shape
            message = f"`{tensor.name}` is {shape} in the graph, {dims} here{means}"
            yield version.finding(f"{path}.{'reshape' if reshaped else 'dims'}", message, fix=f"write {wanted}")


@rule(
    "ONX015",
    "output-narrower-than-graph",
    Severity.ERROR,
    requires=("ONX001", "ONX013", "ONX014"),
    triton="the model expects … dimensions (shape …) but the model configuration specifies … dimensions",
)
def output_narrower_than_graph(version: Version) -> Iterator[Found]:
    """## What it does
    Checks that a configured output is -1 wherever the graph's output has the symbol of a dynamic input dimension.

    ## Why is this bad?
    Inputs may be narrowed, outputs may not: the ONNX Runtime backend compares them exactly and does not load the model.

    ## Example
    ```pbtxt
    output [ { name: "hidden" data_type: TYPE_FP32 dims: [ 128, 768 ] } ]      # the graph has [N, sequence, 768]
    ```
    """
    if not is_onnx(version):
        return
    symbols = {dim for value in version.onnx.inputs for dim in value.shape or () if isinstance(dim, str)}
    batching = version.model.config.max_batch_size > 0
    for side, path, tensor, value in pairs(version):
        if side == "input" or value is None or value.shape is None or tensor.HasField("reshape") or not tensor.dims:
            continue
        full = [-1, *tensor.dims] if batching else list(tensor.dims)
        if len(full) != len(value.shape):
            continue
        wrong = [dim for dim, given in zip(value.shape, full, strict=True) if dim in symbols and given != -1]
        if wrong:
            names = ", ".join(f"`{dim}`" for dim in wrong)
            message = f"`{tensor.name}` is dynamic in {names}, but fixed here"
            yield version.finding(f"{path}.dims", message, fix="write -1 there")


@rule(
    "ONX016",
    "optional-input-with-batching",
    Severity.ERROR,
    requires=("ONX001",),
    triton="is not supported for models that support batching",
)
def optional_input_with_batching(version: Version) -> Iterator[Found]:
    """## What it does
    Checks that no input of a batching ONNX model is optional.

    ## Why is this bad?
    The ONNX Runtime backend supports optional inputs without batching only, and does not load the model.

    ## Example
    ```pbtxt
    max_batch_size: 8
    input [ { name: "mask" data_type: TYPE_BOOL dims: [ -1 ] optional: true } ]
    ```
    """
    if not is_onnx(version) or version.model.config.max_batch_size <= 0:
        return
    for index, tensor in enumerate(version.model.inputs):
        if tensor.optional:
            message = f"`{tensor.name}` is optional in a model that batches"
            yield version.finding(
                f"input[{index}].optional", message, fix="remove `optional`, or set max_batch_size to 0"
            )


@rule("ONX017", "batch-left-unused", Severity.WARNING, requires=("ONX001",))
def batch_left_unused(version: Version) -> Iterator[Found]:
    """## What it does
    Reports `max_batch_size` 0 on a model whose graph has a dynamic first dimension in all inputs and outputs, of one name.

    ## Why is this bad?
    The graph can batch, but Triton never merges two requests: the GPU works on one at a time.

    ## Example
    ```pbtxt
    max_batch_size: 0
    input [ { name: "image" data_type: TYPE_FP32 dims: [ -1, 3, 224, 224 ] } ]      # the graph has [batch, 3, 224, 224]
    ```
    """
    model = version.model
    if not is_onnx(version) or model.config.max_batch_size or not model.inputs or not model.outputs:
        return
    values = (*version.onnx.inputs, *version.onnx.outputs)
    firsts = {value.shape[0] if value.shape else None for value in values}
    first = next(iter(firsts)) if len(firsts) == 1 else None
    if not isinstance(first, str) or first.lower() not in ("batch", "batch_size", "n", "b", "batchsize"):
        return
    if not model.config.HasField("sequence_batching"):
        message = f"all tensors of the graph begin with `{first}`, but max_batch_size is 0"
        yield version.finding("max_batch_size", message, fix="set max_batch_size and leave the first -1 out of dims")
