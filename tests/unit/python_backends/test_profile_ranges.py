"""Shapes that an engine would take."""

from __future__ import annotations

import json
from pathlib import Path

from python_backends.backends.tensorrt.profile_ranges import read, refusal

PROFILES = {
    "small": {"x": {"min": [1, 8], "opt": [2, 8], "max": [4, 8]}},
    "large": {"x": {"min": [5, 8], "opt": [8, 8], "max": [16, 8]}},
}


def test_shapes_must_lie_in_one_profile(tmp_path: Path) -> None:
    (tmp_path / "profiles.json").write_text(json.dumps(PROFILES))
    profiles = read(tmp_path)
    assert refusal(profiles, {"x": (4, 8)}) is None
    assert refusal(profiles, {"x": (16, 8)}) is None
    assert refusal(profiles, {"x": (17, 8)}) == (
        "no optimization profile takes the shapes x [17, 8] (batch included); "
        "the profiles are small: x [1..4, 8]; large: x [5..16, 8]"
    )
    assert refusal(profiles, {"x": (4, 8, 1)}) is not None


def test_without_a_file_everything_is_taken(tmp_path: Path) -> None:
    assert read(tmp_path) == {}
    assert refusal({}, {"x": (999,)}) is None
