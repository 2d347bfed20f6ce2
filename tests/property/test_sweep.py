"""Laws of the search: whatever the space, the noise and the budget, it ends, stays inside, and explains itself."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from repository_builder.sweep.goal import Goal
from repository_builder.sweep.sample import Setting
from repository_builder.sweep.search import Options, search
from repository_builder.sweep.space import Runner, Space, batches
from tests.unit.sweep.simulation import World

spaces = st.builds(
    lambda counts, limit, high, exact: Space(
        "model",
        Setting(1, 1),
        tuple(map(Runner, sorted(counts))),
        batches(limit, 1),
        (1, high),
        loads=tuple(sorted({min(load, high) for load in (1.0, 4.0, 16.0)})) if exact else (),
    ),
    counts=st.sets(st.integers(1, 4), min_size=1),
    limit=st.integers(1, 32),
    high=st.integers(1, 48),
    exact=st.booleans(),
)
worlds = st.builds(
    World,
    seed=st.integers(0, 10_000),
    noise=st.sampled_from([0.0, 0.05, 0.3]),
    disturbed=st.sampled_from([0.0, 0.3, 1.0]),
    fails_above=st.sampled_from([0, 1, 4, 10**9]),
    flat=st.booleans(),
)


@given(spaces, worlds, st.sampled_from([None, 0.001, 0.03, 0.1]), st.sampled_from(["throughput", "latency", "cost"]))
@settings(max_examples=25, deadline=None)
def test_it_ends_in_time_stays_inside_and_explains_itself(space, world, budget_s, objective):
    limit_s = 40.0
    outcome = search(space, world, Goal(objective, budget_s), Options(limit_s=limit_s, explore_s=0.4))
    assert world.clock() <= limit_s + 3 * (world.reload_s + 1)
    low, high = space.lowest_load.value, space.highest_load.value
    for candidate, estimate in outcome.estimates.items():
        assert Runner(candidate.setting.instances, candidate.setting.threads) in space.runners
        assert candidate.setting.max_batch in space.batches
        assert candidate.setting.max_batch <= world.fails_above
        assert low <= candidate.load.value <= high
        assert estimate.used
    for candidate in outcome.refused:
        assert candidate.setting.max_batch > world.fails_above
    assert all(outcome.pruned.values())
    assert not set(outcome.pruned) & set(outcome.estimates)
    if outcome.leader is not None:
        assert outcome.nearest is None
        assert budget_s is None or outcome.leader.p99 <= budget_s
    if budget_s == 0.001:
        assert outcome.leader is None, "a batch of one takes twelve times that"
