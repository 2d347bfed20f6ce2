"""How `benchmarks/sweep_table.py` judges choices."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from benchmarks import sweep_table


def point(batch: int, load: float, delay_us: int = 0) -> dict:
    setting = {"instances": 2, "max_batch": batch, "delay_us": delay_us, "preferred": [], "threads": 1}
    return {"setting": setting, "load": load, "text": f"b{batch} {delay_us} c={load:g}"}


def test_limits_that_no_batch_reaches_are_one_point():
    assert sweep_table.key(point(8, 8)) == sweep_table.key(point(16, 8))
    assert sweep_table.key(point(4, 8)) != sweep_table.key(point(8, 8))
    assert sweep_table.key(point(8, 8, 5000)) != sweep_table.key(point(16, 8, 5000))
    assert sweep_table.key(point(8, 4)) != sweep_table.key(point(8, 8))


def rounds(rates: dict[int, float], noise: float, chance: random.Random, count: int = 10) -> dict:
    """Points b=1, 2, … with these true rates, measured in rounds that are faster and slower as a whole."""
    state = {}
    for number in range(count):
        pace = math.exp(chance.gauss(0, 0.1))
        state[f"again {number}"] = [
            [point(batch, 32), rate / pace * math.exp(chance.gauss(0, noise)), 80.0 * pace, 0.0, window(pace)]
            for batch, rate in rates.items()
        ]
    return state


def window(pace: float) -> dict:
    """A machine that takes `pace` times as long as usual."""
    return {"busy": [2, 1], "seconds": 5.0, "batches": [[8, 100, 1.8 * pace], [16, 100, 2.8 * pace]]}


def shares(rates: dict[int, float], batch: int) -> list[float]:
    found = []
    for seed in range(200):
        measured = sweep_table._measured(rounds(rates, 0.05, random.Random(seed)))
        share = sweep_table._share(measured[sweep_table.key(point(batch, 32))], measured, "plain", 100.0)
        assert share is not None
        found.append(share)
    return found


def test_one_of_six_equal_points_gives_all_of_the_best_on_average():
    assert statistics.fmean(shares(dict.fromkeys((1, 2, 4, 8, 16, 24), 600.0), 4)) == pytest.approx(1.0, abs=0.005)


def test_a_worse_choice_is_called_worse():
    rates = {1: 600.0, 2: 540.0, 4: 590.0}
    assert statistics.fmean(shares(rates, 2)) == pytest.approx(0.9, abs=0.012)
    assert sum(share >= sweep_table.NEAR for share in shares(rates, 2)) <= 4


def test_without_noise_the_share_is_exact():
    measured = sweep_table._measured(rounds({1: 600.0, 2: 540.0}, 0.0, random.Random(0)))
    share = sweep_table._share(measured[sweep_table.key(point(2, 32))], measured, "plain", 100.0)
    assert share == pytest.approx(0.9)


def even(rates: dict[int, float]) -> dict:
    """Rounds without noise, all at one pace, with a p99 of 80 ms."""
    return {
        f"again {number}": [[point(batch, 32), rate, 80.0, 0.0, window(1.0)] for batch, rate in rates.items()]
        for number in range(4)
    }


def test_what_breaks_the_budget_is_not_the_best():
    measured = sweep_table._measured(even({1: 600.0, 2: 540.0}))
    assert sweep_table._best(measured, "plain", 79.0) is None
    assert sweep_table._best(measured, "plain", 81.0) is not None


def test_a_choice_may_be_over_the_budget_by_three_per_cent_and_the_best_may_not():
    measured = sweep_table._measured(even({1: 600.0, 2: 540.0}))
    worse = measured[sweep_table.key(point(2, 32))]
    assert sweep_table._verdict(worse, measured, "plain", 78.0) == "yes", "nothing better keeps the budget"
    assert sweep_table._verdict(worse, measured, "plain", 78.0, best_over=1 / sweep_table.NEAR) == "no"
    assert sweep_table._verdict(worse, measured, "plain", 81.0) == "no"
    assert sweep_table._verdict(worse, measured, "plain", 77.0) == "over the budget"


def test_a_search_is_judged_at_the_pace_that_the_machine_had():
    state = even({1: 600.0, 2: 540.0})
    times = sweep_table._times(state)
    for pace in (0.9, 1.0, 1.1):
        result = {"paces": [window(pace), window(pace)]}
        assert math.exp(sweep_table._level(result, times)) == pytest.approx(pace)
    assert sweep_table._level({"paces": []}, times) == 0.0


def test_a_slow_round_does_not_move_what_a_point_gives():
    measured = sweep_table._measured(rounds({1: 600.0, 2: 540.0}, 0.0, random.Random(1)))
    entry = measured[sweep_table.key(point(2, 32))]
    assert statistics.pstdev(entry.rates.values()) == pytest.approx(0.0, abs=1e-9)
    assert statistics.pstdev(entry.p99s.values()) == pytest.approx(0.0, abs=1e-9)
