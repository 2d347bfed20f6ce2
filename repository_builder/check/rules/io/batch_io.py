"""IO030 and IO031: `batch_input` and `batch_output` of ragged batches."""

from __future__ import annotations

from collections.abc import Iterator

from repository_builder.check.inputs import Model
from repository_builder.check.rule import Found, Severity, rule
from repository_builder.errors import nearest


@rule("IO030", "wrong-batch-input", Severity.ERROR, triton="unknown source input name '…'")
def wrong_batch_input(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that every `batch_input` has exactly one source that is an input of the model, and type INT32 or FP32.

    ## Why is this bad?
    Triton refuses the model.

    ## Example
    ```pbtxt
    batch_input [ { kind: BATCH_ELEMENT_COUNT target_name: "count" data_type: TYPE_INT64 source_input: "nowhere" } ]
    ```
    """
    names = [tensor.name for tensor in model.inputs]
    for index, batch in enumerate(model.config.batch_input):
        path = f"batch_input[{index}]"
        if len(batch.source_input) != 1:
            yield model.finding(
                f"{path}.source_input", f"it has {len(batch.source_input)} sources instead of one", fix="name one input"
            )
        if batch.data_type not in (_INT32, _FP32):
            yield model.finding(
                f"{path}.data_type", "its type is neither TYPE_INT32 nor TYPE_FP32", fix="write TYPE_INT32 or TYPE_FP32"
            )
        for source in batch.source_input:
            if source not in names:
                yield model.finding(
                    f"{path}.source_input",
                    f"the model has no input `{source}`{nearest(source, names)}",
                    fix="name an input",
                )


_INT32, _FP32 = 8, 11


@rule("IO031", "wrong-batch-output", Severity.ERROR, triton="unknown target output name '…'")
def wrong_batch_output(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that every `batch_output` has exactly one source that is an input, and targets that are outputs, each once.

    ## Why is this bad?
    Triton refuses the model.

    ## Example
    ```pbtxt
    batch_output [ { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: [ "y", "y" ] source_input: "x" } ]
    ```
    """
    inputs = [tensor.name for tensor in model.inputs]
    outputs = [tensor.name for tensor in model.outputs]
    for index, batch in enumerate(model.config.batch_output):
        path = f"batch_output[{index}]"
        if len(batch.source_input) != 1:
            yield model.finding(
                f"{path}.source_input", f"it has {len(batch.source_input)} sources instead of one", fix="name one input"
            )
        for source in batch.source_input:
            if source not in inputs:
                message = f"the model has no input `{source}`{nearest(source, inputs)}"
                yield model.finding(f"{path}.source_input", message, fix="name an input")
        for place, target in enumerate(batch.target_name):
            if target not in outputs:
                message = f"the model has no output `{target}`{nearest(target, outputs)}"
                yield model.finding(f"{path}.target_name[{place}]", message, fix="name an output")
            elif target in batch.target_name[:place]:
                yield model.finding(f"{path}.target_name[{place}]", f"`{target}` is named twice", fix="name it once")
