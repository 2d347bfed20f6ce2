"""One ONNX Runtime session on the CPU: its options out of the model's configuration, and one run of a batch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as errors

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]

PROVIDERS = ["CPUExecutionProvider"]
RUN_ERRORS = (
    errors.Fail,
    errors.InvalidArgument,
    errors.NotImplemented,
    errors.RuntimeException,
    errors.EPFail,
    RuntimeError,
    ValueError,
)
LEVELS = {
    -1: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    0: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    1: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
"""Triton's `optimization.graph.level`, as its own backend reads it."""


class RunFailed(Exception):
    """A run failed; the message is ONNX Runtime's."""


def peek(path: Path) -> Any:
    """A session that is only good for looking at the interface: nothing is optimized."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(path), options, providers=PROVIDERS)


def load(path: Path, config: Mapping[str, Any]) -> Any:
    """The session of one instance."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = intra_op_threads(config, available_cpus())
    options.inter_op_num_threads = int_parameter(config, "inter_op_thread_count")
    if int_parameter(config, "execution_mode") == 1:
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    level = (config.get("optimization") or {}).get("graph") or {}
    options.graph_optimization_level = LEVELS.get(int(level.get("level", 0)), LEVELS[0])
    return onnxruntime.InferenceSession(str(path), options, providers=PROVIDERS)


def intra_op_threads(config: Mapping[str, Any], cpus: int) -> int:
    """The parameter `intra_op_thread_count`, else the processors divided among all instances of the model."""
    instances = sum(int(group["count"]) for group in config.get("instance_group", ()))
    return int_parameter(config, "intra_op_thread_count") or max(1, cpus // max(1, instances))


def int_parameter(config: Mapping[str, Any], name: str) -> int:
    """A parameter of the config as a number; 0 (ONNX Runtime's own choice) if it is absent."""
    value = ((config.get("parameters") or {}).get(name) or {}).get("string_value", "0")
    try:
        return int(value)
    except ValueError:
        raise ValueError(f"parameter `{name}` must be a whole number, not `{value}`") from None


def available_cpus() -> int:
    """Processors that this process may use: its affinity, and its container's quota where there is one."""
    cpus = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return cpus
    return cpus if quota == "max" else max(1, min(cpus, round(int(quota) / int(period))))


def run(session: Any, inputs: Arrays, outputs: Sequence[str]) -> Arrays:
    """One run. Strings are UTF-8 bytes on our side. Raises RunFailed with ONNX Runtime's own words."""
    try:
        results = session.run(list(outputs), {name: _to_runtime(array) for name, array in inputs.items()})
    except RUN_ERRORS as error:
        raise RunFailed(f"onnxruntime execute failure: {error}") from error
    return {name: _from_runtime(result) for name, result in zip(outputs, results, strict=True)}


def _to_runtime(array: Array) -> Array:
    if array.dtype != object:
        return array
    texts = np.empty(array.size, object)
    texts[:] = [item.decode("utf-8") if isinstance(item, bytes) else str(item) for item in array.ravel()]
    return texts.reshape(array.shape)


def _from_runtime(result: Any) -> Array:
    array = np.asarray(result)
    if array.dtype.kind not in "OU":
        return array
    encoded = np.empty(array.size, object)
    encoded[:] = [str(item).encode() for item in array.ravel()]
    return encoded.reshape(array.shape)
