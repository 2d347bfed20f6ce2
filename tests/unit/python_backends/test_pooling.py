"""Pooling of token vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from python_backends import _pooling
from python_backends.embedding_pool import TritonPythonModel

MASK = np.array([[1, 1, 0], [1, 0, 0]])
VECTORS = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)


def process(vectors: Any, mask: Any = None, **changes: Any) -> Any:
    parameters = {"pooling": "mean", "normalize": True, "epsilon": 1e-12, "output": "hidden", "attention_mask": None}
    parameters |= {"attention_mask": "mask" if mask is not None else None} | changes
    model = TritonPythonModel()
    model.configure({name: json.dumps(value) for name, value in parameters.items()}, Path())
    return model.process({"hidden": vectors} | ({"mask": mask} if mask is not None else {}))


def test_mean_leaves_padding_out() -> None:
    expected = [VECTORS[0, :2].mean(0), VECTORS[1, 0]]
    np.testing.assert_allclose(_pooling.mean(VECTORS, MASK), expected, rtol=1e-6)


def test_padding_may_hold_anything() -> None:
    dirty = np.where(MASK[:, :, None] == 0, np.float32(np.nan), VECTORS)
    np.testing.assert_array_equal(_pooling.mean(dirty, MASK), _pooling.mean(VECTORS, MASK))


def test_normalised_vectors_have_length_one() -> None:
    result = process(VECTORS, MASK)
    np.testing.assert_allclose(np.linalg.norm(result.outputs["embedding"], axis=1), 1, rtol=1e-6)
    assert result.outputs["embedding"].dtype == np.float32


def test_cls_is_the_first_token() -> None:
    result = process(VECTORS.astype(np.float16), pooling="cls", normalize=False)
    np.testing.assert_allclose(result.outputs["embedding"], VECTORS[:, 0], rtol=1e-3)


def test_a_zero_vector_stays_zero() -> None:
    assert not process(np.zeros((1, 2, 4), np.float32)).outputs["embedding"].any()


def test_a_text_without_tokens_and_an_infinite_one_fail_alone() -> None:
    vectors = np.ones((3, 2, 4), np.float32)
    vectors[2, 0, 0] = np.inf
    result = process(vectors, np.array([[0, 0], [1, 1], [1, 1]]), normalize=False)
    assert result.errors == {0: "the text has no tokens", 2: "the embedding is not finite"}
