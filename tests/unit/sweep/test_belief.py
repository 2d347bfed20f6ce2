"""What is believed of points: the processor's moods are taken out, what is strange stays alone, and likeness counts."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repository_builder.sweep.belief import Belief, Normal, _longer, believe, improvement
from repository_builder.sweep.goal import Estimate, Goal
from repository_builder.sweep.latency import Latencies
from repository_builder.sweep.model import expected, together
from repository_builder.sweep.pace import batch_times, time_of
from repository_builder.sweep.sample import BatchCount, Candidate, Load, ModelTimes, Sample, Setting
from repository_builder.sweep.space import Runner
from tests.unit.sweep.simulation import World

MODEL = "model"


def window(candidate: Candidate, rate: float, slower: float = 1.0) -> Sample:
    """A second of full batches, `slower` by a factor."""
    rate /= slower
    size = candidate.setting.max_batch
    count = max(round(rate / size), 1)
    latency = candidate.load.value / rate
    times = ModelTimes(round(rate), count, 0, 0, 0, 0, (BatchCount(size, count, count * 0.03 * slower),))
    return Sample(rate, Latencies.of([latency] * 99 + [1.3 * latency] * 2), 1.0, {MODEL: times})


def believed(measured: dict[Candidate, list[Sample]], *others: Candidate) -> dict[Candidate, Belief]:
    clock = itertools.count(0, 2)
    estimates = {
        point: Estimate(point, [replace(window, began=float(next(clock))) for window in windows])
        for point, windows in measured.items()
    }
    batches = {}
    for point, windows in measured.items():
        batches[Runner(point.setting.instances)] = [b for w in windows for b in w.times(MODEL).batches]
    return believe([*measured, *others], estimates, batch_times(batches), MODEL)


def point(instances: int, batch: int, clients: float, delay_us: int = 0) -> Candidate:
    return Candidate(Setting(instances, batch, delay_us), Load(clients))


@given(st.floats(-3, 3), st.floats(0, 2), st.floats(-3, 3))
def test_an_improvement_is_at_least_what_is_certain(mean, sd, best):
    gained = improvement(mean, sd, best)
    assert gained >= max(0.0, mean - best) - 1e-9
    assert gained <= max(0.0, mean - best) + 0.4 * sd + 1e-9


@given(st.floats(0.01, 1), st.floats(0.01, 1), st.integers(1, 8))
def test_windows_narrow_a_belief(sd, window_sd, windows):
    belief = Normal(0.0, sd, window_sd)
    assert belief.step(windows) <= sd
    assert belief.left(windows) == pytest.approx(1 / math.sqrt(1 / sd**2 + windows / window_sd**2), rel=1e-6)


def test_arrangements_share_a_line_and_have_factors():
    line = {size: 0.01 + 0.001 * size for size in (1, 4, 16)}
    ran = {
        Runner(1): [BatchCount(size, 10, 10 * seconds) for size, seconds in line.items()],
        Runner(2): [BatchCount(16, 10, 10 * 1.5 * line[16])],
    }
    times = batch_times(ran)
    assert times[Runner(1)].seconds(4) == pytest.approx(line[4], rel=0.02)
    assert times[Runner(2)].seconds(1) == pytest.approx(1.5 * line[1], rel=0.05), "though it never ran one"
    assert times[Runner(1)].seconds(8) < time_of(Runner(4), times).seconds(8)
    assert batch_times({}) == {}


def test_a_slow_moment_is_told_from_a_slow_point():
    good, other = point(2, 8, 16), point(2, 8, 8)
    calm = {good: [window(good, 400)] * 3, other: [window(other, 300)] * 3}
    hit = calm | {good: [window(good, 400), window(good, 400, slower=1.5), window(good, 400)]}
    apart = believed(calm)[good].throughput.mean - believed(hit)[good].throughput.mean
    assert abs(apart) < 0.05, "one window in three was a third slower"


def test_a_long_window_says_as_much_as_several_short_ones():
    good, other = point(2, 8, 16), point(2, 8, 8)
    long = believed({good: [replace(window(good, 400), seconds=3.0)], other: [window(other, 300)]})[good]
    short = believed({good: [window(good, 400)] * 3, other: [window(other, 300)]})[good]
    assert long.throughput.sd == pytest.approx(short.throughput.sd, rel=0.2)
    assert long.p99.sd == pytest.approx(short.p99.sd, rel=0.2)


def test_an_arrangement_that_stalls_says_nothing_about_the_others():
    normal = {point(2, 8, load): [window(point(2, 8, load), 40 * load)] for load in (4, 8, 16)}
    stalled = window(point(1, 8, 8), 160)
    stalled = replace(stalled, latencies=Latencies.of([0.03] * 50 + [0.5] * 8))
    asked = point(2, 4, 8)
    before = believed(normal, asked)[asked]
    after = believed(normal | {point(1, 8, 8): [stalled]}, asked)[asked]
    assert after.p99.mean - before.p99.mean < 0.15
    more = point(1, 8, 16)
    assert believed(normal | {point(1, 8, 8): [stalled]}, more)[more].keeps(Goal(budget_s=0.1)) < 0.5


def test_answers_without_executions_can_be_believed_too():
    cached = replace(window(point(2, 8, 16), 400), models={MODEL: ModelTimes(400, 0, 0, 0, 0, 0)})
    belief = believed({point(2, 8, 16): [cached]})[point(2, 8, 16)]
    assert math.exp(belief.throughput.mean) == pytest.approx(400, rel=0.25)


def test_a_delay_fills_batches_and_leaves_instances_idle():
    assert together(3, 8, Load(16), waits=True) == (2, 8)
    assert together(3, 8, Load(16), waits=False) == (3, 6)
    assert together(2, 16, Load(1), waits=True) == (1, 1)


@pytest.mark.parametrize("instances", [1, 2, 3])
@pytest.mark.parametrize("clients", [4, 16, 32])
def test_expectations_are_off_by_a_half_at_most(instances, clients):
    world = World(noise=0.0, disturbed=0.0)
    for batch, delay_us in ((8, 0), (16, 0), (8, 5000), (16, 10000)):
        asked = point(instances, batch, clients, delay_us)
        sample = world(asked, 4.0)
        busy, _ = together(instances, batch, Load(clients), waits=delay_us > 0)
        times = batch_times({Runner(busy): [BatchCount(s, 9, 9 * world.service(busy, s)) for s in (1, 4, 8, 16)]})
        rate, latency = expected(times[Runner(busy)], instances, batch, delay_us / 1e6, Load(clients))
        assert 0.5 < sample.throughput / rate < 2
        assert 0.5 < sample.latencies.mean / latency < 2


def slow_ends(*p99s: float) -> Estimate:
    """One window for each, whose latencies are all the same but for the slowest 5 %."""
    samples = [
        Sample(100.0, Latencies.of([0.01] * 95 + [p99] * 5), 1.0, {"model": ModelTimes(100, 10, 0, 0, 1, 0)})
        for p99 in p99s
    ]
    return Estimate(Candidate(Setting(1, 8), Load(8)), explored=samples)


def test_the_p99_of_a_long_time_is_learnt_from_points_with_several_windows():
    assert _longer([slow_ends(0.02)]) == pytest.approx(0.06), "nothing known yet"
    same = _longer([slow_ends(0.02, 0.02, 0.02)] * 20)
    assert 0 < same < 0.02, "windows that all agree"
    apart = _longer([slow_ends(0.02, 0.02, 0.03)] * 20)
    assert apart == pytest.approx(20 / 23 * math.log(1.5), abs=0.03), "together they are as slow as the slowest"
    assert _longer([*[slow_ends(0.02, 0.02, 0.02)] * 20, slow_ends(0.02, 0.02, 0.9)]) == pytest.approx(same, abs=0.005)
