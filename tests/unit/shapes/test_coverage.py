"""The coverage proof: holes and overlaps are found and shown, and Triton's off-by-one choice is understood."""

from __future__ import annotations

from repository_builder.shapes.coverage import faults, triton_choice
from repository_builder.shapes.profile import Profile, Range
from repository_builder.tensor import Tensor

IMAGE = Tensor("image", "FP32", ("batch", 1, 8, 8))
IDS = Tensor("ids", "INT64", ("batch", "tokens"))


def images(name: str, low: int, opt: int, high: int) -> Profile:
    return Profile(name, {"image": Range((low, 1, 8, 8), (opt, 1, 8, 8), (high, 1, 8, 8))})


def ids(name: str, low: tuple[int, int], opt: tuple[int, int], high: tuple[int, int]) -> Profile:
    return Profile(name, {"ids": Range(low, opt, high)})


def test_touching_profiles_are_proven():
    assert faults([images("a", 1, 4, 8), images("b", 9, 32, 64)], [IMAGE]) == []


def test_gap_between_profiles_is_shown_with_its_shape():
    (problem,) = faults([images("a", 1, 4, 8), images("b", 11, 32, 64)], [IMAGE])
    assert problem.what == "no optimization profile fits image [9, 1, 8, 8]"
    assert "image [9, 1, 8, 8] … image [10, 1, 8, 8]" in problem.why


def test_smallest_batch_above_one_is_a_hole():
    (problem,) = faults([images("a", 4, 4, 8)], [IMAGE])
    assert problem.what == "no optimization profile fits image [1, 1, 8, 8]"


def test_declared_maximum_beyond_the_profiles_is_a_hole():
    (problem,) = faults([images("a", 1, 4, 8)], [IMAGE], max_batch=16)
    assert problem.what == "no optimization profile fits image [9, 1, 8, 8]"


def test_overlap_is_shown_with_both_names():
    (problem,) = faults([images("a", 1, 4, 8), images("b", 8, 32, 64)], [IMAGE])
    assert problem.what == "profiles `a`, `b` overlap at image [8, 1, 8, 8]"


def test_hole_in_a_second_dimension_is_found():
    """Long texts in large batches fit neither profile, though each batch and each length fits one."""
    found = faults([ids("short", (1, 1), (8, 16), (32, 64)), ids("long", (1, 65), (2, 128), (4, 256))], [IDS])
    assert [p.what for p in found] == ["no optimization profile fits ids [5, 65]"]


def test_triton_compares_each_dimension_with_its_neighbour():
    """Of two overlapping profiles the one whose length fits loses, because `opt[1]` is compared with the batch."""
    near, far = ids("near", (1, 1), (1, 100), (8, 200)), ids("far", (1, 1), (1, 5), (8, 200))
    request = {"ids": (4, 100)}
    assert triton_choice([near, far], [0, 1], request, batch=4) == 1
    assert triton_choice([near], [0], {"ids": (9, 100)}, batch=9) is None
