"""Fits and bounds: what is said without measuring must never be too low."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repository_builder.sweep.latency import Latencies
from repository_builder.sweep.model import fit, latency_floor, little, throughput_bound, wilson
from repository_builder.sweep.sample import BatchCount, Candidate, Load, Setting
from tests.unit.sweep.simulation import World

times = st.floats(1e-4, 1.0)
counts = st.integers(1, 10_000)


@given(
    st.floats(1e-4, 0.1), st.floats(1e-5, 0.05), st.lists(st.tuples(st.integers(1, 64), counts), min_size=2, max_size=8)
)
def test_a_straight_line_is_found_again(fixed, per_item, batches):
    found = fit(BatchCount(size, count, count * (fixed + per_item * size)) for size, count in batches)
    assert found is not None
    if len({size for size, _ in batches}) > 1:
        for size in (1, 7, 64):
            assert found.seconds(size) == pytest.approx(fixed + per_item * size, rel=1e-3, abs=1e-7)


@given(st.lists(st.tuples(st.integers(1, 64), counts, times), min_size=1, max_size=8), st.integers(1, 64))
def test_a_batch_never_takes_less_than_nothing_and_never_gets_shorter_by_growing(batches, size):
    found = fit(BatchCount(size, count, count * time) for size, count, time in batches)
    assert found is not None
    assert found.fixed >= -1e-9
    assert found.per_item >= 0
    assert found.seconds(size) > 0


def test_without_executions_nothing_is_known():
    assert fit([]) is None
    assert fit([BatchCount(4, 0, 0.0)]) is None


def test_one_batch_size_alone_does_not_bound_the_others_too_low():
    found = fit([BatchCount(16, 100, 100 * 0.028)])
    assert found is not None
    assert found.seconds(16) == pytest.approx(0.028)
    assert throughput_bound(found, 1, 1, Load(64)) >= 0.99 * throughput_bound(found, 1, 16, Load(64))


@pytest.mark.parametrize("instances", [1, 2, 3])
@pytest.mark.parametrize("batch", [1, 4, 16])
@pytest.mark.parametrize("concurrency", [1, 4, 16, 32])
def test_no_point_beats_its_bound(instances, batch, concurrency):
    world = World(seed=instances * 100 + batch, noise=0.02, disturbed=0)
    corner = world(Candidate(Setting(instances, 16), Load(32)), 4.0)
    alone = world(Candidate(Setting(instances, 16), Load(1)), 2.0)
    time = fit([*corner.times("model").batches, *alone.times("model").batches])
    sample = world(Candidate(Setting(instances, batch), Load(concurrency)), 4.0)
    assert sample.throughput <= throughput_bound(time, instances, batch, Load(concurrency))
    assert sample.p99 >= latency_floor(time, instances, batch, Load(concurrency))


def test_little():
    assert little(32, 0.2, 0.1) == 16
    assert little(3, 9.0, 0.1) == 1


@given(st.floats(0, 1000), st.floats(0, 1000))
def test_wilson_holds_the_share(hits, more):
    low, high = wilson(hits, hits + more)
    assert 0 <= low <= high <= 1
    if hits + more:
        assert low - 1e-9 <= hits / (hits + more) <= high + 1e-9


@given(st.lists(st.floats(1e-5, 100), min_size=1, max_size=300), st.floats(0.01, 0.999))
def test_quantiles_are_exact_to_one_percent(values, q):
    latencies = Latencies.of(values)
    exact = sorted(values)[max(0, -int(-q * len(values) // 1) - 1)]
    assert latencies.quantile(q) == pytest.approx(exact, rel=0.011)
    assert latencies.count == len(values)
    assert Latencies.from_json(latencies.as_json()) == latencies


def test_latencies_merge():
    both = Latencies.of([0.001, 0.002]).merged(Latencies.of([0.010]))
    assert (both.count, both.over(0.005)) == (3, 1)
    assert both.mean == pytest.approx(0.013 / 3)
