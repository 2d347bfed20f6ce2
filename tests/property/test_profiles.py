"""Laws of profiles: disjoint ones are chosen rightly by Triton, the proof agrees with brute force, the choice is optimal."""

from __future__ import annotations

import itertools
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from repository_builder.shapes.coverage import faults, triton_choice
from repository_builder.shapes.profile import Profile, Range
from repository_builder.shapes.suggest import Traffic, suggest
from repository_builder.tensor import Tensor

IDS = Tensor("ids", "INT64", ("batch", "tokens"))

box = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(0, 4), st.integers(0, 4))


def profile(index: int, corner: tuple[int, int, int, int]) -> Profile:
    batch, tokens, more_batch, more_tokens = corner
    high = (batch + more_batch, tokens + more_tokens)
    return Profile(f"p{index}", {"ids": Range((batch, tokens), high, high)})


@given(st.lists(box, min_size=1, max_size=4))
def test_proof_agrees_with_trying_every_shape(boxes):
    profiles = [profile(i, corner) for i, corner in enumerate(boxes)]
    maxima = [p.shapes["ids"].max for p in profiles]
    tokens = range(min(p.shapes["ids"].min[1] for p in profiles), max(m[1] for m in maxima) + 1)
    fits = [
        sum(p.holds({"ids": (batch, length)}) for p in profiles)
        for batch, length in itertools.product(range(1, max(m[0] for m in maxima) + 1), tokens)
    ]
    assert (faults(profiles, [IDS]) == []) == all(count == 1 for count in fits)


@given(st.lists(box, min_size=1, max_size=4))
def test_triton_chooses_the_only_profile_of_a_proven_set(boxes):
    profiles = [profile(i, corner) for i, corner in enumerate(boxes)]
    if not faults(profiles, [IDS]):
        for batch, length in itertools.product(range(1, 11), range(1, 11)):
            fitting = [i for i, p in enumerate(profiles) if p.holds({"ids": (batch, length)})]
            choice = triton_choice(profiles, range(len(profiles)), {"ids": (batch, length)}, batch)
            assert choice == (fitting[0] if fitting else None)


@settings(max_examples=60)
@given(st.dictionaries(st.integers(1, 12), st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 4))
def test_suggestion_is_the_best_of_all_partitions(counts, k):
    image = Tensor("image", "FP32", ("batch", 3))
    traffic = Traffic((image,), ("batch",), {(size,): count for size, count in counts.items()})
    found = suggest(traffic, k)
    sizes = sorted(counts)
    best = min(
        sum(counts[s] * min(m for m in (*cut, sizes[-1]) if m >= s) for s in sizes)
        for n in range(min(k, len(sizes)))
        for cut in itertools.combinations(sizes[:-1], n)
    )
    used = sum(size * count for size, count in counts.items())
    assert abs(found.waste - (1 - used / best)) < 1e-9
    assert len(found.profiles) <= k
    assert faults(found.profiles, [image]) == []


@given(st.lists(box, min_size=1, max_size=3))
def test_profiles_survive_json(boxes):
    for index, corner in enumerate(boxes):
        one = profile(index, corner)
        assert Profile.from_json(json.loads(json.dumps(one.as_json()))) == one
