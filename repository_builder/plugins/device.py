"""Calling kernels on this machine's GPU from NumPy, through CUDA's driver: no package beside ours is needed."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repository_builder.errors import StageFailed, ToolMissing
from repository_builder.plugins.library import DeviceLibrary, DeviceTensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

POISON = 0xA5
"""Every byte of memory that was not written yet: what a kernel leaves out shows."""
_MAJOR, _MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR."""


class Driver:
    """As much of CUDA's driver as a launch needs; ToolMissing where there is no driver or no GPU."""

    def __init__(self) -> None:
        try:
            self.cuda = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise _no_gpu("there is no NVIDIA driver (libcuda.so.1)") from error
        if status := self.cuda.cuInit(0):
            raise _no_gpu(f"CUDA's driver finds none (cuInit: CUDA error {status})")
        self._device, context = ctypes.c_int(), ctypes.c_void_p()
        self.call("cuDeviceGet", ctypes.byref(self._device), 0)
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
        self.call("cuCtxSetCurrent", context)
        self._held: list[ctypes.c_uint64] = []

    def call(self, name: str, *arguments: object) -> None:
        """One call; StageFailed for anything but success."""
        if status := getattr(self.cuda, name)(*arguments):
            raise StageFailed(
                f"{name} failed on the GPU",
                why=f"CUDA error {status}; a faulty kernel shows at the first call that waits for it",
                fix="run the same under `compute-sanitizer` to see where",
            )

    @property
    def capability(self) -> str:
        """Compute capability of the first GPU, as nvcc spells it: `90`."""
        return "".join(str(self._attribute(which)) for which in (_MAJOR, _MINOR))

    def _attribute(self, which: int) -> int:
        value = ctypes.c_int()
        self.call("cuDeviceGetAttribute", ctypes.byref(value), which, self._device)
        return value.value

    def empty(self, size: int) -> ctypes.c_uint64:
        """`size` bytes on the GPU, poisoned."""
        address = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        self._held.append(address)
        self.call("cuMemsetD8_v2", address, ctypes.c_ubyte(POISON), ctypes.c_size_t(max(size, 1)))
        return address

    def upload(self, array: NDArray[Any]) -> ctypes.c_uint64:
        """The array's bytes on the GPU."""
        address = self.empty(array.nbytes)
        if array.nbytes:
            self.call("cuMemcpyHtoD_v2", address, ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes))
        return address

    def download(self, address: ctypes.c_uint64, array: NDArray[Any]) -> None:
        """Wait for the GPU, then fill `array`."""
        self.call("cuCtxSynchronize")
        if array.nbytes:
            self.call("cuMemcpyDtoH_v2", ctypes.c_void_p(array.ctypes.data), address, ctypes.c_size_t(array.nbytes))

    def release(self) -> None:
        """Free everything; after a fault there is nothing left that could be freed."""
        while self._held:
            self.cuda.cuMemFree_v2(self._held.pop())


def run_on_gpu(
    driver: Driver,
    library: Path,
    inputs: Sequence[NDArray[Any]],
    attributes: Mapping[str, Any],
    like: Sequence[NDArray[Any]],
) -> list[NDArray[Any]]:
    """The kernels' outputs, of the types and shapes of `like`; outputs and workspace are poisoned before."""
    import numpy as np

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


def _no_gpu(why: str) -> ToolMissing:
    return ToolMissing(
        "kernels cannot be run on this machine",
        why=why,
        fix="run it where there is an NVIDIA GPU; without `--gpu` the same arithmetic is proven on the CPU",
    )
