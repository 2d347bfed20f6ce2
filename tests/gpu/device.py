"""Calling kernels on this machine's GPU from NumPy, through CUDA's driver: no package beside ours is needed."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from repository_builder.plugins.library import DeviceLibrary, DeviceTensor

POISON = 0xA5


class Driver:
    """As much of CUDA's driver as a launch needs; memory is freed by `release`."""

    def __init__(self) -> None:
        self.cuda = ctypes.CDLL("libcuda.so.1")
        self.call("cuInit", 0)
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self.call("cuDeviceGet", ctypes.byref(device), 0)
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self.call("cuCtxSetCurrent", context)
        self._held: list[ctypes.c_uint64] = []

    def call(self, name: str, *arguments: object) -> None:
        """One call; anything but success fails the test."""
        status = getattr(self.cuda, name)(*arguments)
        assert status == 0, f"{name}: CUDA error {status}"

    def empty(self, size: int) -> ctypes.c_uint64:
        """`size` bytes on the GPU, poisoned: what a kernel does not write shows."""
        address = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        self.call("cuMemsetD8_v2", address, ctypes.c_ubyte(POISON), ctypes.c_size_t(max(size, 1)))
        self._held.append(address)
        return address

    def upload(self, array: np.ndarray) -> ctypes.c_uint64:
        """The array's bytes on the GPU."""
        address = self.empty(array.nbytes)
        if array.nbytes:
            self.call("cuMemcpyHtoD_v2", address, ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes))
        return address

    def download(self, address: ctypes.c_uint64, array: np.ndarray) -> None:
        """Wait for the GPU, then fill `array`."""
        self.call("cuCtxSynchronize")
        if array.nbytes:
            self.call("cuMemcpyDtoH_v2", ctypes.c_void_p(array.ctypes.data), address, ctypes.c_size_t(array.nbytes))

    def release(self) -> None:
        """Free everything."""
        while self._held:
            self.call("cuMemFree_v2", self._held.pop())


def run_on_gpu(
    driver: Driver,
    library: Path,
    inputs: Sequence[np.ndarray],
    attributes: Mapping[str, Any],
    like: Sequence[np.ndarray],
) -> list[np.ndarray]:
    """The kernels' outputs, of the types and shapes of `like`; outputs and workspace are poisoned before."""
    kernels = DeviceLibrary(library, attributes)
    given = [np.ascontiguousarray(value).reshape(value.shape) for value in inputs]
    try:
        described = [DeviceTensor(driver.upload(v).value, v.dtype.name, v.shape) for v in given]
        results = [np.empty(value.shape, value.dtype) for value in like]
        addresses = [driver.empty(value.nbytes) for value in results]
        made = [DeviceTensor(a.value, v.dtype.name, v.shape) for a, v in zip(addresses, results, strict=True)]
        kernels(described, made, driver.empty(kernels.workspace(described, made)).value, 0)
        for address, value in zip(addresses, results, strict=True):
            driver.download(address, value)
    finally:
        driver.release()
    return results
