"""Facts about a TensorRT engine that can be had without a GPU.

Three sources: the plan's own header (TensorRT's version), the file `engine.json` in the model's folder, which the builder
writes, and the package `tensorrt` where it is installed. Without file and package the tensors and profiles stay unknown, and
the rules that need them say so.

Of `engine.json` these keys are read; for a plan that another tool built they can be written by hand:

    {"builder": {"version": "10.16.1"}, "compute_capabilities": ["9.0"], "hardware_compatibility": "none", "flags": [],
     "inputs": [{"name": "x", "dtype": "FP32", "shape": ["batch", 16], "shape_tensor": false, "linear": true}],
     "outputs": […], "profiles": [{"name": "p", "shapes": {"x": {"min": [1, 16], "opt": [4, 16], "max": [8, 16]}}}],
     "network": {"bytes": {"FP32": 4096}}, "engine": {"activation_bytes": 1048576}, "plugins": ["libnms.so"]}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repository_builder.check.rule import Skip

SIDECAR = "engine.json"
_TAG = b"ftrt"  # TensorRT's samples/common/sampleEngines.cpp: kPLAN_FILE_TAG, version bytes 24 to 27


@dataclass(frozen=True)
class Bounds:
    """Shapes of one input in one profile, batch included (values, for a shape tensor)."""

    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]


@dataclass(frozen=True)
class EngineTensor:
    """An input or output of an engine."""

    name: str
    is_input: bool
    dtype: str
    """As Triton spells it, without TYPE_."""
    shape: tuple[int, ...]
    """-1 for a dynamic dimension."""
    is_shape_tensor: bool = False
    is_linear: bool = True


@dataclass(frozen=True)
class Engine:
    """An engine: its tensors, and per optimization profile the bounds of every input."""

    tensors: tuple[EngineTensor, ...]
    profiles: tuple[Mapping[str, Bounds], ...]
    tensorrt: str = ""
    compute_capabilities: tuple[str, ...] = ()
    version_compatible: bool = False
    hardware_compatible: bool = False
    weights_bytes: int = 0
    activation_bytes: int = 0
    """Of one execution context."""
    plugins: tuple[str, ...] = field(default=())
    """Plugin libraries that it needs, as paths or names."""

    @property
    def inputs(self) -> tuple[EngineTensor, ...]:
        """Inputs, shape tensors included."""
        return tuple(tensor for tensor in self.tensors if tensor.is_input)

    def max_batch(self, profile: int) -> int:
        """The largest first dimension that every batched input allows in a profile."""
        return min((bounds.max[0] for bounds in self._batched(profile)), default=0)

    def min_batch(self, profile: int) -> int:
        """The smallest first dimension that every batched input allows in a profile."""
        return max((bounds.min[0] for bounds in self._batched(profile)), default=0)

    def _batched(self, profile: int) -> list[Bounds]:
        plain = {tensor.name for tensor in self.inputs if not tensor.is_shape_tensor and tensor.shape}
        return [bounds for name, bounds in self.profiles[profile].items() if name in plain and bounds.max]


def plan_version(path: Path) -> str:
    """TensorRT's version from the header of a plan; raises Skip if the file does not have that header."""
    try:
        with path.open("rb") as stream:
            head = stream.read(28)
    except OSError as error:
        raise Skip(f"{path} cannot be read: {error.strerror}") from error
    if len(head) < 28 or head[:4] != _TAG or head[4:8] != b"\0\0\0\0":
        raise Skip(f"{path} has no header that tells its TensorRT version")
    return ".".join(str(byte) for byte in head[24:28])


def read(plan: Path) -> Engine:
    """Facts about the engine in `plan`, from its sidecar or from `tensorrt`. Raises Skip where neither helps."""
    sidecar = plan.parent.parent / SIDECAR
    if sidecar.is_file():
        try:
            return _from_json(json.loads(sidecar.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise Skip(f"{sidecar} cannot be used: {error!r}") from error
    if not plan.is_file():
        raise Skip(f"there is no plan {plan}")
    return _from_tensorrt(plan)


def _from_json(value: dict[str, Any]) -> Engine:
    tensors = tuple(
        _described(each, is_input=side == "inputs") for side in ("inputs", "outputs") for each in value[side]
    )
    profiles = tuple(
        {
            name: Bounds(*(tuple(int(dim) for dim in bounds[which]) for which in ("min", "opt", "max")))
            for name, bounds in profile["shapes"].items()
        }
        for profile in value["profiles"]
    )
    return Engine(
        tensors,
        profiles,
        str(value["builder"]["version"]) if "builder" in value else "",
        tuple(str(each) for each in value.get("compute_capabilities", ())),
        "VERSION_COMPATIBLE" in value.get("flags", ()),
        value.get("hardware_compatibility") not in (None, "", "none", "NONE"),
        sum(int(size) for size in value.get("network", {}).get("bytes", {}).values()),
        int(value.get("engine", {}).get("activation_bytes", 0)),
        tuple(str(name) for name in value.get("plugins", ())),
    )


def _described(value: dict[str, Any], *, is_input: bool) -> EngineTensor:
    shape = tuple(dim if isinstance(dim, int) else -1 for dim in value["shape"])
    is_shape = bool(value.get("shape_tensor", False))
    return EngineTensor(value["name"], is_input, value["dtype"], shape, is_shape, bool(value.get("linear", True)))


def _from_tensorrt(plan: Path) -> Engine:
    try:
        import tensorrt as trt
    except ImportError as error:
        raise Skip(f"{plan} has no {SIDECAR} beside it, and the package `tensorrt` is not installed") from error
    runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))  # engine_host_code_allowed stays off: no code of the plan runs
    engine = runtime.deserialize_cuda_engine(plan.read_bytes())
    if engine is None:
        raise Skip(f"the installed TensorRT {trt.__version__} cannot read {plan}")
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    tensors = tuple(_tensor(engine, name, is_input=name in inputs) for name in names)
    shape_tensors = {tensor.name for tensor in tensors if tensor.is_shape_tensor}
    profiles = tuple(
        {name: _bounds(engine, name, index, values=name in shape_tensors) for name in inputs}
        for index in range(engine.num_optimization_profiles)
    )
    return Engine(tensors, profiles, str(trt.__version__), activation_bytes=int(engine.device_memory_size_v2))


def _tensor(engine: Any, name: str, *, is_input: bool) -> EngineTensor:
    import tensorrt as trt

    dtypes = {"FLOAT": "FP32", "HALF": "FP16"}
    dtype = engine.get_tensor_dtype(name).name
    linear = engine.get_tensor_format(name) == trt.TensorFormat.LINEAR
    shape = tuple(engine.get_tensor_shape(name))
    is_shape = bool(engine.is_shape_inference_io(name))
    return EngineTensor(name, is_input, dtypes.get(dtype, dtype), shape, is_shape, linear)


def _bounds(engine: Any, name: str, profile: int, *, values: bool) -> Bounds:
    ask = engine.get_tensor_profile_values if values else engine.get_tensor_profile_shape
    arguments = (profile, name) if values else (name, profile)
    return Bounds(*(tuple(int(dim) for dim in shape) for shape in ask(*arguments)))
