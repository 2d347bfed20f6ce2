"""What is measured, how results are read, and the comparison with a baseline: all but the GPU."""

from __future__ import annotations

import json

import pytest

from repository_builder.commands.profile import slowest
from repository_builder.errors import CheckFailed, RepositoryError
from repository_builder.release import measurement, measurement_plot
from repository_builder.release.measurement import Measured, compare, points, read_baseline, write_baseline
from repository_builder.shapes.profile import Profile, Range

SMALL = Profile("small", {"x": Range((1, 4), (4, 4), (8, 4))})
LARGE = Profile("large", {"x": Range((9, 4), (32, 4), (64, 4))})
FAST, SLOW = Measured(1.0, 1.0, 1.2, "runner"), Measured(1.3, 1.3, 1.5, "runner")


def test_corners_and_doublings_between_them_are_measured_once_each():
    found = [(point.profile, point.at, point.batch) for point in points("net", [SMALL, LARGE])]
    assert found == [
        ("small", "min", 1),
        ("small", "opt", 4),
        ("small", "max", 8),
        ("small", "between", 2),
        ("large", "min", 9),
        ("large", "opt", 32),
        ("large", "max", 64),
        ("large", "between", 18),
        ("large", "between", 36),
    ]


@pytest.mark.parametrize(("major", "graphs"), [(10, False), (11, True)])
def test_trtexec_measures_the_same_in_both_majors(tmp_path, major, graphs):
    *_, point = points("net", [SMALL, LARGE])
    command = measurement.trtexec_command(tmp_path / "model.plan", point, tmp_path / "t.json", major=major)
    assert "--shapes=x:36x4" in command
    assert "--useProfile=1" in command
    assert ("--noCudaGraph" in command) is graphs
    assert measurement.nsight_command(command, "out").startswith("nsys profile --trace=cuda")


def test_times_of_trtexec_are_read(tmp_path):
    times = tmp_path / "times.json"
    times.write_text(json.dumps([{"startMs": i, "computeMs": ms} for i, ms in enumerate([1.0, 3.0, 2.0, 2.0])]))
    assert measurement.read_trtexec(times) == Measured(2.0, 2.0, 3.0, "trtexec")
    for text in ("", "[]", '[{"other": 1}]'):
        times.write_text(text)
        with pytest.raises(RepositoryError, match="left no times"):
            measurement.read_trtexec(times)


def test_slower_rebuild_fails_with_both_numbers():
    (problem,) = compare({"a": FAST, "b": FAST}, {"a": SLOW, "b": FAST})
    assert problem.what == "slower than the baseline: a"
    assert problem.why == "median 1.300 ms, the baseline has 1.000 ms (+30%, allowed +10%)"
    assert compare({"a": FAST}, {"a": Measured(1.09, 1.09, 1.1, "runner")}) == []


def test_numbers_of_different_tools_are_not_compared():
    assert compare({"a": FAST}, {"a": Measured(9.0, 9.0, 9.0, "trtexec")}) == []


def test_baseline_is_of_one_gpu_and_can_be_read_again(tmp_path):
    file = tmp_path / measurement.BASELINE
    write_baseline(file, {"a": FAST}, "NVIDIA L4")
    assert read_baseline(file) == ("NVIDIA L4", {"a": FAST})
    assert measurement.require_as_fast(file, {"a": FAST}, "NVIDIA L4") == 1
    with pytest.raises(CheckFailed, match="slower than the baseline: a"):
        measurement.require_as_fast(file, {"a": SLOW}, "NVIDIA L4")
    with pytest.raises(CheckFailed, match="of another GPU"):
        measurement.require_as_fast(file, {"a": FAST}, "NVIDIA H200")
    file.write_text("{}")
    with pytest.raises(RepositoryError, match="cannot read the baseline"):
        read_baseline(file)


def test_plot_shows_every_profile_and_needs_nothing_from_elsewhere():
    measured = list(points("net", [SMALL, LARGE]))
    results = {point.key: Measured(point.batch / 10, point.batch / 10, point.batch / 9, "runner") for point in measured}
    page = measurement_plot.page(measured, results, "NVIDIA <L4>")
    assert page.count("<polyline") == 2
    assert page.count("<circle") == len(measured)
    assert "NVIDIA &lt;L4&gt;" in page
    assert "http" not in page


def test_slowest_layers_come_first_with_their_share():
    assert slowest([("conv", 3.0), ("cast", 1.0), ("matmul", 6.0)], count=2) == [
        ("matmul", "6.0000", "60.0%"),
        ("conv", "3.0000", "30.0%"),
    ]
