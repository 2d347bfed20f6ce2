"""CFG020 to CFG029: single fields of the configuration."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from repository_builder.check.inputs import Model
from repository_builder.check.rule import Found, Severity, rule


@rule("CFG020", "name-differs-from-folder", Severity.ERROR, triton="unexpected directory name '…' for model '…'")
def name_differs_from_folder(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that `name`, if given, is the name of the model's folder.

    ## Why is this bad?
    Triton finds models by folder and refuses one that calls itself otherwise.

    ## Example
    ```pbtxt
    name: "resnet50"    # in the folder resnet
    ```
    """
    if model.config.name and model.config.name != model.name:
        yield model.finding(
            "name",
            f"the model calls itself `{model.config.name}`, its folder is `{model.name}`",
            fix=f'write name: "{model.name}", or leave `name` out',
        )


@rule("CFG021", "negative-max-batch-size", Severity.ERROR, triton="'max_batch_size' must be non-negative value for …")
def negative_max_batch_size(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that `max_batch_size` is 0 or more.

    ## Why is this bad?
    Triton refuses the model. No batching is written 0; there is no value for "unlimited".

    ## Example
    ```pbtxt
    max_batch_size: -1
    ```
    """
    if model.config.max_batch_size < 0:
        yield model.finding(
            "max_batch_size",
            f"`max_batch_size` is {model.config.max_batch_size}",
            fix="write 0 for a model without batching, else the largest batch that it can take",
        )


@rule("CFG022", "missing-config", Severity.ERROR, triton="failed to open text file for read …config.pbtxt")
def missing_config(model: Model) -> Iterator[Found]:
    """## What it does
    Checks, for a server that is started with `--disable-auto-complete-config`, that every model has a config.pbtxt.

    ## Why is this bad?
    Without completion the file is mandatory.

    ## Example
    ```
    model/1/model.onnx     # and no model/config.pbtxt
    ```
    """
    if not model.has_config and not model.host.auto_complete:
        yield model.file_finding(
            model.path,
            "there is no config.pbtxt, and the server does not complete configurations",
            fix="write a config.pbtxt, or start the server without --disable-auto-complete-config",
        )


@rule("CFG023", "incomplete-metric", Severity.ERROR, triton="metric control must specify 'metric_identifier'")
def incomplete_metric(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that every `metric_control` of `model_metrics` has a family and at least one bucket.

    ## Why is this bad?
    Triton (24.11 and newer) refuses a model with an incomplete metric.

    ## Example
    ```pbtxt
    model_metrics { metric_control [ { metric_identifier { } } ] }
    ```
    """
    for index, control in enumerate(model.config.model_metrics.metric_control):
        path = f"model_metrics.metric_control[{index}]"
        if not control.HasField("metric_identifier"):
            yield model.finding(
                f"{path}.metric_identifier", "the metric has no identifier", fix="add metric_identifier"
            )
        elif not control.metric_identifier.family:
            yield model.finding(f"{path}.metric_identifier.family", "the metric has no family", fix="name the family")
        elif not control.HasField("histogram_options"):
            yield model.finding(f"{path}.histogram_options", "the metric has no options", fix="add histogram_options")
        elif not control.histogram_options.buckets:
            yield model.finding(
                f"{path}.histogram_options.buckets", "the histogram has no buckets", fix="list the buckets"
            )


KEYS = {
    "python": ("EXECUTION_ENV_PATH", "FORCE_CPU_ONLY_INPUT_TENSORS", "SHUTDOWN_TIMEOUT_SECONDS"),
    "tensorrt": ("execution_context_allocation_strategy", "enable_multi_device", "execution_policy"),
    "onnxruntime": (
        "intra_op_thread_count", "inter_op_thread_count", "execution_mode", "optimization_level", "enable_mem_arena",
        "enable_mem_pattern", "memory.enable_memory_arena_shrinkage", "session.use_device_allocator_for_initializers",
    ),
    "pytorch": (
        "DISABLE_OPTIMIZED_EXECUTION", "INFERENCE_MODE", "DISABLE_CUDNN", "ENABLE_WEIGHT_SHARING", "ENABLE_CACHE_CLEANING",
        "INTER_OP_THREAD_COUNT", "INTRA_OP_THREAD_COUNT", "ENABLE_JIT_PROFILING", "ENABLE_JIT_EXECUTOR", "ENABLE_TENSOR_FUSER",
    ),
}  # fmt: skip
"""Parameters that a backend reads (their READMEs)."""


@rule("CFG024", "misspelt-parameter", Severity.WARNING)
def misspelt_parameter(model: Model) -> Iterator[Found]:
    """## What it does
    Reports a parameter that is nearly one that the backend reads.

    ## Why is this bad?
    Parameters are free-form: the backend ignores a misspelt one without a word, and what was meant does not happen.

    ## Example
    ```pbtxt
    parameters { key: "EXECUTION_ENVIRONMENT_PATH" value { string_value: "/env.tar.gz" } }
    ```
    """
    known = (*KEYS.get(model.backend, ()), "TRITON_BATCH_STRATEGY_PATH")
    for key in model.config.parameters:
        if key in known:
            continue
        upper = {name.upper().replace("-", "_"): name for name in known}
        close = difflib.get_close_matches(key.upper().replace("-", "_"), upper, n=1, cutoff=0.8)
        if close:
            meant = upper[close[0]]
            yield model.finding(
                f'parameters["{key}"]',
                f"backend `{model.backend}` does not read a parameter `{key}`, but `{meant}`",
                fix=f'write key: "{meant}"',
            )


@rule("CFG025", "duplicate-map-key", Severity.WARNING)
def duplicate_map_key(model: Model) -> Iterator[Found]:
    """## What it does
    Reports a key that a map (`parameters`, `input_map`, …) holds twice.

    ## Why is this bad?
    Protobuf keeps the last entry and drops the first one without a word.

    ## Example
    ```pbtxt
    parameters { key: "mode" value { string_value: "fast" } }
    parameters { key: "mode" value { string_value: "exact" } }
    ```
    """
    for path, key, place in model.parsed.reading.repeated_keys:
        line, column = model.parsed.locate(place)
        yield Found(
            model.config_path,
            line,
            column,
            f'{path}["{key}"]',
            f"`{key}` stands twice in `{path}`; only the last entry counts",
            "remove one of the two",
            model.name,
        )
