"""Warm-up requests: real values where a sample has the shape, in the engine's types, one row for Triton to repeat."""

from __future__ import annotations

import numpy as np

from repository_builder.repository.proto import new_config
from repository_builder.shapes.profile import Profile, Range
from repository_builder.targets import engine_warmup
from repository_builder.tensor import Interface, Tensor

IDS, MASK = Tensor("ids", "INT64", ("batch", "tokens")), Tensor("a/mask:0", "FP16", ("batch", "tokens"))
INTERFACE = Interface((IDS, MASK), (Tensor("y", "FP32", ("batch",)),))


def profile(name: str, opt: tuple[int, int]) -> Profile:
    bounds = Range((1, 1), opt, (64, 128))
    return Profile(name, {"ids": bounds, "a/mask:0": bounds})


PROFILES = (profile("small", (4, 8)), profile("large", (32, 16)))
SAMPLES = [
    {"ids": np.arange(9).reshape(3, 3), "a/mask:0": np.ones((3, 3), np.float32)},
    {"ids": np.arange(16).reshape(2, 8), "a/mask:0": np.linspace(0, 1, 16, dtype=np.float32).reshape(2, 8)},
]


def made(limit: int, recorded):
    wanted = engine_warmup.requests(PROFILES, INTERFACE, limit, recorded)
    message = new_config()
    return message, engine_warmup.add(message, wanted), engine_warmup.files(wanted)


def test_first_row_of_a_fitting_sample_is_taken_and_other_shapes_stay_without_values():
    message, comments, files = made(64, SAMPLES)
    small, large = message.model_warmup
    assert (small.batch_size, large.batch_size) == (4, 32)
    assert [small.inputs[name].input_data_file for name in ("ids", "a/mask:0")] == ["0.small.ids", "0.small.a_mask_0"]
    assert list(files) == ["warmup/0.small.ids", "warmup/0.small.a_mask_0"]
    np.testing.assert_array_equal(np.frombuffer(files["warmup/0.small.ids"], np.int64), np.arange(8))
    mask = np.frombuffer(files["warmup/0.small.a_mask_0"], np.float16)
    np.testing.assert_array_equal(mask, np.linspace(0, 1, 16)[:8].astype(np.float16))
    assert large.inputs["ids"].zero_data
    assert large.inputs["a/mask:0"].random_data
    assert "values of recorded samples" in comments["model_warmup"]


def test_without_batching_whole_tensors_are_files():
    message, _, files = made(0, [{"ids": np.zeros((4, 8), np.int64), "a/mask:0": np.zeros((4, 8), np.float16)}])
    assert list(message.model_warmup[0].inputs["ids"].dims) == [4, 8]
    assert message.model_warmup[0].batch_size == 0
    assert len(files["warmup/0.small.ids"]) == 4 * 8 * 8


def test_without_samples_nothing_is_claimed():
    message, comments, files = made(64, [])
    assert message.model_warmup[0].inputs["ids"].zero_data
    assert files == {}
    assert "recorded" not in comments["model_warmup"]
