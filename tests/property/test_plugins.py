"""Laws that operators obey, on their compiled arithmetic; GridSample and Col2Im against PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from repository_builder.plugins import operators
from repository_builder.plugins.binding import call_attributes
from repository_builder.plugins.compile import compile_host
from repository_builder.plugins.library import HostLibrary
from tests import plugin_kit as kit

pytestmark = pytest.mark.slow
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_REPO_CACHE", kit.shared_cache(tmp_path_factory))
        yield


LIBRARIES: dict[str, tuple[Any, HostLibrary]] = {}


def call(key: str, *inputs: NDArray[Any] | None, **attributes: Any) -> tuple[NDArray[Any], ...]:
    if key not in LIBRARIES:
        operator = operators.choose(key, operators.shipped())
        LIBRARIES[key] = (operator, HostLibrary(compile_host(operator), len(operator.outputs)))
    operator, library = LIBRARIES[key]
    return library([v for v in inputs if v is not None], call_attributes(operator, inputs, attributes))


def single(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return rng.normal(size=shape).astype(np.float32)


@quick
@given(seeds, st.sampled_from(["bilinear", "nearest", "bicubic"]), st.sampled_from(["zeros", "border", "reflection"]),
       st.booleans(), st.sampled_from([2, 3]))  # fmt: skip
def test_grid_sample_is_pytorchs(rng: np.random.Generator, mode: str, padding: str, align: bool, rank: int) -> None:
    torch = pytest.importorskip("torch")
    if mode == "bicubic" and rank == 3:
        return  # PyTorch has none
    reach = 1.0 if mode == "bicubic" else 1.5  # outside, ONNX pads the point and PyTorch only the pixels
    x = single(rng, 2, 3, *rng.integers(2, 7, rank))
    grid = rng.uniform(-reach, reach, (2, *rng.integers(1, 6, rank), rank)).astype(np.float32)
    right = torch.nn.functional.grid_sample(torch.tensor(x), torch.tensor(grid), mode, padding, align).numpy()
    spelled = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    (got,) = call("grid_sample", x, grid, mode=spelled, padding_mode=padding, align_corners=int(align))
    np.testing.assert_allclose(got, right, rtol=1e-4, atol=1e-4)


@quick
@given(seeds, st.integers(1, 3), st.integers(1, 3), st.integers(1, 2), st.integers(0, 2))
def test_col2im_is_pytorchs_fold(rng: np.random.Generator, block: int, stride: int, dilation: int, pad: int) -> None:
    torch = pytest.importorskip("torch")
    size = [int(s) for s in rng.integers(6, 12, 2)]
    blocks = [(s + 2 * pad - dilation * (block - 1) - 1) // stride + 1 for s in size]
    x = single(rng, 2, 3 * block * block, blocks[0] * blocks[1])
    right = torch.nn.functional.fold(torch.tensor(x), size, block, dilation, pad, stride).numpy()
    (got,) = call("col2im", x, image_shape=size, block_shape=[block] * 2, dilations=[dilation] * 2, pads=[pad] * 4,
                  strides=[stride] * 2)  # fmt: skip
    np.testing.assert_allclose(got, right, rtol=1e-5, atol=1e-5)


@quick
@given(seeds, st.integers(0, 2), st.integers(0, 1))
def test_an_inclusive_product_is_the_exclusive_one_times_the_element(
    rng: np.random.Generator, axis: int, reverse: int
) -> None:
    x = rng.uniform(0.5, 1.5, rng.integers(1, 6, 3)).astype(np.float32)
    (inclusive,) = call("cumprod", x, axis=axis, reverse=reverse)
    (exclusive,) = call("cumprod", x, axis=axis, reverse=reverse, exclusive=1)
    np.testing.assert_allclose(inclusive, exclusive * x, rtol=1e-5)


@quick
@given(seeds, st.integers(1, 8))
def test_a_matrix_times_its_inverse_is_one_and_determinants_multiply(rng: np.random.Generator, order: int) -> None:
    a = single(rng, 5, order, order) + 3 * np.eye(order, dtype=np.float32)
    (inverse,) = call("inverse", a)
    np.testing.assert_allclose(a @ inverse, np.broadcast_to(np.eye(order), a.shape), atol=5e-3)
    (one,), (other,) = call("det", a), call("det", inverse)
    np.testing.assert_allclose(one * other, 1, rtol=2e-2)


@quick
@given(seeds, st.sampled_from(["add", "mul", "min", "max"]))
def test_the_order_of_updates_does_not_matter_for_integers(rng: np.random.Generator, reduction: str) -> None:
    data, rows = rng.integers(-3, 4, (6, 2)), int(rng.integers(1, 30))
    indices, updates = rng.integers(-6, 6, (rows, 1)), rng.integers(-3, 4, (rows, 2))
    order = rng.permutation(rows)
    (one,) = call("scatter_nd", data, indices, updates, reduction=reduction)
    (other,) = call("scatter_nd", data, indices[order], updates[order], reduction=reduction)
    np.testing.assert_array_equal(one, other)


@quick
@given(seeds)
def test_top_k_is_a_prefix_of_the_sorted_line(rng: np.random.Generator) -> None:
    x = single(rng, 3, int(rng.integers(1, 50)))
    k = int(rng.integers(0, x.shape[1] + 1))
    values, indices = call("top_k", x, k=k)
    np.testing.assert_array_equal(values, -np.sort(-x, axis=1)[:, :k])
    np.testing.assert_array_equal(np.take_along_axis(x, indices, 1), values)


@quick
@given(seeds, st.integers(1, 5))
def test_a_convolution_in_two_calls_is_the_one_in_one_call(rng: np.random.Generator, taps: int) -> None:
    x, weight, bias = single(rng, 2, 3, 9), single(rng, 3, 1, taps), single(rng, 3)
    cut = int(rng.integers(0, 10))
    whole, state = call("causal_conv_with_state", x, weight, bias, None, activation="silu")
    first, carried = call("causal_conv_with_state", x[:, :, :cut], weight, bias, None, activation="silu")
    second, last = call("causal_conv_with_state", x[:, :, cut:], weight, bias, carried, activation="silu")
    np.testing.assert_array_equal(np.concatenate([first, second], axis=2), whole)
    np.testing.assert_array_equal(last, state)


@quick
@given(seeds, st.sampled_from(["linear", "gated", "delta", "gated_delta"]))
def test_attention_in_two_calls_is_the_one_in_one_call(rng: np.random.Generator, rule: str) -> None:
    tokens, cut = 7, int(rng.integers(0, 8))
    q, k, v = single(rng, 1, tokens, 8), single(rng, 1, tokens, 8) / 4, single(rng, 1, tokens, 6)
    decay = -rng.uniform(0, 1, (1, tokens, 2)).astype(np.float32) if "gated" in rule else None
    beta = rng.uniform(0, 1, (1, tokens, 2)).astype(np.float32) if "delta" in rule else None

    def attend(part: slice, state: NDArray[Any] | None) -> tuple[NDArray[Any], ...]:
        inputs = [x if x is None else x[:, part] for x in (decay, beta)]
        return call("linear_attention", q[:, part], k[:, part], v[:, part], state, *inputs,
                    q_num_heads=2, kv_num_heads=2, update_rule=rule)  # fmt: skip

    whole, state = attend(slice(None), None)
    first, carried = attend(slice(cut), None)
    second, last = attend(slice(cut, None), carried)
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(last, state, rtol=1e-5, atol=1e-6)


@quick
@given(seeds)
def test_unpooling_keeps_every_maximum(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    x = single(rng, 2, 3, 8, 8)
    pooled, indices = torch.nn.functional.max_pool2d(torch.tensor(x), 2, return_indices=True)
    planes = np.arange(6).reshape(2, 3, 1, 1) * 64  # PyTorch counts within a plane, ONNX within the tensor
    (got,) = call("max_unpool", pooled.numpy(), indices.numpy() + planes, kernel_shape=[2, 2], strides=[2, 2])
    np.testing.assert_array_equal(got, torch.nn.functional.max_unpool2d(pooled, indices, 2).numpy())
