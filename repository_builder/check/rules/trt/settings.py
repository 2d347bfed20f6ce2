"""TRT001 to TRT008: settings of TensorRT models that are wrong whatever the plan is."""

from __future__ import annotations

from collections.abc import Iterator

from repository_builder.check.inputs import Model, dtype_name
from repository_builder.check.rule import Found, Severity, rule
from repository_builder.check.rules.ins.groups import CPU, MODEL, NAMES

MULTI_DEVICE, ALLOCATION = "enable_multi_device", "execution_context_allocation_strategy"


def is_trt(model: Model) -> bool:
    """Is it a TensorRT model?"""
    return model.backend == "tensorrt" and not model.is_ensemble


@rule("TRT001", "tensorrt-without-gpu", Severity.ERROR, triton="TensorRT backend supports only GPU device")
def tensorrt_without_gpu(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that instance groups of TensorRT models run on a GPU.

    ## Why is this bad?
    Engines run on GPUs only; the backend does not load the model. (KIND_MODEL is for `enable_multi_device`, 26.06 and newer.)

    ## Example
    ```pbtxt
    platform: "tensorrt_plan"
    instance_group [ { kind: KIND_CPU } ]
    ```
    """
    if not is_trt(model):
        return
    for index, group in enumerate(model.config.instance_group):
        if group.kind == CPU or (group.kind == MODEL and MULTI_DEVICE not in model.config.parameters):
            field = f"instance_group[{index}].kind"
            yield model.finding(field, f"an engine cannot run with {NAMES[group.kind]}", fix="write kind: KIND_GPU")


@rule("TRT002", "tensorrt-on-a-machine-without-gpu", Severity.ERROR, triton="no GPUs are available")
def tensorrt_on_a_machine_without_gpu(model: Model) -> Iterator[Found]:
    """## What it does
    Checks, with `--gpu none`, that there is no TensorRT model.

    ## Why is this bad?
    Engines run on GPUs only.

    ## Example
    ```pbtxt
    platform: "tensorrt_plan"        # checked with --gpu none
    ```
    """
    if is_trt(model) and not model.config.instance_group and model.host.gpu and model.host.known_gpu is None:
        field = "backend" if model.config.backend else "platform"
        yield model.finding(
            field, "a TensorRT engine needs a GPU", fix="serve the ONNX graph, or use a machine with a GPU"
        )


@rule(
    "TRT003",
    "optional-engine-input",
    Severity.ERROR,
    triton="'optional' is set to true for input '…' while the backend … doesn't support optional input",
)
def optional_engine_input(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that no input of a TensorRT model is optional.

    ## Why is this bad?
    The backend does not support it and does not load the model.

    ## Example
    ```pbtxt
    input [ { name: "mask" data_type: TYPE_BOOL dims: [ -1 ] optional: true } ]
    ```
    """
    if not is_trt(model):
        return
    for index, tensor in enumerate(model.inputs):
        if tensor.optional:
            yield model.finding(
                f"input[{index}].optional", f"`{tensor.name}` cannot be optional", fix="remove `optional`"
            )


@rule("TRT004", "unknown-allocation-strategy", Severity.ERROR)
def unknown_allocation_strategy(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that `execution_context_allocation_strategy` is STATIC or ON_PROFILE_CHANGE.

    ## Why is this bad?
    The backend (25.05 and newer) does not load the model for any other word.

    ## Example
    ```pbtxt
    parameters { key: "execution_context_allocation_strategy" value { string_value: "DYNAMIC" } }
    ```
    """
    if is_trt(model) and ALLOCATION in model.config.parameters:
        value = model.config.parameters[ALLOCATION].string_value
        if value not in ("STATIC", "ON_PROFILE_CHANGE"):
            field = f'parameters["{ALLOCATION}"]'
            yield model.finding(field, f"`{value}` is no strategy", fix='write "STATIC" or "ON_PROFILE_CHANGE"')


@rule("TRT005", "wrong-secondary-device", Severity.ERROR)
def wrong_secondary_device(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that an instance group of a TensorRT model has at most one secondary device, and that a DLA core.

    ## Why is this bad?
    The backend does not load the model.

    ## Example
    ```pbtxt
    instance_group [ { kind: KIND_GPU secondary_devices [ { kind: KIND_NVDLA }, { kind: KIND_NVDLA device_id: 1 } ] } ]
    ```
    """
    if not is_trt(model):
        return
    for index, group in enumerate(model.config.instance_group):
        if len(group.secondary_devices) > 1:
            field = f"instance_group[{index}].secondary_devices[1]"
            yield model.finding(field, "a group has one secondary device at most", fix="remove the others")


@rule("TRT006", "type-without-tensorrt", Severity.ERROR)
def type_without_tensorrt(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that inputs and outputs of TensorRT models have a type that engines have: FP32, FP16, BF16, INT8, UINT8, INT32,
    INT64 or BOOL.

    ## Why is this bad?
    No engine can have another one, so the backend does not load the model.

    ## Example
    ```pbtxt
    platform: "tensorrt_plan"
    input [ { name: "text" data_type: TYPE_STRING dims: [ 1 ] } ]
    ```
    """
    if not is_trt(model):
        return
    for path, tensor in model.tensors():
        name = dtype_name(tensor.data_type).removeprefix("TYPE_")
        if tensor.data_type and name not in ("FP32", "FP16", "BF16", "INT8", "UINT8", "INT32", "INT64", "BOOL"):
            message = f"no engine has a tensor of type {name} (`{tensor.name}`)"
            yield model.finding(
                f"{path}.data_type", message, fix="write the engine's type; text and FP64 need a step before"
            )
