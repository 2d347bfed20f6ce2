"""One engine on one GPU: chooses the optimization profile, runs a batch, measures. For `tensorrt` and `tensorrt_rtx`.

Shared by the backend `tensorrt_rtx` and by `triton-repo profile`. Every profile gets a context of its own, made on first use.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cuda_runtime import DEVICE_TO_HOST, HOST_TO_DEVICE, Cuda
from run_types import Arrays, RunFailed

Shapes = Mapping[str, tuple[int, ...]]
Profile = Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
"""Input → smallest and largest full shape."""


@dataclass(frozen=True)
class Timing:
    """Times of one shape in milliseconds, copies left out."""

    mean: float
    median: float
    p99: float
    runs: int


class EngineRunner:
    """An engine that is loaded and ready."""

    def __init__(self, package: str, plan: Path, device: int = 0) -> None:
        self._trt = importlib.import_module(package)
        self._cuda = Cuda(device)
        self._stream = self._cuda.stream()
        self._errors: list[str] = []
        self._runtime = self._trt.Runtime(_logger(self._trt, self._errors))
        self._runtime.engine_host_code_allowed = False
        self._engine = self._runtime.deserialize_cuda_engine(plan.read_bytes())
        if self._engine is None:
            raise RunFailed(f"{package} {self._trt.__version__} does not load {plan.name}: {self._reason()}")
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        self.inputs = [name for name in names if self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT]
        self.outputs = [name for name in names if name not in self.inputs]
        self.profiles = [self._profile(index) for index in range(self._engine.num_optimization_profiles)]
        self._contexts: dict[int, Any] = {}
        self._buffers: dict[str, tuple[int, int]] = {}

    def run(self, inputs: Arrays) -> Arrays:
        """The outputs for one batch of inputs. Raises RunFailed where no profile takes it."""
        context = self._prepared({name: array.shape for name, array in inputs.items()})
        for name in self.inputs:
            array = np.ascontiguousarray(inputs[name], dtype=self._dtype(name))
            context.set_tensor_address(name, self._upload(name, array))
        outputs = self._allocate_outputs(context)
        if not context.execute_async_v3(self._stream):
            raise RunFailed(f"the engine did not run: {self._reason()}")
        for name, array in outputs.items():
            self._cuda.copy(array.ctypes.data, self._buffers[name][0], array.nbytes, DEVICE_TO_HOST, self._stream)
        self._cuda.wait(self._stream)
        return outputs

    def measure(self, shapes: Shapes, *, runs: int = 200, warmup: int = 20) -> Timing:
        """Times of `runs` executions at full shapes, with random inputs that stay on the GPU."""
        random = np.random.default_rng(0)
        context = self._prepared(shapes)
        for name in self.inputs:
            kind = np.dtype(self._dtype(name))
            values = random.standard_normal(shapes[name]) if kind.kind == "f" else np.zeros(shapes[name])
            context.set_tensor_address(name, self._upload(name, np.ascontiguousarray(values, dtype=kind)))
        self._allocate_outputs(context)
        start, end = self._cuda.event(), self._cuda.event()
        times = []
        for index in range(warmup + runs):
            self._cuda.record(start, self._stream)
            if not context.execute_async_v3(self._stream):
                raise RunFailed(f"the engine did not run: {self._reason()}")
            self._cuda.record(end, self._stream)
            if index >= warmup:
                times.append(self._cuda.milliseconds(start, end))
        p99 = float(np.percentile(times, 99))
        return Timing(float(np.mean(times)), float(np.median(times)), p99, runs)

    def layer_times(self, shapes: Shapes, *, runs: int = 20) -> list[tuple[str, float]]:
        """Mean milliseconds of each layer at full shapes, in the engine's order, by TensorRT's own profiler."""
        self.measure(shapes, runs=1)
        context = self._prepared(shapes)
        times: dict[str, float] = {}
        context.profiler = _profiler(self._trt, times)
        for _ in range(runs):
            if not context.execute_async_v3(self._stream):
                raise RunFailed(f"the engine did not run: {self._reason()}")
            self._cuda.wait(self._stream)
        context.profiler = None
        return [(name, total / runs) for name, total in times.items()]

    def layers(self) -> str:
        """The engine inspector's table of layers, as JSON text."""
        inspector = self._engine.create_engine_inspector()
        return str(inspector.get_engine_information(self._trt.LayerInformationFormat.JSON))

    def _prepared(self, shapes: Shapes) -> Any:
        """The context of the profile that takes these shapes, with the shapes set."""
        index = fitting(self.profiles, shapes)
        if index is None:
            got = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
            raise RunFailed(f"no optimization profile of the engine takes {got}")
        context = self._context(index)
        for name in self.inputs:
            if not context.set_input_shape(name, shapes[name]):
                raise RunFailed(f"the engine refuses the shape {list(shapes[name])} of {name}: {self._reason()}")
        return context

    def _context(self, index: int) -> Any:
        if index not in self._contexts:
            context = self._engine.create_execution_context()
            if context is None:
                raise RunFailed(f"no execution context for profile {index}: {self._reason()}")
            if index:
                context.set_optimization_profile_async(index, self._stream)
            self._cuda.wait(self._stream)
            self._contexts[index] = context
        return self._contexts[index]

    def _allocate_outputs(self, context: Any) -> Arrays:
        found: Arrays = {}
        for name in self.outputs:
            shape = tuple(context.get_tensor_shape(name))
            if min(shape, default=0) < 0:
                raise RunFailed(f"the shape of {name} depends on the data, which this runner does not support")
            found[name] = np.empty(shape, dtype=self._dtype(name))
            context.set_tensor_address(name, self._buffer(name, found[name].nbytes))
        return found

    def _upload(self, name: str, array: Any) -> int:
        address = self._buffer(name, array.nbytes)
        self._cuda.copy(address, array.ctypes.data, array.nbytes, HOST_TO_DEVICE, self._stream)
        self._cuda.wait(self._stream)  # the array may go before the copy has ended
        return address

    def _buffer(self, name: str, size: int) -> int:
        """Device memory for a tensor, kept and only ever enlarged."""
        address, have = self._buffers.get(name, (0, -1))
        if have < size:
            if have >= 0:
                self._cuda.free(address)
            address = self._cuda.allocate(size)
            self._buffers[name] = (address, size)
        return address

    def _profile(self, index: int) -> Profile:
        found = {}
        for name in self.inputs:
            low, _, high = self._engine.get_tensor_profile_shape(name, index)
            found[name] = (tuple(low), tuple(high))
        return found

    def _dtype(self, name: str) -> Any:
        return self._trt.nptype(self._engine.get_tensor_dtype(name))

    def _reason(self) -> str:
        return self._errors[-1] if self._errors else "TensorRT gives no reason"


def fitting(profiles: list[Profile], shapes: Shapes) -> int | None:
    """The first profile that holds all shapes. `build` proves that there is exactly one."""
    for index, profile in enumerate(profiles):
        if all(name in shapes and _holds(limits, shapes[name]) for name, limits in profile.items()):
            return index
    return None


def _holds(limits: tuple[tuple[int, ...], tuple[int, ...]], shape: tuple[int, ...]) -> bool:
    low, high = limits
    return len(shape) == len(low) and all(a <= size <= b for a, size, b in zip(low, shape, high, strict=True))


def _profiler(trt: Any, times: dict[str, float]) -> Any:
    class Profiler(trt.IProfiler):  # type: ignore[misc]
        """Sums up what each layer took."""

        def __init__(self) -> None:
            trt.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            times[layer_name] = times.get(layer_name, 0.0) + ms

    return Profiler()


def _logger(trt: Any, errors: list[str]) -> Any:
    class Logger(trt.ILogger):  # type: ignore[misc]
        """Keeps errors; says nothing else."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:
                errors.append(message)

    return Logger()
