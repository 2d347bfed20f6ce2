"""Every kernel on a GPU against its reference: all cases, fresh random data, poisoned memory, more than 2^31 elements.

    pytest tests/gpu/test_kernels.py --run-gpu

Needs a CUDA compiler; the large sizes need PyTorch for CUDA and about 80 GB of GPU memory.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from repository_builder.plugins import operators, testing
from repository_builder.plugins.binding import call_attributes
from repository_builder.plugins.device import Driver
from repository_builder.plugins.library import DeviceLibrary, DeviceTensor, load_reference, read_module
from repository_builder.plugins.operators import Operator
from tests import plugin_kit as kit

pytestmark = [pytest.mark.gpu, pytest.mark.slow]
ALL = operators.shipped()
BEYOND = 2**31 + 8


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_REPO_CACHE", kit.shared_cache(tmp_path_factory))
        yield


@pytest.fixture(scope="module")
def driver() -> Driver:
    return Driver()


def problems(operator: Operator, driver: Driver, cases: list[testing.Case]) -> dict[str, str]:
    outcomes = testing.check_on_gpu(operator, driver, cases)
    return {outcome.case: outcome.problem for outcome in outcomes if outcome.problem}


@pytest.mark.parametrize("operator", ALL, ids=lambda o: o.key)
def test_every_case(operator: Operator, driver: Driver) -> None:
    cases = [*testing.own_cases(operator), *testing.standard_cases(operator)]
    assert len(cases) > 20
    assert problems(operator, driver, cases) == {}


@pytest.mark.parametrize("operator", ALL, ids=lambda o: o.key)
def test_fresh_random_data(operator: Operator, driver: Driver) -> None:
    seed = secrets.randbits(32)
    made = read_module(operator.folder / "cases.py").cases(np.random.default_rng(seed))
    assert problems(operator, driver, [testing.Case(*case) for case in made]) == {}, f"seed {seed}"


BATCHED: dict[str, tuple[list[tuple[int, ...]], dict[str, Any]]] = {
    "grid_sample": ([(4, 8, 8), (2**14, 1, 2)], {"mode": "linear", "padding_mode": "border"}),
    "col2im": ([(4 * 9, 32 * 32)], {"image_shape": [32, 32], "block_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    "cumprod": ([(4099,)], {"axis": 1}),
    "det": ([(3, 3)], {}),
    "inverse": ([(4, 4)], {}),
    "max_unpool": ([(2, 32, 32), (2, 32, 32)], {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "top_k": ([(8192,)], {"k": 4000}),
    "causal_conv_with_state": ([(16, 1021), None, (16, 3)], {"activation": "silu"}),
    "linear_attention": ([(16, 64), (16, 64), (16, 64), (1, 64, 64), (16, 1), (16, 1)], {"q_num_heads": 1, "kv_num_heads": 1}),
}  # fmt: skip
"""Shapes of one batch item of each input (None: shared by all items) and attributes; the batch is as large as it takes."""


@pytest.mark.parametrize("key", BATCHED)
def test_more_than_two_to_the_31_elements(key: str) -> None:
    """First and last items of a batch whose largest tensor has more than 2^31 elements, in half precision."""
    torch = pytest.importorskip("torch")
    operator = operators.choose(key, ALL)
    shapes, attributes = BATCHED[key]
    batch = -(-BEYOND // max(int(np.prod(shape)) for shape in shapes if shape))
    wide = key == "max_unpool"
    inputs: list[Any] = []
    for index, shape in enumerate(shapes):
        full = (16, 1, 4) if shape is None else (batch, *shape)
        if wide and index == 1:  # where each maximum came from: its own window
            pooled, plane = torch.arange(batch * 2, device="cuda").view(batch, 2, 1, 1), torch.arange(32, device="cuda")
            inputs.append((pooled * 4096 + plane.view(32, 1) * 128 + plane * 2).contiguous())
            continue
        value = torch.empty(full, dtype=torch.float16, device="cuda").uniform_(0.05, 0.95)
        if key in ("det", "inverse"):
            value += torch.eye(full[-1], dtype=torch.float16, device="cuda")
        if key == "linear_attention" and index == 4:
            value.neg_()
        inputs.append(value)

    def part(items: slice) -> list[Any]:
        chosen = [value if shape is None else value[items] for value, shape in zip(inputs, shapes, strict=True)]
        return [value.cpu().numpy() for value in chosen]

    reference = load_reference(operator.folder)
    positions = [None] if key == "causal_conv_with_state" else []

    def ordered(values: list[Any]) -> list[Any]:
        return [*values[:2], *positions, *values[2:]]

    ends = []
    for items in (slice(0, 2), slice(batch - 2, batch)):
        values = part(items)
        if wide:
            values[1] = values[1] - values[1].min() // 4096 * 4096
        ends.append(reference(*ordered(values), **attributes))
    made = [torch.full((batch, *r.shape[1:]), -7, dtype=getattr(torch, r.dtype.name), device="cuda") for r in ends[0]]
    kernels = DeviceLibrary(
        kit.library_for_this_gpu(operator, None), call_attributes(operator, ordered(part(slice(0, 2))), attributes)
    )

    def described(tensors: list[Any]) -> list[DeviceTensor]:
        return [DeviceTensor(t.data_ptr(), str(t.dtype).removeprefix("torch."), tuple(t.shape)) for t in tensors]

    given, results = described(inputs), described(made)
    scratch = torch.empty(max(1, kernels.workspace(given, results)), dtype=torch.uint8, device="cuda")
    kernels(given, results, scratch.data_ptr(), torch.cuda.current_stream().cuda_stream)
    torch.cuda.synchronize()
    for right, items in zip(ends, (slice(0, 2), slice(batch - 2, batch)), strict=True):
        got = [value[items].cpu().numpy() for value in made]
        assert testing.differences("the reference", got, list(right), 8e-3) == ""
    torch.cuda.empty_cache()


@pytest.mark.parametrize("key", ["scatter_nd", "scatter_elements"])
@pytest.mark.parametrize("deterministic", [0, 1])
def test_scatter_into_more_than_two_to_the_31_elements(key: str, deterministic: int) -> None:
    """Rows at both ends of data with more than 2^31 elements."""
    torch = pytest.importorskip("torch")
    rows, width = BEYOND // 64 + 1, 64
    data = torch.ones(rows, width, dtype=torch.float16, device="cuda")
    chosen = torch.tensor([0, 1, rows - 2, rows - 1, rows - 1], device="cuda")
    updates = torch.arange(1, 6, device="cuda").half().view(5, 1).expand(5, width).contiguous()
    indices = chosen.view(5, 1) if key == "scatter_nd" else chosen.view(5, 1).expand(5, width).contiguous()
    attributes = {"reduction": "add", "deterministic": deterministic}
    if key == "scatter_elements":
        attributes["axis"] = 0
    made = torch.full_like(data, -7)
    kernels = DeviceLibrary(kit.library_for_this_gpu(operators.choose(key, ALL), None), attributes)

    def described(tensors: list[Any]) -> list[DeviceTensor]:
        return [DeviceTensor(t.data_ptr(), str(t.dtype).removeprefix("torch."), tuple(t.shape)) for t in tensors]

    given, results = described([data, indices, updates]), described([made])
    scratch = torch.empty(max(1, kernels.workspace(given, results)), dtype=torch.uint8, device="cuda")
    kernels(given, results, scratch.data_ptr(), torch.cuda.current_stream().cuda_stream)
    torch.cuda.synchronize()
    right = data
    for row, update in zip(chosen, updates, strict=True):
        right[row] += update
    assert torch.equal(made, right)
