"""The k best classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from python_backends._classes import best, labels_of, softmax
from python_backends.top_k import TritonPythonModel


def model(folder: Path, **changes: Any) -> TritonPythonModel:
    parameters = {"k": 2, "labels": None, "softmax": False, "output": "logits"} | changes
    made = TritonPythonModel()
    made.configure({name: json.dumps(value) for name, value in parameters.items()}, folder)
    return made


def test_of_equal_scores_the_lower_class_comes_first() -> None:
    scores = np.array([[1.0, 3.0, 3.0, 3.0, 0.0], [2.0, 2.0, 2.0, 2.0, 2.0]])
    np.testing.assert_array_equal(best(scores, 2), [[1, 2], [0, 1]])


def test_softmax_survives_large_logits() -> None:
    np.testing.assert_allclose(softmax(np.array([[1000.0, 1000.0, -1000.0]])), [[0.5, 0.5, 0.0]])


def test_labels_end_with_the_last_word() -> None:
    assert labels_of("cat\n\ndog\r\n\n") == ["cat", "", "dog"]


def test_outputs_and_their_types(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("näse\ntwo\nthree\n", encoding="utf-8")
    result = model(tmp_path, labels="labels.txt").process({"logits": np.array([[0.5, 0.1, 0.9]], np.float16)})
    assert result.errors == {}
    assert result.outputs["label"].tolist() == [[b"three", "näse".encode()]]
    np.testing.assert_allclose(result.outputs["score"], [[0.9, 0.5]], rtol=1e-3)
    assert result.outputs["score"].dtype == np.float32
    assert result.outputs["class_id"].tolist() == [[2, 0]]
    assert result.outputs["class_id"].dtype == np.int32


def test_without_labels_classes_are_numbers(tmp_path: Path) -> None:
    result = model(tmp_path).process({"logits": np.array([[0.0, 2.0, 1.0]])})
    assert result.outputs["label"].tolist() == [[b"1", b"2"]]


def test_a_broken_row_fails_alone(tmp_path: Path) -> None:
    scores = np.array([[1.0, 0.0, 0.0], [np.nan, 0.0, 1.0], [np.inf, 0.0, 0.0], [-np.inf, 0.0, 1.0]], np.float32)
    plain = model(tmp_path).process({"logits": scores})
    assert list(plain.errors) == [1]
    soft = model(tmp_path, softmax=True).process({"logits": scores})
    assert list(soft.errors) == [1, 2]
    assert soft.outputs["class_id"][0, 0] == 0


def test_too_few_classes_or_labels_fail_every_row(tmp_path: Path) -> None:
    assert model(tmp_path, k=4).process({"logits": np.zeros((2, 3))}).errors == dict.fromkeys(
        (0, 1), "3 classes, and k is 4"
    )
    (tmp_path / "labels.txt").write_text("only\n")
    errors = model(tmp_path, labels="labels.txt").process({"logits": np.zeros((1, 3))}).errors
    assert errors == {0: "3 classes, and 1 labels"}


def test_an_unknown_parameter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown parameter `n`"):
        model(tmp_path, n=3)
