"""Calibration samples: real, complete, finite, or refused."""

from __future__ import annotations

import numpy as np
import pytest

from repository_builder.errors import SpecError
from repository_builder.stages import calibration
from tests.unit.stages.precision_graphs import WIDTH, network, prepared, samples


def test_samples_are_kept_in_batches_with_their_origin(tmp_path):
    folders = prepared(tmp_path, network(tmp_path / "m"), samples(tmp_path / "s.npz", 40))
    batches, told = calibration.read(folders["samples"])
    assert [len(batch["x"]) for batch in batches] == [16, 16, 8]
    assert told == {"rows": 40, "batches": 3, "origin": "40 samples of s.npz", "labels": None}


def test_count_limits_the_samples(tmp_path):
    folders = prepared(tmp_path, network(tmp_path / "m"), samples(tmp_path / "s.npz", 40), count=20)
    assert calibration.read(folders["samples"])[1]["rows"] == 20


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_with_nan_are_refused(tmp_path, value):
    x = np.ones((4, WIDTH), np.float32)
    x[2, 3] = value
    np.savez(tmp_path / "s.npz", x=x)
    with pytest.raises(SpecError, match="hold NaN or infinity") as caught:
        prepared(tmp_path, network(tmp_path / "m"), tmp_path / "s.npz")
    assert "1 of 128 values" in caught.value.problems[0].why


def test_samples_of_another_shape_are_refused(tmp_path):
    np.savez(tmp_path / "s.npz", x=np.ones((4, WIDTH + 1), np.float32))
    with pytest.raises(SpecError, match="does not fit `x`"):
        prepared(tmp_path, network(tmp_path / "m"), tmp_path / "s.npz")


def test_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "s.npz").write_text("not an archive")
    with pytest.raises(SpecError, match="cannot read the samples"):
        prepared(tmp_path, network(tmp_path / "m"), tmp_path / "s.npz")


def test_labels_go_with_the_samples_or_are_refused(tmp_path):
    (tmp_path / "labels.txt").write_text("\n".join(str(i % 3) for i in range(40)))
    source = samples(tmp_path / "s.npz", 40)
    folders = prepared(tmp_path, network(tmp_path / "m"), source, labels=tmp_path / "labels.txt")
    assert calibration.read(folders["samples"])[1]["labels"][:4] == [0, 1, 2, 0]
    for text, words in (("1\n2", "2 labels for 40 samples"), ("one\n", "invalid literal")):
        (tmp_path / "labels.txt").write_text(text)
        with pytest.raises(SpecError) as caught:
            prepared(tmp_path / text[:1], network(tmp_path / "m"), source, labels=tmp_path / "labels.txt")
        assert words in caught.value.problems[0].why
