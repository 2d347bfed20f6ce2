"""The engine runner's own layer over the CUDA runtime, on a real GPU: copies, timing, and what a wrong call says."""

from __future__ import annotations

import subprocess
import sys

import pytest

from repository_builder.resources import data_folder

pytestmark = pytest.mark.gpu
FOLDER = data_folder("python_backends") / "backends" / "tensorrt_rtx"
CODE = """
import numpy as np
from cuda_runtime import DEVICE_TO_HOST, HOST_TO_DEVICE, Cuda
from run_types import RunFailed

cuda = Cuda(0)
stream = cuda.stream()
sent = np.random.default_rng(0).standard_normal(25_000_000).astype(np.float32)
back = np.full_like(sent, np.nan)
address = cuda.allocate(sent.nbytes)
start, middle, end = cuda.event(), cuda.event(), cuda.event()
for _ in range(2):  # the first copy also starts the device
    cuda.record(start, stream)
    cuda.copy(address, sent.ctypes.data, sent.nbytes, HOST_TO_DEVICE, stream)
    cuda.record(middle, stream)
    cuda.copy(back.ctypes.data, address, back.nbytes, DEVICE_TO_HOST, stream)
    cuda.record(end, stream)
    cuda.wait(stream)
assert np.array_equal(sent, back)
there, both = cuda.milliseconds(start, middle), cuda.milliseconds(start, end)
assert 0.5 < there < both < 2000, (there, both)  # 100 MB at less than 200 GB/s
cuda.free(address)
try:
    cuda.copy(back.ctypes.data, 0, 16, DEVICE_TO_HOST, stream)
    cuda.wait(stream)
    print("a copy from nowhere was accepted")
except RunFailed as failed:
    assert "CUDA error" in str(failed), failed
try:
    Cuda(99)
    print("device 99 was accepted")
except RunFailed as failed:
    assert "cudaSetDevice: invalid device ordinal" in str(failed), failed
print(f"100 MB there in {there:.2f} ms, there and back in {both:.2f} ms")
"""


def test_arrays_come_back_as_they_went_and_wrong_calls_are_refused():
    done = subprocess.run([sys.executable, "-c", CODE], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("100 MB there in"), done.stdout
