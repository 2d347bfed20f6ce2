"""Profiles: what is inferred, and what is impossible and says so."""

from __future__ import annotations

import pytest

from repository_builder.errors import SpecError
from repository_builder.shapes.profile import Profile, Range, batch_dim, infer, problems_of
from repository_builder.tensor import Tensor

IMAGE = Tensor("image", "FP32", ("batch", 1, 8, 8))
IDS = Tensor("ids", "INT64", ("batch", "tokens"))
MASK = Tensor("mask", "INT64", ("batch", "tokens"))


def images(low: int, opt: int, high: int, name: str = "p") -> Profile:
    return Profile(name, {"image": Range((low, 1, 8, 8), (opt, 1, 8, 8), (high, 1, 8, 8))})


def test_inferred_profile_spans_the_batch_and_keeps_fixed_dimensions():
    profile = infer([IMAGE], batch=(1, 4, 16), bounds={})
    assert profile.corner("min") == {"image": (1, 1, 8, 8)}
    assert profile.corner("opt") == {"image": (4, 1, 8, 8)}
    assert profile.corner("max") == {"image": (16, 1, 8, 8)}


def test_bounded_dimension_is_used_for_every_input_that_has_it():
    profile = infer([IDS, MASK], batch=(1, 2, 8), bounds={"tokens": (2, 32, 128)})
    assert profile.shapes["ids"] == profile.shapes["mask"] == Range((1, 2), (2, 32), (8, 128))


def test_unbounded_dimension_is_refused_not_guessed():
    with pytest.raises(SpecError) as caught:
        infer([IDS, MASK], bounds={})
    assert len(caught.value.problems) == 2
    assert "dynamic in dimension 1 (`tokens`), and nothing bounds it" in str(caught.value)


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        ([IMAGE], "batch"),
        ([IDS, MASK], "batch"),
        ([Tensor("a", "FP32", ("n", 2)), Tensor("b", "FP32", ("m", 2))], None),
        ([Tensor("a", "FP32", (4, 2))], None),
        ([Tensor("a", "FP32", ())], None),
    ],
)
def test_batch_is_the_dynamic_first_dimension_that_all_inputs_share(tensors, expected):
    assert batch_dim(tensors) == expected


@pytest.mark.parametrize(
    ("profile", "what"),
    [
        (images(8, 4, 2), "min ≤ opt ≤ max does not hold in dimension 0"),
        (images(0, 4, 8), "`min` has a size of 0 in dimension 0"),
        (
            Profile("p", {"image": Range((1, 1, 8, 9), (1, 1, 8, 9), (1, 1, 8, 9))}),
            "dimension 3 of input `image` is always 8",
        ),
        (Profile("p", {"image": Range((1, 8), (1, 8), (1, 8))}), "`min` has 2 dimensions, but input `image` has 4"),
        (
            Profile("p", {"imag": Range((1,), (1,), (1,))}),
            "names an input `imag` that the graph does not have (did you",
        ),
    ],
)
def test_impossible_profile_is_explained(profile, what):
    assert any(what in problem.what for problem in problems_of([profile], [IMAGE]))


def test_inputs_that_share_a_dimension_must_agree_on_it():
    ids, mask = Range((1, 2), (2, 8), (4, 16)), Range((1, 2), (2, 8), (4, 32))
    (problem,) = problems_of([Profile("p", {"ids": ids, "mask": mask})], [IDS, MASK])
    assert problem.what == "inputs `ids` and `mask` share the dimension `tokens`, but the profile bounds differ"


def test_two_profiles_of_one_name_and_no_profile_at_all_are_refused():
    assert "two profiles are named `p`" in problems_of([images(1, 2, 4), images(5, 6, 8)], [IMAGE])[0].what
    assert "needs at least one" in problems_of([], [IMAGE])[0].what


def test_good_profile_has_no_problem_and_survives_json():
    profile = images(1, 4, 8)
    assert problems_of([profile], [IMAGE]) == []
    assert Profile.from_json(profile.as_json()) == profile
