"""Laws that hold for every input of the pure parts of the Python models."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from python_backends import _classes, _image, _pooling, _text
from python_backends._adapter import merge, split
from python_backends.top_k import TritonPythonModel

SIDES = st.integers(1, 300)
SIZES = st.tuples(SIDES, SIDES)
FITS = st.sampled_from(["stretch", "letterbox", "crop"])
FINITE = st.floats(-1e3, 1e3, width=32)


def encoded(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 30, 3), np.uint8)).save(stream, kind)
    return stream.getvalue()


ENCODED = {kind: encoded(kind) for kind in _image.FORMATS}


@given(image=SIZES, size=SIZES, fit=FITS, resample=st.sampled_from(list(_image.FILTERS)), mode=st.sampled_from("LR"))
@settings(max_examples=60, deadline=None)
def test_every_image_gets_the_size(image: _image.Size, size: _image.Size, fit: str, resample: str, mode: str) -> None:
    plain = Image.new("L" if mode == "L" else "RGB", (image[1], image[0]), 77 if mode == "L" else (77, 77, 77))
    array = _image.pixels(_image.resize(plain, size, fit, resample, 77))
    assert array.shape == (*size, len(plain.getbands()))
    assert (array == 77).all(), "a plain image stays plain, whatever is cut, padded or interpolated"


@given(image=SIZES, size=SIZES)
def test_a_letterbox_touches_two_sides_and_keeps_the_ratio(image: _image.Size, size: _image.Size) -> None:
    inner = _image.letterbox_size(image, size)
    assert inner[0] <= size[0]
    assert inner[1] <= size[1]
    assert inner[0] == size[0] or inner[1] == size[1]
    ratio = min(size[0] / image[0], size[1] / image[1])
    assert all(abs(side - original * ratio) <= 1 for side, original in zip(inner, image, strict=True))


@given(image=SIZES, size=SIZES)
def test_a_crop_has_the_ratio_of_the_size_and_lies_in_the_middle(image: _image.Size, size: _image.Size) -> None:
    left, top, right, bottom = _image.crop_box(image, size)
    assert 0 <= left < right <= image[1]
    assert 0 <= top < bottom <= image[0]
    np.testing.assert_allclose((right - left) * size[0], (bottom - top) * size[1], rtol=1e-9)
    np.testing.assert_allclose([left + right, top + bottom], [image[1], image[0]], rtol=1e-9)


@given(
    kind=st.sampled_from(_image.FORMATS),
    cuts=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=6)), min_size=1, max_size=5),
    length=st.floats(0, 1),
)
@settings(max_examples=400, deadline=None)
def test_damaged_images_are_either_read_or_refused(kind: str, cuts: list[tuple[float, bytes]], length: float) -> None:
    data = bytearray(ENCODED[kind])
    for place, damage in cuts:
        start = int(place * len(data))
        data[start : start + len(damage)] = damage
    with suppress(_image.BadImage):
        assert _image.decode(bytes(data[: int(length * len(data)) + 1]), "RGB", 1_000_000).mode == "RGB"


@given(
    scores=arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 40)), elements=st.integers(-3, 3).map(float)),
    data=st.data(),
)
def test_the_best_are_the_first_of_a_stable_sort(scores: Any, data: Any) -> None:
    k = data.draw(st.integers(1, scores.shape[1]))
    expected = [sorted(range(len(row)), key=lambda index: (-row[index], index))[:k] for row in scores]
    np.testing.assert_array_equal(_classes.best(scores, k), expected)


@given(scores=arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 9)), elements=FINITE), shift=FINITE)
def test_softmax_is_a_distribution_and_ignores_a_shift(scores: Any, shift: float) -> None:
    probabilities = _classes.softmax(scores)
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(_classes.softmax(scores.astype(np.float64) + shift), probabilities, atol=1e-3)


@given(
    vectors=arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 5)), elements=FINITE),
    padding=st.integers(0, 5),
    data=st.data(),
)
def test_pooling_does_not_see_padding(vectors: Any, padding: int, data: Any) -> None:
    mask = data.draw(arrays(np.int64, vectors.shape[:2], elements=st.integers(0, 1)))
    wider = np.pad(vectors, ((0, 0), (0, padding), (0, 0)), constant_values=1e6)
    pooled = _pooling.mean(vectors, mask)
    np.testing.assert_allclose(_pooling.mean(wider, np.pad(mask, ((0, 0), (0, padding)))), pooled, rtol=1e-5, atol=1e-3)
    for row, (tokens, kept) in enumerate(zip(vectors.astype(np.float64), mask.astype(bool), strict=True)):
        if kept.any():
            np.testing.assert_allclose(pooled[row], tokens[kept].mean(0), rtol=1e-4, atol=1e-3)


@given(
    scores=arrays(
        np.float32, st.tuples(st.integers(2, 7), st.just(4)), elements=st.floats(-9, 9, width=32) | st.just(np.nan)
    ),
    cut=st.integers(1, 6),
    softmax=st.booleans(),
)
def test_an_answer_does_not_depend_on_the_neighbours(scores: Any, cut: int, softmax: bool) -> None:
    parameters = {"k": 3, "labels": None, "softmax": softmax, "output": "logits"}
    model = TritonPythonModel()
    model.configure({name: json.dumps(value) for name, value in parameters.items()}, Path())
    parts = [{"logits": part} for part in (scores[:cut], scores[cut:]) if len(part)]
    together = split(model.process(merge(parts)), [len(part["logits"]) for part in parts])
    for part, result in zip(parts, together, strict=True):
        alone = model.process(part)
        assert result.errors == alone.errors
        for name, array in alone.outputs.items():
            np.testing.assert_array_equal(result.outputs[name], array)


@given(
    batch=st.lists(st.lists(st.integers(1, 99), max_size=9), min_size=1, max_size=6),
    left=st.booleans(),
    spare=st.none() | st.integers(9, 12),
)
def test_padding_keeps_every_token_in_order(batch: list[list[int]], left: bool, spare: int | None) -> None:
    tokens = [_text.Tokens(ids, [0] * len(ids)) for ids in batch]
    ids, mask, types = _text.pad(tokens, _text.Padding(0, 0, left), spare, np.int32)
    assert ids.shape == mask.shape == types.shape == (len(batch), spare or max(map(len, batch)))
    for row, expected in enumerate(batch):
        assert ids[row][mask[row] == 1].tolist() == expected
        assert not ids[row][mask[row] == 0].any()
        edge = mask[row][::-1] if left else mask[row]
        assert (np.diff(edge) <= 0).all(), "padding stands on one side"
