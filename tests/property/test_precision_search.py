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


def test_nothing_to_find_too_many_and_too_long_are_told_apart():
    with pytest.raises(Exhausted, match="no single layers are to blame"):
        smallest(LAYERS, lambda keep: False, max_size=8, max_trials=64)
    with pytest.raises(Exhausted, match="16 layers would have to be kept"):
        smallest(LAYERS, lambda keep: len(keep) == 16, max_size=8, max_trials=100)
    with pytest.raises(Exhausted, match="within 3 trials"):
        smallest(LAYERS, lambda keep: len(keep) == 16, max_size=8, max_trials=3)
