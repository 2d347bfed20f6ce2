"""Verdicts: an interval that can be trusted, and words that do not claim more."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from repository_builder.sweep.goal import Goal
from repository_builder.sweep.runner import Result
from repository_builder.sweep.sample import Candidate, Load, Setting
from repository_builder.sweep.verdict import Gain, Verdict, judge_pairs, paired
from tests.unit.sweep.simulation import World

SLOW, FAST = Candidate(Setting(1, 4), Load(16)), Candidate(Setting(2, 16, 5000), Load(32))


def pairs(before, after, count=4, **world):
    worlds = World(1, **world), World(2, **world)
    return [[w(c, 1.0, reload=True) for _ in range(count)] for w, c in zip(worlds, (before, after), strict=True)]


def test_a_real_gain_is_certain():
    verdict = judge_pairs(*pairs(SLOW, FAST), budget_s=0.1, disturbed_cores=2)
    assert verdict.throughput.low > 0.5
    assert str(verdict).startswith("throughput +")


def test_the_same_configuration_twice_is_no_difference():
    verdict = judge_pairs(*pairs(SLOW, SLOW, disturbed=0), budget_s=None, disturbed_cores=2)
    assert "no difference found" in str(verdict)


def test_a_winner_over_the_budget_is_none():
    verdict = judge_pairs(*pairs(SLOW, FAST), budget_s=0.02, disturbed_cores=2)
    assert "broke the budget" in str(verdict)


def test_a_noisy_machine_says_so():
    verdict = judge_pairs(*pairs(SLOW, FAST, disturbed=1.0), budget_s=None, disturbed_cores=0.4)
    assert "too noisy" in str(verdict)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    chance, inside = random.Random(0), 0
    for _ in range(300):
        before = [chance.lognormvariate(0, 0.05) for _ in range(4)]
        after = [1.1 * chance.lognormvariate(0, 0.05) for _ in range(4)]
        gain = paired(before, after)
        inside += gain.low <= 0.1 <= gain.high
    assert 0.92 <= inside / 300 <= 0.98


def test_one_pair_has_no_interval():
    gain = paired([1.0], [2.0])
    assert not gain.certain
    assert "no interval" in str(gain)


@pytest.mark.parametrize(("before", "after"), [([], []), ([1.0], [1.0, 2.0]), ([0.0], [1.0])])
def test_what_cannot_be_paired(before, after):
    with pytest.raises(ValueError, match=r"."):
        paired(before, after)


@pytest.mark.parametrize(
    ("objective", "throughput", "p99", "cheaper", "better"),
    [
        ("throughput", (0.05, 0.2), (-0.1, 0.1), 1.0, True),
        ("throughput", (-0.02, 0.2), (-0.1, 0.1), 1.0, False),
        ("throughput", (-0.02, 0.02), (-0.3, -0.1), 1.0, True),
        ("latency", (0.05, 0.2), (-0.1, 0.1), 1.0, False),
        ("latency", (-0.05, 0.02), (-0.3, -0.1), 1.0, True),
        ("latency", (-0.5, -0.2), (-0.3, -0.1), 1.0, False),
        ("cost", (-0.1, 0.1), (0.0, 0.3), 2.0, True),
        ("cost", (-0.1, 0.1), (0.0, 0.3), 1.0, False),
    ],
)
def test_better_is_what_was_asked_for(objective, throughput, p99, cheaper, better):
    verdict = Verdict(Gain(0.0, *throughput, 4), Gain(0.0, *p99, 4), winner_over_budget=False, noisy=False, drift=0.0)
    start, winner = {"m": Setting(2, 4)}, {"m": Setting(1, 8)}
    result = Result(
        start, Load(8), winner, Load(8), (), (), (), verdict, 1.0, 2.0, 1.0, 1.0, cheaper=cheaper, objective=objective
    )
    assert result.better is better
    assert not replace(result, winner=start).better, "nothing to write"
    assert not replace(result, verdict=replace(verdict, noisy=True)).better
    assert not replace(result, verdict=replace(verdict, winner_over_budget=True)).better
    only_faster = objective == "latency" or throughput[0] <= 0
    at_random = replace(result, verdict=replace(verdict, poisson=(0.012, 0.020), poisson_rate=900.0))
    assert at_random.better is (better and not (only_faster and objective != "cost")), (
        "slower where requests arrive at random"
    )
    assert replace(result, verdict=replace(verdict, poisson=(0.012, 0.012))).better is better


def test_what_a_setting_occupies():
    goal = Goal("cost", default_threads=8)
    assert [goal.occupied(s) for s in (Setting(2), Setting(1), Setting(2, threads=1), Setting(16))] == [8, 8, 2, 16]
    assert Goal("cost").occupied(Setting(3)) == 3
