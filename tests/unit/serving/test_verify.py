"""Comparing answers with the reference, and splitting batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from repository_builder.errors import RepositoryError
from repository_builder.repository.golden import Golden, write
from repository_builder.serving.verify import compare, golden_files, split, verify


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


@pytest.mark.parametrize(
    ("reference", "actual", "equal"),
    [
        (floats(1, 2), floats(1, 2), True),
        (floats(1, 2), floats(1, 2.002), True),
        (floats(1, 2), floats(1, 2.01), False),
        (floats(0), floats(1e-4), True),
        (floats(0), floats(2e-4), False),
        (floats(np.nan), floats(np.nan), True),
        (floats(np.nan), floats(1), False),
        (floats(1), floats(np.nan), False),
        (floats(np.inf, -np.inf), floats(np.inf, -np.inf), True),
        (floats(np.inf), floats(-np.inf), False),
        (floats(np.inf), floats(1e30), False),
        (floats(1), floats(np.inf), False),
        (floats(1, 2), floats(1), False),
        (floats(1), np.array([1], np.int32), False),
        (np.array([3], np.int64), np.array([3], np.int64), True),
        (np.array([3], np.int64), np.array([4], np.int64), False),
        (np.array([True]), np.array([False]), False),
        (np.array([b"a", b"b"], object), np.array([b"a", b"b"], object), True),
        (np.array(["\u00e4"], object), np.array(["\u00e4".encode()], object), True),
        (np.array([b"a"], object), np.array([b"A"], object), False),
        (np.array([b"1"], object), floats(1), False),
        (floats(), floats(), True),
    ],
)
def test_what_counts_as_equal(reference: np.ndarray, actual: np.ndarray, equal: bool) -> None:
    result = compare("y", reference, actual, atol=1e-4, rtol=1e-3)
    assert result.equal is equal
    assert bool(result.why) is not equal


def test_the_worst_element_is_shown_with_both_values() -> None:
    reference = np.zeros((2, 3), np.float32)
    actual = reference.copy()
    actual[0, 1], actual[1, 2] = 0.5, -2.0
    result = compare("y", reference, actual, 1e-4, 1e-3)
    assert (result.wrong, result.max_abs) == (2, 2.0)
    assert str(result.worst) == "[1, 2]: expected 0.0, got -2.0"


def test_a_wrong_string_is_shown_as_text() -> None:
    result = compare("label", np.array([[b"cat", b"dog"]], object), np.array([[b"cat", b"cow"]], object), 0, 0)
    assert str(result.worst) == "[0, 1]: expected 'dog', got 'cow'"


def test_cosine_of_nearly_equal_vectors() -> None:
    reference = np.linspace(1, 2, 100, dtype=np.float32)
    result = compare("y", reference, reference * np.float32(1.0001), 1e-4, 1e-3)
    assert result.cosine == pytest.approx(1.0, abs=1e-9)
    assert compare("y", floats(0), floats(0), 1e-4, 1e-3).cosine is None


@pytest.mark.parametrize(("limit", "sizes"), [(8, [8, 2]), (10, [10]), (1, [1] * 10), (64, [10]), (0, [10])])
def test_batches_are_split_to_the_limit(limit: int, sizes: list[int]) -> None:
    inputs = {"x": np.arange(20).reshape(10, 2), "y": np.arange(10)}
    batches = list(split(inputs, limit))
    assert [len(batch["x"]) for batch in batches] == sizes
    assert np.array_equal(np.concatenate([batch["y"] for batch in batches]), inputs["y"])


def test_what_there_is_to_replay(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    with pytest.raises(RepositoryError, match="cannot verify the repository"):
        golden_files(tmp_path)
    write(Golden({"x": floats(1)}, {"y": floats(1)}, "made"), tmp_path / "m" / "golden.npz")
    assert list(golden_files(tmp_path)) == ["m"]
    with pytest.raises(RepositoryError, match="did you mean `m`"):
        golden_files(tmp_path, ["mm"])


def test_a_broken_golden_file_is_told_before_any_server_is_asked(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "golden.npz").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(RepositoryError, match="cannot read the golden file"):
        verify("127.0.0.1:1", tmp_path)
