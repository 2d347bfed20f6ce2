"""ONX020 to ONX022: execution accelerators of the ONNX Runtime backend."""

from __future__ import annotations

from collections.abc import Iterator

from repository_builder.check.inputs import Model
from repository_builder.check.rule import Found, Severity, rule
from repository_builder.check.rules.ins.groups import CPU
from repository_builder.errors import nearest

ON_GPU, ON_CPU = ("tensorrt", "cuda"), ("openvino",)
_FIELD = "optimization.execution_accelerators"

TENSORRT_PARAMETERS = (
    "precision_mode", "max_workspace_size_bytes", "trt_max_partition_iterations", "trt_min_subgraph_size",
    "int8_calibration_table_name", "int8_use_native_calibration_table", "trt_dla_enable", "trt_dla_core",
    "trt_engine_cache_enable", "trt_engine_cache_path", "trt_engine_cache_prefix", "trt_dump_subgraphs",
    "trt_force_sequential_engine_build", "trt_context_memory_sharing_enable", "trt_layer_norm_fp32_fallback",
    "trt_timing_cache_enable", "trt_timing_cache_path", "trt_force_timing_cache", "trt_detailed_build_log",
    "trt_build_heuristics_enable", "trt_sparsity_enable", "trt_builder_optimization_level", "trt_auxiliary_streams",
    "trt_tactic_sources", "trt_extra_plugin_lib_paths", "trt_profile_min_shapes", "trt_profile_max_shapes",
    "trt_profile_opt_shapes", "trt_cuda_graph_enable", "trt_dump_ep_context_model", "trt_ep_context_file_path",
    "trt_ep_context_embed_mode",
)  # fmt: skip
"""Keys that the backend reads for `tensorrt` (onnxruntime.cc, 00fd3e8)."""


@rule("ONX020", "unknown-accelerator", Severity.ERROR, triton="unknown Execution Accelerator '…' is requested")
def unknown_accelerator(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that execution accelerators are ones that the ONNX Runtime backend knows: `tensorrt` and `cuda` on the GPU,
    `openvino` on the CPU.

    ## Why is this bad?
    The backend does not load the model.

    ## Example
    ```pbtxt
    optimization { execution_accelerators { gpu_execution_accelerator : [ { name : "TensorRT" } ] } }
    ```
    """
    if model.backend != "onnxruntime":
        return
    accelerators = model.config.optimization.execution_accelerators
    for side, known in (("gpu_execution_accelerator", ON_GPU), ("cpu_execution_accelerator", ON_CPU)):
        for index, each in enumerate(getattr(accelerators, side)):
            if each.name not in known:
                message = f"there is no accelerator `{each.name}`{nearest(each.name.lower(), known)}"
                yield model.finding(f"{_FIELD}.{side}[{index}].name", message, fix=f"write {' or '.join(known)}")


@rule(
    "ONX021",
    "unknown-accelerator-parameter",
    Severity.ERROR,
    requires=("ONX020",),
    triton="unknown parameter '…' is provided for TensorRT Execution Accelerator",
)
def unknown_accelerator_parameter(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that the parameters of the `tensorrt` accelerator are ones that the backend reads.

    ## Why is this bad?
    The backend does not load the model. (A newer backend may know more: say so in triton-repo.toml.)

    ## Example
    ```pbtxt
    gpu_execution_accelerator : [ { name : "tensorrt" parameters { key: "precision" value: "FP16" } } ]
    ```
    """
    if model.backend != "onnxruntime":
        return
    for index, each in enumerate(model.config.optimization.execution_accelerators.gpu_execution_accelerator):
        for key in each.parameters if each.name == "tensorrt" else ():
            if key not in TENSORRT_PARAMETERS:
                field = f'{_FIELD}.gpu_execution_accelerator[{index}].parameters["{key}"]'
                message = f"accelerator `tensorrt` has no parameter `{key}`{nearest(key, TENSORRT_PARAMETERS)}"
                yield model.finding(field, message, fix="use a parameter that it has")


@rule("ONX022", "gpu-accelerator-on-cpu", Severity.WARNING)
def gpu_accelerator_on_cpu(model: Model) -> Iterator[Found]:
    """## What it does
    Reports GPU accelerators of a model whose instances all run on the CPU.

    ## Why is this bad?
    They are ignored without a word.

    ## Example
    ```pbtxt
    instance_group [ { kind: KIND_CPU } ]
    optimization { execution_accelerators { gpu_execution_accelerator : [ { name : "tensorrt" } ] } }
    ```
    """
    groups = model.config.instance_group
    accelerators = model.config.optimization.execution_accelerators.gpu_execution_accelerator
    if model.backend == "onnxruntime" and accelerators and groups and all(group.kind == CPU for group in groups):
        field = f"{_FIELD}.gpu_execution_accelerator"
        yield model.finding(field, "GPU accelerators do nothing on the CPU", fix="remove them, or write kind: KIND_GPU")
