"""Metrics and the gate."""

from __future__ import annotations

import numpy as np
import pytest

from repository_builder.errors import SpecError
from repository_builder.stages.accuracy import METRICS, Gate, make_gate

A = np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]], np.float32)


@pytest.mark.parametrize("metric", METRICS)
def test_equal_answers_get_the_best_score(metric):
    best = {"top1": 1.0, "cosine": 1.0, "max_abs": 0.0, "snr_db": 200.0}[metric]
    assert METRICS[metric](A, A.copy()) == pytest.approx(best)


@pytest.mark.parametrize("metric", METRICS)
def test_worse_answers_get_a_lower_score(metric):
    near, far = A + np.float32(0.001), A[:, ::-1]
    assert METRICS[metric](A, far) < METRICS[metric](A, near) or metric == "top1"
    assert METRICS["top1"](A, far) == 0.0


def test_cosine_is_the_worst_sample_not_the_mean():
    assert METRICS["cosine"](A, np.stack([A[0], -A[1]])) == pytest.approx(-1.0)
    assert METRICS["cosine"](np.zeros((1, 2)), np.zeros((1, 2))) == 1.0
    assert METRICS["cosine"](np.zeros((1, 2)), np.ones((1, 2))) == 0.0


def test_nan_never_passes():
    broken = A.copy()
    broken[0, 0] = np.nan
    for metric in METRICS:
        assert not Gate(metric, -1e9, "y").score("here", {"y": A}, {"y": broken}).passed


def test_labels_compare_accuracies_so_a_lucky_candidate_is_no_worse():
    gate, labels = Gate("top1", 0.99, "y"), np.array([0, 0])
    assert gate.score("", {"y": A}, {"y": A[::-1]}, labels).value == pytest.approx(1.0)
    assert gate.score("", {"y": A}, {"y": np.stack([A[0], A[0]])}, labels).value == pytest.approx(0.5)


def test_metric_of_the_user_gets_all_outputs(tmp_path):
    (tmp_path / "mine.py").write_text(
        "def score(reference, candidate):\n    return -abs(reference['y'] - candidate['y']).sum()\n"
    )
    gate = make_gate("mine.py:score", -1.0, None, ["y"], tmp_path / "mine.py")
    assert gate.score("", {"y": A}, {"y": A}).passed
    assert not gate.score("", {"y": A}, {"y": A + 1}).passed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("cosine", None, "z", ["y"]), "names `z`, but"),
        (("mine.py:score", None, None, ["y"]), "needs `precision.threshold`"),
        (("absent.py:score", 1.0, None, ["y"]), "there is no file for the metric"),
    ],
)
def test_impossible_gates_are_refused(arguments, words):
    with pytest.raises(SpecError, match=words):
        make_gate(*arguments)


def test_user_file_without_the_function_is_refused(tmp_path):
    (tmp_path / "mine.py").write_text("")
    with pytest.raises(SpecError, match="has no function `score`"):
        make_gate("mine.py:score", 1.0, None, ["y"], tmp_path / "mine.py")
