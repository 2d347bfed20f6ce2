"""Knobs in a configuration."""

from __future__ import annotations

import pytest

from repository_builder.repository import pbtxt
from repository_builder.repository.tuning import Tuning, count_of, threads_of, tuned

BASE = pbtxt.parse(
    """name: "m" max_batch_size: 16 instance_group [{kind: KIND_GPU count: 1 gpus: 0 profile: "0"}]
    dynamic_batching { preferred_batch_size: [8, 16] default_queue_policy { max_queue_size: 7 } }
    model_warmup [{name: "one" batch_size: 1}, {name: "full" batch_size: 16}]"""
).config


def test_nothing_given_changes_nothing():
    assert tuned(BASE, Tuning()) == BASE


def test_every_knob_is_set_and_the_rest_is_kept():
    changed = tuned(BASE, Tuning(3, 32, 500, (4, 32), 2))
    assert (count_of(changed), changed.max_batch_size, threads_of(changed)) == (3, 32, 2)
    assert list(changed.dynamic_batching.preferred_batch_size) == [4, 32]
    assert changed.dynamic_batching.max_queue_delay_microseconds == 500
    assert changed.dynamic_batching.default_queue_policy.max_queue_size == 7
    assert list(changed.instance_group[0].profile) == ["0"]
    assert BASE.max_batch_size == 16, "the original is left alone"


def test_what_does_not_fit_a_smaller_batch_goes():
    """Triton refuses preferred sizes and warm-ups above the maximum."""
    changed = tuned(BASE, Tuning(max_batch_size=8))
    assert list(changed.dynamic_batching.preferred_batch_size) == [8]
    assert [warm_up.name for warm_up in changed.model_warmup] == ["one"]


def test_single_items_need_no_delay():
    changed = tuned(BASE, Tuning(max_batch_size=1, max_queue_delay_us=500))
    assert changed.dynamic_batching.max_queue_delay_microseconds == 0
    assert changed.dynamic_batching.default_queue_policy.max_queue_size == 7


@pytest.mark.parametrize("delay", [0, 100])
def test_a_model_without_a_batcher_gets_one_with_its_batches(delay):
    bare = pbtxt.parse('name: "m" max_batch_size: 1').config
    changed = tuned(bare, Tuning(max_batch_size=4, max_queue_delay_us=delay, instances=2))
    assert changed.HasField("dynamic_batching")
    assert count_of(changed) == 2
