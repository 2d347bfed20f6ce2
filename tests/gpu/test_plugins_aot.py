"""Ahead-of-time kernels on a GPU: their PTX through CUDA's driver, with the arguments in TensorRT's order.

    pytest tests/gpu/test_plugins_aot.py --run-gpu

What remains after it is a plan built by TensorRT's Python package.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import onnx.parser
import pytest

from repository_builder.plugins import aot, needed, operators, testing
from repository_builder.plugins.device import Driver
from repository_builder.plugins.library import load_reference
from repository_builder.plugins.toolchain import find_nvcc

pytestmark = [pytest.mark.gpu, pytest.mark.slow]
ALL = operators.shipped()
GRAPH = """<ir_version: 9, opset_import: ["" : 20]>
g (float[n,c,d,h,w] x, float[n,a,b,e,3] p) => (float[n,c,a,b,e] y)
{ y = GridSample <mode = "linear", padding_mode = "border", align_corners = 1> (x, p) }"""


def kernel(driver: Driver, ptx: bytes, name: str) -> ctypes.c_void_p:
    module, function = ctypes.c_void_p(), ctypes.c_void_p()
    driver.call("cuModuleLoadData", ctypes.byref(module), ptx)
    driver.call("cuModuleGetFunction", ctypes.byref(function), module, name.encode())
    return function


def launch(driver: Driver, function: ctypes.c_void_p, blocks: int, arguments: list[object]) -> None:
    pointers = (ctypes.c_void_p * len(arguments))(*[ctypes.cast(ctypes.byref(a), ctypes.c_void_p) for a in arguments])  # type: ignore[arg-type]
    driver.call("cuLaunchKernel", function, blocks, 1, 1, aot.THREADS, 1, 1, 0, None, pointers, None)


def test_a_kernel_with_its_attributes_baked_in(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(GRAPH)
    found = needed.uses(model, ALL)
    baked = aot.bake(found[0], aot.types_of(model))
    (module,) = aot.embed(model, found, find_nvcc(), tmp_path)
    rng = np.random.default_rng(3)
    x = rng.normal(size=(2, 3, 5, 6, 7)).astype(np.float32)
    grid = rng.uniform(-1.2, 1.2, (2, 4, 5, 6, 3)).astype(np.float32)
    (right,) = load_reference(operators.choose("grid_sample", ALL).folder)(
        x, grid, mode="linear", padding_mode="border", align_corners=1
    )
    driver = Driver()
    got = np.full(right.shape, np.nan, right.dtype)
    addresses = [driver.upload(array) for array in (x, grid, got)]
    sizes = [ctypes.c_int32(size) for array in (x, grid, right) for size in array.shape]
    function = kernel(driver, module.with_suffix(".ptx").read_bytes() + b"\0", baked.name)
    launch(driver, function, -(-right.size // aot.THREADS), [*addresses[:2], *sizes, addresses[2]])
    driver.download(addresses[2], got)
    assert testing.differences("the reference", [got], [right], 1e-5) == ""
