"""ENS010 to ENS014: the flow of tensors inside an ensemble.

The same walk as Triton's `BuildEnsembleGraph` and `ValidateEnsembleSchedulingConfig`: an ensemble tensor is ready when it is
an input of the ensemble, or when all inputs of the step that writes it are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from repository_builder.check.ensemble_flow import Flow
from repository_builder.check.inputs import Model
from repository_builder.check.rule import Found, Severity, rule
from repository_builder.errors import nearest

_WHOLE = ("ENS002", "ENS004", "ENS005")


def steps(model: Model) -> list[tuple[str, Any]]:
    """(field path, step) of every step."""
    return [(f"ensemble_scheduling.step[{i}]", step) for i, step in enumerate(model.config.ensemble_scheduling.step)]


@rule(
    "ENS010",
    "tensor-written-twice",
    Severity.ERROR,
    requires=_WHOLE,
    triton="ensemble tensor '…' can appear in an output map only once for ensemble '…' step …",
)
def tensor_written_twice(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that every ensemble tensor is written by one step only, once.

    ## Why is this bad?
    Triton cannot know which value to take, and refuses the ensemble.

    ## Example
    ```pbtxt
    step [
      { model_name: "a" … output_map { key: "y" value: "out" } },
      { model_name: "b" … output_map { key: "y" value: "out" } }
    ]
    ```
    """
    for tensor, writers in model.flow.writers.items():
        for path in writers[1:]:
            yield model.finding(
                path, f"`{tensor}` is written already by {_step(writers[0])}", fix="give it another name"
            )


def _step(path: str) -> str:
    return path.removeprefix("ensemble_scheduling.").partition(".")[0].replace("[", " ").rstrip("]")


@rule(
    "ENS011",
    "unused-ensemble-input",
    Severity.ERROR,
    requires=_WHOLE,
    triton="ensemble input '…' for ensemble …' is not used",
)
def unused_ensemble_input(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that every input of an ensemble is read by a step.

    ## Why is this bad?
    Triton refuses the ensemble. Map *values* name ensemble tensors, map *keys* name the step's own.

    ## Example
    ```pbtxt
    input [ { name: "image" … } ]
    ensemble_scheduling { step [ { … input_map { key: "x" value: "img" } } ] }
    ```
    """
    found = model.flow
    for index, tensor in enumerate(model.inputs):
        if model.config.HasField("ensemble_scheduling") and tensor.name and tensor.name not in found.readers:
            hint = nearest(tensor.name, found.readers)
            yield model.finding(
                f"input[{index}]", f"no step reads `{tensor.name}`{hint}", fix="map it to an input of a step"
            )


@rule("ENS012", "output-not-written", Severity.ERROR, requires=(*_WHOLE, "ENS011"), triton="is not")
def output_not_written(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that every output of an ensemble is written by a step whose own inputs can all be had.

    ## Why is this bad?
    Triton refuses the ensemble (`ensemble output 'y' … is not used`, or `output 'y' … is not written`).

    ## Example
    ```pbtxt
    output [ { name: "scores" … } ]
    ensemble_scheduling { step [ { … output_map { key: "y" value: "score" } } ] }
    ```
    """
    found = model.flow
    for index, tensor in enumerate(model.outputs):
        if not model.config.HasField("ensemble_scheduling") or not tensor.name or tensor.name in found.ready:
            continue
        if tensor.name in found.writers:
            blocked = _blocking(found, tensor.name)
            message = f"the step that writes `{tensor.name}` waits for `{blocked}`, which nothing writes in time"
        else:
            message = f"no step writes `{tensor.name}`{nearest(tensor.name, found.writers)}"
        yield model.finding(f"output[{index}]", message, fix="map it from an output of a step")


def _blocking(found: Flow, tensor: str) -> str:
    """The first tensor, upstream of `tensor`, that is not ready."""
    seen: set[str] = set()
    while True:
        seen.add(tensor)
        sources = [name for name in found.sources.get(tensor, ()) if name not in found.ready and name not in seen]
        if not sources:
            return tensor
        tensor = sources[0]


@rule(
    "ENS013",
    "dangling-tensor",
    Severity.ERROR,
    requires=(*_WHOLE, "ENS011", "ENS012"),
    triton="ensemble tensor '…' is unused in ensemble '…'",
)
def dangling_tensor(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that every inner tensor of an ensemble is both written and read. (An output of a step that nobody wants is simply
    not mapped.)

    ## Why is this bad?
    Triton refuses the ensemble.

    ## Example
    ```pbtxt
    step [ { … output_map { key: "debug" value: "never_read" } } ]
    ```
    """
    if not model.config.HasField("ensemble_scheduling"):
        return
    found = model.flow
    outside = {tensor.name for tensor in (*model.inputs, *model.outputs)}
    for tensor, paths in found.writers.items():
        if tensor not in outside and tensor not in found.readers:
            yield model.finding(
                paths[0], f"nothing reads `{tensor}`{nearest(tensor, found.readers)}", fix="remove the mapping"
            )
    for tensor, paths in found.readers.items():
        if tensor not in outside and tensor not in found.ready:
            why = "is written too late" if tensor in found.writers else "is written by no step"
            hint = nearest(tensor, {*found.writers, *outside} - {tensor})
            yield model.finding(
                paths[0], f"`{tensor}` {why}{hint}", fix="map it from an output, or from an ensemble input"
            )
