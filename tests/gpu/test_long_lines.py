"""TopK of long lines and scatters of many updates, against PyTorch on the same GPU: sizes that NumPy is too slow for.

    pytest tests/gpu/test_long_lines.py --run-gpu

Needs a CUDA compiler and PyTorch for CUDA.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from repository_builder.plugins import operators
from repository_builder.plugins.library import DeviceLibrary, DeviceTensor
from tests import plugin_kit as kit

pytestmark = [pytest.mark.gpu, pytest.mark.slow]
torch = pytest.importorskip("torch")
ALL = operators.shipped()
LONG = 2**23 + 4097


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_REPO_CACHE", kit.shared_cache(tmp_path_factory))
        yield


def run(key: str, inputs: list[Any], made: list[Any], attributes: dict[str, Any], *, captured: bool = False) -> None:
    """The kernels of `key` on poisoned outputs and workspace, on a stream of their own."""
    kernels = DeviceLibrary(kit.library_for_this_gpu(operators.choose(key, ALL), None), attributes)

    def described(tensors: list[Any]) -> list[DeviceTensor]:
        return [DeviceTensor(t.data_ptr(), str(t.dtype).removeprefix("torch."), tuple(t.shape)) for t in tensors]

    given, results = described(inputs), described(made)
    scratch = torch.full((max(1, kernels.workspace(given, results)),), 0xA5, dtype=torch.uint8, device="cuda")
    for value in made:
        value.fill_(-7)
    torch.cuda.synchronize()
    if captured:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            kernels(given, results, scratch.data_ptr(), torch.cuda.current_stream().cuda_stream)
        for _ in range(2):  # the second replay finds what the first has left
            graph.replay()
    else:
        stream = torch.cuda.Stream()
        kernels(given, results, scratch.data_ptr(), stream.cuda_stream)
    torch.cuda.synchronize()


def line(kind: str, dtype: Any, lines: int, length: int) -> Any:
    """Data that samples well, badly, and not at all."""
    shape = (lines, length)
    if kind == "normal" and dtype.is_floating_point:
        return torch.randn(shape, device="cuda").to(dtype)
    if kind == "normal":
        return torch.randint(-(2**31), 2**31 - 1, shape, device="cuda").to(dtype)
    if kind == "equal":
        return torch.full(shape, 3, device="cuda", dtype=dtype)
    if kind == "few values":
        return torch.randint(0, 3, shape, device="cuda").to(dtype)
    if kind == "sorted":
        return torch.arange(lines * length, device="cuda").view(shape).to(dtype)
    value = torch.zeros(shape, device="cuda", dtype=dtype)  # all winners in one place
    value[:, length // 2 : length // 2 + 6000] = 1
    return value


@pytest.mark.parametrize("kind", ["normal", "equal", "few values", "sorted", "bunch"])
@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16", "int32", "int64"])
def test_top_k_of_long_lines(name: str, kind: str) -> None:
    x = line(kind, getattr(torch, name), 2, LONG)
    for k, largest in ((1, 1), (5000, 1), (8192, 0), (8193, 1), (60000, 0), (LONG // 3, 1)):
        right_values, right_indices = torch.sort(x, dim=1, stable=True, descending=bool(largest))
        made = [x.new_empty(2, k), torch.empty(2, k, dtype=torch.int64, device="cuda")]
        run("top_k", [x], made, {"k": k, "largest": largest}, captured=k == 5000)
        assert torch.equal(made[1], right_indices[:, :k]), (k, largest)
        assert torch.equal(made[0], right_values[:, :k]), (k, largest)


@pytest.mark.parametrize("start", [0, 1, 3])
def test_top_k_of_lines_that_start_anywhere(start: int) -> None:
    """Odd lengths: every second line starts at an address that no wide load takes."""
    x = torch.randn(LONG * 3 + 3, device="cuda")[start : start + 3 * LONG].view(3, LONG)
    made = [x.new_empty(3, 4000), torch.empty(3, 4000, dtype=torch.int64, device="cuda")]
    run("top_k", [x], made, {"k": 4000})
    assert torch.equal(made[1], torch.sort(x, dim=1, stable=True, descending=True)[1][:, :4000])


@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize("deterministic", [0, 1])
@pytest.mark.parametrize("targets", [5, 2**12, 2**18])
@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16", "int32", "int64"])
def test_scatter_of_many_rows(name: str, targets: int, deterministic: int, captured: bool) -> None:
    """Sums of small integers are exact in every order, so PyTorch's must be ours bit for bit."""
    dtype = getattr(torch, name)
    rows, width = 2**18, 64
    data = torch.zeros(rows, width, device="cuda", dtype=dtype)
    index = torch.randint(0, targets, (rows, 1), device="cuda")
    updates = torch.randint(0, 2, (rows, width), device="cuda").to(dtype)
    updates[torch.rand(rows, device="cuda") > 100 * targets / rows] = 0  # what BF16 can count
    right = data.double().index_add(0, index[:, 0], updates.double()).to(dtype)
    made = [torch.empty_like(data)]
    attributes: dict[str, Any] = {"reduction": "add", "deterministic": deterministic}
    run("scatter_nd", [data, index, updates], made, attributes, captured=captured)
    assert torch.equal(made[0], right)
    wide = index.expand(-1, width).contiguous()
    run("scatter_elements", [data, wide, updates], made, {**attributes, "axis": 0}, captured=captured)
    assert torch.equal(made[0], right)


@pytest.mark.parametrize("key", ["scatter_nd", "scatter_elements"])
def test_of_plain_writes_the_last_stays(key: str) -> None:
    rows, width = 2**16, 64
    data = torch.zeros(rows, width, device="cuda")
    index = torch.randint(0, rows // 4, (rows, 1), device="cuda")
    updates = torch.arange(rows, device="cuda").float().view(rows, 1).expand(rows, width).contiguous() + 1
    right = data.scatter_reduce(0, index.expand(-1, width), updates, "amax")
    made = [torch.empty_like(data)]
    where = index if key == "scatter_nd" else index.expand(-1, width).contiguous()
    run(key, [data, where, updates], made, {"deterministic": 1} | ({"axis": 0} if key != "scatter_nd" else {}))
    assert torch.equal(made[0], right)
