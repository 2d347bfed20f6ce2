"""The pace of the machine: told from the points by time, by likeness and by repetition."""

from __future__ import annotations

import math
import random
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repository_builder.sweep.goal import Estimate
from repository_builder.sweep.latency import Latencies
from repository_builder.sweep.pace import middle, slowness
from repository_builder.sweep.sample import Candidate, Load, Sample, Setting

LISTS = st.lists(st.floats(-10, 10), min_size=1, max_size=9)


@given(LISTS)
def test_the_middle_of_equal_weights_is_the_median(values):
    assert middle(values, [1.0] * len(values)) == pytest.approx(statistics.median(values))


@given(LISTS, st.floats(0.1, 10))
def test_the_middle_does_not_depend_on_the_unit_of_the_weights(values, unit):
    weights = [1.0 + number % 3 for number in range(len(values))]
    assert middle(values, [unit * weight for weight in weights]) == pytest.approx(middle(values, weights))


@given(LISTS)
def test_a_long_window_weighs_as_much_as_several_short_ones(values):
    weights = [1 + number % 3 for number in range(len(values))]
    apart = [value for value, weight in zip(values, weights, strict=True) for _ in range(weight)]
    assert middle(values, weights) == pytest.approx(statistics.median(apart))


def told(points: int, rounds: int, pace, own) -> tuple[list[list[float]], list[list[float]]]:
    """What is said of windows of three seconds, points in turns, and how slow the machine really was."""
    chance = random.Random(0)
    times = {(point, turn): 4.0 * (turn * points + point) for turn in range(rounds) for point in range(points)}
    estimates, seen, real = [], [], []
    for point in range(points):
        began = [times[point, turn] for turn in range(rounds)]
        empty = Latencies.of([0.01])
        windows = [Sample(100.0, empty, 3.0, {}, began=when) for when in began]
        estimates.append(Estimate(Candidate(Setting(1, 2**point), Load(1)), windows))
        real.append([pace(when) for when in began])
        seen.append([pace(when) + own(point) + chance.gauss(0, 0.01) for when in began])
    slower, _ = slowness(estimates, seen, np.eye(points) + 1.0)
    return slower, real


def test_a_pace_that_all_points_share_is_found():
    slower, real = told(5, 4, lambda when: 0.1 * math.sin(when / 12), lambda _: 0.0)
    usual = statistics.median(value for values in real for value in values)
    for values, true in zip(slower, real, strict=True):
        for value, at in zip(values, true, strict=True):
            assert value == pytest.approx(at - usual, abs=0.05)


def test_a_point_that_is_always_slow_is_not_a_slow_moment():
    slower, _ = told(5, 4, lambda _: 0.0, lambda point: 0.2 if point == 2 else 0.0)
    assert max(abs(statistics.fmean(values)) for values in slower) < 0.04


def test_one_moment_that_is_far_off_does_not_move_the_others():
    slower, _ = told(5, 4, lambda when: 0.9 if when == 32.0 else 0.0, lambda _: 0.0)
    assert sum(abs(value) > 0.5 for values in slower for value in values) == 1
    assert sorted(abs(value) for values in slower for value in values)[-2] < 0.1
