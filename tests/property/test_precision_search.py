"""The search for the layers that must be kept finds a minimal set."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repository_builder.stages.precision_search import Exhausted, smallest

LAYERS = tuple(f"layer{i}" for i in range(16))


@given(st.sets(st.sampled_from(LAYERS), max_size=4))
def test_exactly_the_guilty_layers_are_found_in_order(guilty):
    trials = []

    def passes(keep):
        trials.append(keep)
        return guilty <= set(keep)

    found = smallest(LAYERS, passes, max_size=16, max_trials=64)
    assert found == tuple(layer for layer in LAYERS if layer in guilty) or (not guilty and len(found) <= 1)
    assert len(trials) <= 2 + 10 * max(1, len(guilty))


@given(st.sets(st.sampled_from(range(4)), min_size=1, max_size=2))
def test_layers_of_a_guilty_role_are_found_together_with_few_trials(guilty):
    roles = {layer: f"role{index % 4}" for index, layer in enumerate(LAYERS)}
    bad = {layer for layer, role in roles.items() if int(role[-1]) in guilty}
    trials = []

    def passes(keep):
        trials.append(keep)
        return bad <= set(keep)

    assert set(smallest(LAYERS, passes, max_size=8, max_trials=64, roles=roles)) == bad
    few = len(trials)
    trials.clear()
    smallest(LAYERS, passes, max_size=8, max_trials=64)
    assert few <= len(trials) + 4


def test_when_trials_run_out_the_guilty_role_is_the_answer():
    roles = {layer: "bad" if index < 6 else f"good{index % 2}" for index, layer in enumerate(LAYERS)}
    found = smallest(LAYERS, lambda keep: set(LAYERS[:6]) <= set(keep), max_size=8, max_trials=8, roles=roles)
    assert found == LAYERS[:6]


def test_nothing_to_find_too_many_and_too_long_are_told_apart():
    with pytest.raises(Exhausted, match="no single layers are to blame"):
        smallest(LAYERS, lambda keep: False, max_size=8, max_trials=64)
    with pytest.raises(Exhausted, match="16 layers would have to be kept"):
        smallest(LAYERS, lambda keep: len(keep) == 16, max_size=8, max_trials=100)
    with pytest.raises(Exhausted, match="within 3 trials"):
        smallest(LAYERS, lambda keep: len(keep) == 16, max_size=8, max_trials=3)
