"""`plugin test --gpu` where there is no GPU; the rest of it is tests/gpu/test_kernels.py."""

import numpy as np
import pytest

from repository_builder.cli import main
from repository_builder.plugins import testing


def test_without_a_gpu_it_says_so_before_anything_is_compiled(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fresh_cache: object
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # a machine that has one hides it
    assert main(["plugin", "test", "det", "--gpu"]) == 10
    said = capsys.readouterr()
    assert "kernels cannot be run on this machine" in said.err
    assert "without `--gpu`" in said.err
    assert said.out == ""


@pytest.mark.parametrize(
    ("attributes", "expected", "open_"),
    [
        ({"reduction": "none"}, None, True),
        ({"reduction": "none", "deterministic": 1}, None, False),
        ({"reduction": "none"}, [np.zeros(1)], False),
        ({"reduction": "add"}, None, False),
        ({}, None, False),
    ],
)
def test_a_case_is_left_out_only_where_any_write_may_win(attributes, expected, open_) -> None:
    assert testing.any_write_may_win(testing.Case("", [], attributes, expected)) is open_


@pytest.mark.parametrize(
    ("own", "dtype", "allowed"), [(None, "float32", 8e-5), (1e-3, "float32", 1e-3), (None, "int64", 0)]
)
def test_a_gpu_may_be_twice_as_far_off_as_a_cpu(own, dtype, allowed) -> None:
    case = testing.Case("", [], {}, None, own)
    assert testing.tolerance_on_gpu(case, [np.zeros(1, dtype)]) == allowed
