"""SEQ001 to SEQ007: control inputs and strategies of the sequence batcher."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from repository_builder.check.inputs import Model, dtype_name
from repository_builder.check.rule import Found, Severity, rule

KINDS = ("CONTROL_SEQUENCE_START", "CONTROL_SEQUENCE_READY", "CONTROL_SEQUENCE_END", "CONTROL_SEQUENCE_CORRID")
_CORRID = 3
_VALUES = ("int32_false_true", "fp32_false_true", "bool_false_true")
_CORRID_TYPES = ("TYPE_UINT64", "TYPE_INT64", "TYPE_UINT32", "TYPE_INT32", "TYPE_STRING")


def _controls(model: Model) -> Iterator[tuple[str, Any, Any]]:
    """(field path, control input, control) of every control."""
    for index, tensor in enumerate(model.config.sequence_batching.control_input):
        for place, control in enumerate(tensor.control):
            yield f"sequence_batching.control_input[{index}].control[{place}]", tensor, control


@rule(
    "SEQ001", "control-without-name", Severity.ERROR, triton="sequence batching control tensor must have a name for …"
)
def control_without_name(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that every control input has a name.

    ## Why is this bad?
    Triton refuses the model.

    ## Example
    ```pbtxt
    sequence_batching { control_input [ { control [ { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } ] } ] }
    ```
    """
    for index, tensor in enumerate(model.config.sequence_batching.control_input):
        if not tensor.name:
            path = f"sequence_batching.control_input[{index}].name"
            yield model.finding(path, "the control input has no name", fix="name the model's input")


@rule(
    "SEQ002",
    "control-tensor-twice",
    Severity.ERROR,
    triton="sequence batching control tensor '…' is specified for multiple control kinds for …",
)
def control_tensor_twice(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that no input is a control input twice.

    ## Why is this bad?
    One input can carry one signal only; Triton refuses the model.

    ## Example
    ```pbtxt
    sequence_batching { control_input [
      { name: "C" control [ { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } ] },
      { name: "C" control [ { kind: CONTROL_SEQUENCE_END int32_false_true: [ 0, 1 ] } ] }
    ] }
    ```
    """
    seen: set[str] = set()
    for index, tensor in enumerate(model.config.sequence_batching.control_input):
        if tensor.name and tensor.name in seen:
            path = f"sequence_batching.control_input[{index}].name"
            yield model.finding(path, f"`{tensor.name}` is a control input already", fix="use another input")
        seen.add(tensor.name)


@rule("SEQ003", "control-kind-twice", Severity.ERROR, triton="sequence batching specifies multiple … tensors for …")
def control_kind_twice(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that each kind of control is given at most once.

    ## Why is this bad?
    Triton refuses a second start, end, ready or correlation-id input.

    ## Example
    ```pbtxt
    sequence_batching { control_input [
      { name: "A" control [ { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } ] },
      { name: "B" control [ { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } ] }
    ] }
    ```
    """
    seen: set[int] = set()
    for path, _, control in _controls(model):
        if control.kind in seen and control.kind < len(KINDS):
            yield model.finding(f"{path}.kind", f"{KINDS[control.kind]} is given twice", fix="keep one")
        seen.add(control.kind)


@rule(
    "SEQ004",
    "control-values",
    Severity.ERROR,
    requires=("SEQ001",),
    triton="sequence batching must specify either 'int32_false_true', 'fp32_false_true' or 'bool_false_true' for …",
)
def control_values(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that a start, end or ready control has exactly one of the value lists, with exactly two values.

    ## Why is this bad?
    Triton must know what to write for "no" and "yes"; it refuses the model.

    ## Example
    ```pbtxt
    sequence_batching { control_input [ { name: "S" control [ { kind: CONTROL_SEQUENCE_START } ] } ] }
    ```
    """
    for path, _, control in _controls(model):
        if control.kind == _CORRID:
            continue
        given = [name for name in _VALUES if getattr(control, name)]
        if not given:
            yield model.finding(path, "the control says no values", fix="add int32_false_true: [ 0, 1 ]")
        elif len(given) > 1:
            yield model.finding(f"{path}.{given[1]}", f"{' and '.join(given)} are both given", fix="keep one of them")
        elif len(getattr(control, given[0])) != 2:
            count = len(getattr(control, given[0]))
            yield model.finding(f"{path}.{given[0]}", f"{count} values instead of two", fix="give false and true")


@rule(
    "SEQ005",
    "correlation-id-type",
    Severity.ERROR,
    triton="unexpected data type for control CONTROL_SEQUENCE_CORRID for …",
)
def correlation_id_type(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that a correlation-id control has type UINT64, INT64, UINT32, INT32 or STRING, and no false and true values.

    ## Why is this bad?
    Triton refuses the model.

    ## Example
    ```pbtxt
    sequence_batching { control_input [ { name: "ID" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_FP32 } ] } ] }
    ```
    """
    for path, _, control in _controls(model):
        if control.kind != _CORRID:
            continue
        if dtype_name(control.data_type) not in _CORRID_TYPES:
            shown = dtype_name(control.data_type)
            yield model.finding(f"{path}.data_type", f"a correlation id cannot be {shown}", fix="write TYPE_UINT64")
        for name in _VALUES:
            if getattr(control, name):
                yield model.finding(f"{path}.{name}", "a correlation id has no false and true", fix=f"remove {name}")


@rule(
    "SEQ006",
    "sequence-preferred-size",
    Severity.ERROR,
    requires=("CFG021",),
    triton="sequence batching preferred batch size must be <= max batch size for …",
)
def sequence_preferred_size(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that the preferred sizes of the `oldest` strategy lie between 1 and `max_batch_size`.

    ## Why is this bad?
    Triton refuses the model.

    ## Example
    ```pbtxt
    max_batch_size: 2
    sequence_batching { oldest { max_candidate_sequences: 4 preferred_batch_size: [ 4 ] } }
    ```
    """
    for index, size in enumerate(model.config.sequence_batching.oldest.preferred_batch_size):
        if not 1 <= size <= model.config.max_batch_size:
            yield model.finding(
                f"sequence_batching.oldest.preferred_batch_size[{index}]",
                f"preferred batch {size} is outside 1 to `max_batch_size` {model.config.max_batch_size}",
                fix="lower it, or raise max_batch_size",
            )


@rule(
    "SEQ007",
    "slot-utilization-out-of-range",
    Severity.ERROR,
    triton="sequence batching minimum slot utilization must be in range (0.0, 1.0] for …",
)
def slot_utilization_out_of_range(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that `minimum_slot_utilization` of the `direct` strategy lies between 0 and 1.

    ## Why is this bad?
    It is a fraction of the slots; Triton refuses anything else.

    ## Example
    ```pbtxt
    sequence_batching { direct { minimum_slot_utilization: 80 } }
    ```
    """
    value = model.config.sequence_batching.direct.minimum_slot_utilization
    if not 0.0 <= value <= 1.0:
        yield model.finding(
            "sequence_batching.direct.minimum_slot_utilization",
            f"{value:g} is no fraction",
            fix="write it as 0.0 to 1.0",
        )
