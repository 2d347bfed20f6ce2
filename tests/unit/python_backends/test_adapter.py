"""The parts of the adapter that need no Triton; `execute` is tested in the real server."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from python_backends._adapter import Result, merge, read_parameters, same_shapes, split


@dataclass(frozen=True)
class Parameters:
    size: list[int]
    mode: str
    limit: int = 7


def test_parameters_are_json() -> None:
    read = read_parameters(Parameters, {"size": "[8, 9]", "mode": '"L"', "EXECUTION_ENV_PATH": "/x.tar.gz"})
    assert read == Parameters([8, 9], "L", 7)


def test_all_wrong_parameters_are_named() -> None:
    with pytest.raises(ValueError, match="unknown parameter `sise`") as caught:
        read_parameters(Parameters, {"sise": "1", "mode": "L"})
    assert "missing parameter `size`" in str(caught.value)
    assert "parameter `mode` is not JSON: L" in str(caught.value)
    assert "(parameters: size, mode, limit)" in str(caught.value)


def test_requests_of_different_shapes_are_different_batches() -> None:
    shapes = [(1, 4), (2, 5), (3, 4)]
    assert list(same_shapes([{"x": np.zeros(shape)} for shape in shapes])) == [[0, 2], [1]]


def test_split_gives_each_request_its_rows_and_its_errors() -> None:
    parts = [{"x": np.arange(2)[:, None]}, {"x": np.arange(2, 5)[:, None]}]
    merged = merge(parts)
    np.testing.assert_array_equal(merged["x"].ravel(), range(5))
    first, second = split(Result({"y": merged["x"] * 10}, {0: "bad", 3: "worse"}), [2, 3])
    assert first.errors == {0: "bad"}
    assert second.errors == {1: "worse"}
    np.testing.assert_array_equal(second.outputs["y"].ravel(), [20, 30, 40])
