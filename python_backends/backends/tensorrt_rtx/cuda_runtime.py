"""As much of the CUDA runtime as running an engine needs, through `ctypes`: no further package, any version 12 or 13."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from ctypes.util import find_library
from pathlib import Path
from typing import Any

from run_types import RunFailed

HOST_TO_DEVICE, DEVICE_TO_HOST = 1, 2
"""`cudaMemcpyKind`."""
_NAMES = ("libcudart.so.13", "libcudart.so.12", "libcudart.so")


class Cuda:
    """One device, chosen once; every call is checked."""

    def __init__(self, device: int = 0) -> None:
        self._library = _load()
        self._library.cudaGetErrorString.restype = ctypes.c_char_p
        self._call("cudaSetDevice", ctypes.c_int(device))

    def allocate(self, size: int) -> int:
        """Device memory of `size` bytes (at least one); its address."""
        address = ctypes.c_void_p()
        self._call("cudaMalloc", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        return int(address.value or 0)

    def free(self, address: int) -> None:
        """Give device memory back."""
        self._call("cudaFree", ctypes.c_void_p(address))

    def copy(self, target: int, source: int, size: int, kind: int, stream: int) -> None:
        """Copy asynchronously on a stream."""
        self._call(
            "cudaMemcpyAsync",
            ctypes.c_void_p(target),
            ctypes.c_void_p(source),
            ctypes.c_size_t(size),
            ctypes.c_int(kind),
            ctypes.c_void_p(stream),
        )

    def stream(self) -> int:
        """A new stream."""
        handle = ctypes.c_void_p()
        self._call("cudaStreamCreate", ctypes.byref(handle))
        return int(handle.value or 0)

    def wait(self, stream: int) -> None:
        """Wait for everything on a stream."""
        self._call("cudaStreamSynchronize", ctypes.c_void_p(stream))

    def event(self) -> int:
        """A new event for timing."""
        handle = ctypes.c_void_p()
        self._call("cudaEventCreate", ctypes.byref(handle))
        return int(handle.value or 0)

    def record(self, event: int, stream: int) -> None:
        """Record an event on a stream."""
        self._call("cudaEventRecord", ctypes.c_void_p(event), ctypes.c_void_p(stream))

    def milliseconds(self, start: int, end: int) -> float:
        """Time between two recorded events."""
        self._call("cudaEventSynchronize", ctypes.c_void_p(end))
        elapsed = ctypes.c_float()
        self._call("cudaEventElapsedTime", ctypes.byref(elapsed), ctypes.c_void_p(start), ctypes.c_void_p(end))
        return float(elapsed.value)

    def _call(self, name: str, *arguments: Any) -> None:
        code = int(getattr(self._library, name)(*arguments))
        if code:
            text = self._library.cudaGetErrorString(code)
            raise RunFailed(f"{name}: {text.decode() if text else 'unknown'} (CUDA error {code})")


def _load() -> Any:
    for name in (*_NAMES, find_library("cudart"), *_installed()):
        if name is not None:
            try:
                return ctypes.CDLL(str(name))
            except OSError:
                continue
    raise RunFailed(
        "there is no CUDA runtime (libcudart.so.12 or .13): not on the library path, not in $CUDA_HOME or "
        "/usr/local/cuda, and not installed as a Python package (pip install nvidia-cuda-runtime)"
    )


def _installed() -> Iterator[Path]:
    """Where a toolkit or a Python package keeps it; neither is on the library path by itself."""
    for root in filter(None, (os.environ.get("CUDA_HOME"), "/usr/local/cuda")):
        yield from sorted(Path(root, "lib64").glob("libcudart.so.1[23]"), reverse=True)
    for place in filter(None, sys.path):
        yield from sorted(Path(place).glob("nvidia/*/lib/libcudart.so.1[23]"), reverse=True)
