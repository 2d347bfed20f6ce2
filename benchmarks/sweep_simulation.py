"""The search against recorded windows: `python -m benchmarks.sweep_simulation`. How often does it choose right?

Right: the choice keeps the budget within 3 % and gives at least 97 % of the best recorded point that keeps it.
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from benchmarks.sweep_recording import MODEL, Playback, Recording, read
from repository_builder.sweep.goal import Goal
from repository_builder.sweep.sample import Candidate, Setting
from repository_builder.sweep.search import Options, search
from repository_builder.sweep.space import Runner, Space

RECORDING = Path(__file__).with_name("sweep_mlp.json.gz")
LIMITS_S = {100: 30.0, 60: 75.0, 45: 75.0}
"""Time for our search by budget (ms): the targets."""
LOADS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


@dataclass(frozen=True)
class Run:
    """One simulated search."""

    choice: Candidate | None
    throughput: float
    """What the choice really gives, as a share of the optimum."""
    p99: float
    """What the choice really has, as a share of the budget."""
    seconds: float
    windows: int
    reloads: int

    @property
    def right(self) -> bool:
        """Within 3 % of the optimum and of the budget."""
        return self.p99 <= 1.03 and self.throughput >= 0.97


def space(recording: Recording, *, delays: bool) -> Space:
    """The space that was recorded; without queue delays it is the one that Model Analyzer searches."""
    counts = sorted({setting.instances for setting in recording.settings})
    batches = tuple(sorted({setting.max_batch for setting in recording.settings}))
    runners = tuple(Runner(count, 1) for count in counts)
    return Space(MODEL, Setting(1, batches[-1], 0, (), 1), runners, batches, loads=LOADS, delays=delays)


def simulate(recording: Recording, space: Space, budget_s: float, limit_s: float, seeds: Sequence[int]) -> list[Run]:
    """One search for each seed."""
    _, best = recording.optimum(budget_s, delays=space.delays)
    runs = []
    for seed in seeds:
        playback = Playback(recording, seed)
        outcome = search(space, playback, Goal(budget_s=budget_s), Options(limit_s=limit_s))
        choice = outcome.leader.candidate if outcome.leader else None
        throughput, p99 = recording.truth(choice) if choice else (0.0, float("inf"))
        runs.append(Run(choice, throughput / best, p99 / budget_s, playback.spent, playback.windows, playback.reloads))
    return runs


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recording", type=Path, default=RECORDING)
    parser.add_argument("--budgets", default="100,60,45", help="p99 in ms")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--delays", default="no,yes", help="without queue delays, with them, or both")
    parser.add_argument("--choices", type=int, default=0, help="show so many of the most frequent choices")
    options = parser.parse_args()
    recording = read(options.recording)
    print(
        f"{'delays':>7}{'budget':>7}{'right':>7}{'in budget':>10}{'of best':>9}{'s':>6}{'windows':>9}{'reloads':>9}  optimum"
    )
    for delays, text in product(options.delays.split(","), options.budgets.split(",")):
        budget, what = float(text), space(recording, delays=delays == "yes")
        runs = simulate(recording, what, budget / 1e3, LIMITS_S.get(int(budget), 75.0), range(options.runs))
        best, throughput = recording.optimum(budget / 1e3, delays=what.delays)
        print(
            f"{delays:>7}{budget:>7.0f}{statistics.fmean(run.right for run in runs):>7.0%}"
            f"{statistics.fmean(run.p99 <= 1.03 for run in runs):>10.0%}"
            f"{statistics.median(run.throughput for run in runs):>9.0%}{statistics.median(run.seconds for run in runs):>6.0f}"
            f"{statistics.median(run.windows for run in runs):>9.0f}{statistics.median(run.reloads for run in runs):>9.0f}"
            f"  {best}: {throughput:.0f}/s, p99 {recording.truth(best)[1] * 1e3:.0f} ms"
        )
        for choice, count in Counter(run.choice for run in runs).most_common(options.choices):
            run = next(run for run in runs if run.choice == choice)
            print(
                f"{'':>16}{count:>5}  {choice!s:<28}{run.throughput:>5.0%} of the optimum, p99 {run.p99:.0%} of the budget"
            )


if __name__ == "__main__":
    main()
