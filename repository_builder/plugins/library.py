"""Calling a compiled operator through the C interface of `plugins_cuda/common/abi.h`, and reading its reference."""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from repository_builder.errors import SpecError

if TYPE_CHECKING:
    from numpy.typing import NDArray

TYPES = {"float32": 0, "float16": 1, "bfloat16": 2, "int32": 3, "int64": 4}
"""NumPy's name → the number of `trb::DataType`."""
_MAX_RANK = 8


class _Shape(ctypes.Structure):
    _fields_ = (("rank", ctypes.c_int32), ("dims", ctypes.c_int64 * _MAX_RANK))


class _Tensor(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("type", ctypes.c_int32), ("shape", _Shape))


class _Field(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("type", ctypes.c_int32),
        ("length", ctypes.c_int32),
    )


class HostLibrary:
    """An operator's arithmetic on the host: `library(inputs, attributes)` returns its outputs."""

    def __init__(self, path: Path, outputs: int) -> None:
        self._library = ctypes.CDLL(str(path))
        self._outputs = outputs
        for name in ("trb_describe", "trb_run_host"):
            getattr(self._library, name).restype = ctypes.c_char_p

    def __call__(self, inputs: Sequence[NDArray[Any]], attributes: Mapping[str, Any]) -> tuple[NDArray[Any], ...]:
        """The outputs for `inputs`; SpecError with the operator's own words where it refuses."""
        import numpy as np

        arrays = [np.ascontiguousarray(value).reshape(value.shape) for value in inputs]
        fields, _alive = _fields(attributes)
        given = (_Tensor * len(arrays))(*map(_tensor, arrays))
        made = (_Tensor * self._outputs)()
        _raise(self._library.trb_describe(fields, len(fields), given, len(arrays), made))
        results = tuple(_empty(tensor) for tensor in made)
        described = (_Tensor * self._outputs)(*map(_tensor, results))
        _raise(self._library.trb_run_host(fields, len(fields), given, len(arrays), described, self._outputs))
        return results


@dataclass(frozen=True)
class DeviceTensor:
    """Memory on the GPU: its address, NumPy's name of its type, its shape; dense."""

    address: int
    dtype: str
    shape: tuple[int, ...]

    def described(self) -> _Tensor:
        """The tensor as `trb::Tensor`."""
        shape = _Shape(len(self.shape), (ctypes.c_int64 * _MAX_RANK)(*self.shape))
        return _Tensor(self.address, TYPES[self.dtype], shape)


class DeviceLibrary:
    """An operator's kernels on the GPU, called without TensorRT; for benchmarks."""

    def __init__(self, path: Path, attributes: Mapping[str, Any]) -> None:
        self._library = ctypes.CDLL(str(path))
        self._fields, self._alive = _fields(attributes)
        for name in ("trb_workspace", "trb_run_device"):
            getattr(self._library, name).restype = ctypes.c_char_p

    def workspace(self, inputs: Sequence[DeviceTensor], outputs: Sequence[DeviceTensor]) -> int:
        """Bytes of scratch memory that a call needs."""
        given, made = _described(inputs), _described(outputs)
        size = ctypes.c_int64()
        fields = self._fields
        _raise(self._library.trb_workspace(fields, len(fields), given, len(given), made, ctypes.byref(size)))
        return size.value

    def __call__(
        self, inputs: Sequence[DeviceTensor], outputs: Sequence[DeviceTensor], workspace: int, stream: int
    ) -> None:
        """Start the kernels on `stream` (addresses as integers)."""
        given, made, fields = _described(inputs), _described(outputs), self._fields
        scratch, queue = ctypes.c_void_p(workspace), ctypes.c_void_p(stream)
        _raise(self._library.trb_run_device(fields, len(fields), given, len(given), made, len(made), scratch, queue))


def _described(tensors: Sequence[DeviceTensor]) -> ctypes.Array[_Tensor]:
    return (_Tensor * len(tensors))(*(tensor.described() for tensor in tensors))


def load_reference(folder: Path) -> Callable[..., tuple[NDArray[Any], ...]]:
    """The function `reference` of the operator's `reference.py`, read by path: plugin folders are no packages."""
    function: Callable[..., tuple[NDArray[Any], ...]] = read_module(folder / "reference.py").reference
    return function


def read_module(path: Path) -> ModuleType:
    """A Python file of an operator folder, run; leaves no byte code there, since the folder's content is a cache key."""
    if not path.is_file():
        raise SpecError(f"plugin `{path.parent.name}` has no {path.name}", where=path.parent, fix="see docs/plugins.md")
    loader = _NoByteCode(f"trb_{path.stem}_{path.parent.name}", str(path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    module = importlib.util.module_from_spec(cast("ModuleSpec", spec))
    loader.exec_module(module)
    return module


class _NoByteCode(SourceFileLoader):
    def set_data(self, path: str, data: Any, *, _mode: int = 0) -> None:
        """Write nothing."""


def _raise(reason: bytes | None) -> None:
    if reason is not None:
        raise SpecError(reason.decode(errors="replace"), why="the operator refuses these tensors or attributes")


def _tensor(array: NDArray[Any]) -> _Tensor:
    if array.dtype.name not in TYPES:
        raise SpecError(f"type {array.dtype.name} is not one of {', '.join(TYPES)}")
    if array.ndim > _MAX_RANK:
        raise SpecError(f"rank {array.ndim} is above {_MAX_RANK}")
    shape = _Shape(array.ndim, (ctypes.c_int64 * _MAX_RANK)(*array.shape))
    return _Tensor(array.ctypes.data, TYPES[array.dtype.name], shape)


def _empty(tensor: _Tensor) -> NDArray[Any]:
    import ml_dtypes
    import numpy as np

    name = {number: name for name, number in TYPES.items()}[tensor.type]
    dtype = ml_dtypes.bfloat16 if name == "bfloat16" else np.dtype(name)
    shape = tuple(tensor.shape.dims[: tensor.shape.rank])
    poisoned = np.full(int(np.prod(shape)) * np.dtype(dtype).itemsize, 0xA5, np.uint8)
    return poisoned.view(dtype).reshape(shape)


def _fields(attributes: Mapping[str, Any]) -> tuple[ctypes.Array[_Field], list[Any]]:
    """Attributes as `trb::Field`s; the second value keeps their memory alive."""
    alive: list[Any] = []
    made = []
    for name, value in attributes.items():
        number, data, length = _field_data(value)
        alive.append(data)
        made.append(_Field(name.encode(), ctypes.cast(data, ctypes.c_void_p), number, length))
    return (_Field * len(made))(*made), alive


def _field_data(value: Any) -> tuple[int, Any, int]:
    if isinstance(value, str):
        return 6, ctypes.create_string_buffer(value.encode()), len(value.encode())
    if isinstance(value, float):
        return 1, (ctypes.c_float * 1)(value), 1
    numbers = [int(v) for v in value] if isinstance(value, (list, tuple)) else [int(value)]
    return 10, (ctypes.c_int64 * max(len(numbers), 1))(*numbers), len(numbers)
