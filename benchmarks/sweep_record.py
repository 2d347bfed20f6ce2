"""Records the space of a model for `benchmarks.sweep_simulation`: `python -m benchmarks.sweep_record mlp --state out/record`.

The first pass takes one window of a second of every point that may matter (a load that cannot fill half of a batch behaves
as a smaller batch does), later passes two of each of the promising ones, each setting freshly loaded. A pass takes two to
five minutes; what is there already is not measured again, so it can be called in slices.
"""

from __future__ import annotations

import argparse
import json
import random
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks import sweep_models
from benchmarks.sweep import bench_of
from benchmarks.sweep_recording import packed, write
from repository_builder.sweep.local import only_sweep
from repository_builder.sweep.measure import Bench
from repository_builder.sweep.model import fit, merged
from repository_builder.sweep.sample import BatchCount, Candidate, Load, Refused, Sample, Setting
from repository_builder.sweep.space import DELAY_SHARES, rounded

NEAR = 0.85
"""Points that reach this share of the best with their p99 or a lower one are promising."""


def main() -> None:
    """Measure the pass, and write the recording anew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=tuple(sweep_models.MODELS))
    parser.add_argument("--state", type=Path, required=True, help="folder for the model and everything measured")
    parser.add_argument("--passes", type=int, default=1, help="how many more")
    parser.add_argument("--out", type=Path, help="the recording; default: STATE/MODEL.json.gz")
    options = parser.parse_args()
    model = sweep_models.MODELS[options.model]
    options.state.mkdir(parents=True, exist_ok=True)
    repository = options.state / f"repository_{model.name}"
    if not repository.is_dir():
        sweep_models.build(model.name, options.state)
    file = options.state / f"{model.name}.json"
    state: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {"delays_us": {}, "passes": []}
    with only_sweep(), bench_of(repository) as bench:
        if not state["delays_us"]:
            state["delays_us"] = _delays(bench, model)
        for _ in range(options.passes):
            state["passes"].append(_pass(bench, model, state))
            file.write_text(json.dumps(state))
    write(
        options.out or options.state / f"{model.name}.json.gz",
        _points(state),
        state["delays_us"],
        _reloads(state),
        1.11,
    )


def _delays(bench: Bench, model: sweep_models.Model) -> dict[str, list[int]]:
    """Queue delays by instances and largest batch, from batch times under a few loads."""
    found = {}
    for instances in model.axes["instances"]:
        seen: tuple[BatchCount, ...] = ()
        for batch in model.axes["max_batch"]:
            candidate = Candidate(Setting(instances, batch, 0, (), 1), Load(2 * instances * batch))
            sample = bench.window(model.member, candidate, 1.0, role="probe")
            if isinstance(sample, Sample):
                seen = merged(seen, sample.times(model.member).batches)
        time = fit(seen)
        for batch in model.axes["max_batch"] if time else ():
            delays = {rounded(1e6 * time.seconds(batch) * share) for share in DELAY_SHARES} if time else {0}
            found[f"{instances},{batch}"] = sorted(delays) if batch > 1 else [0]
    return found


def _pass(bench: Bench, model: sweep_models.Model, state: dict[str, Any]) -> list[Any]:
    """[setting, load, packed windows, seconds of the reload] of every point of this pass, in random order."""
    number, windows = len(state["passes"]), 2 if state["passes"] else 1
    chance = random.Random(number)
    settings = [
        (instances, batch, delay)
        for instances, batch in product(model.axes["instances"], model.axes["max_batch"])
        for delay in state["delays_us"][f"{instances},{batch}"]
    ]
    chance.shuffle(settings)
    found = []
    for instances, batch, delay in settings:
        loads = [load for load in model.axes["concurrency"] if _wanted(state, [instances, batch, delay, 1], load)]
        before = bench.loading_s + bench.warming_s
        if not loads or bench.apply(model.member, Setting(instances, batch, delay, (), 1), reload=True):
            continue
        reload_s = bench.loading_s + bench.warming_s - before
        chance.shuffle(loads)
        for load in loads:
            candidate = Candidate(Setting(instances, batch, delay, (), 1), Load(load))
            taken = [bench.window(model.member, candidate, 1.0, role=f"record-{number}") for _ in range(windows)]
            samples = [packed(sample, model.member) for sample in taken if not isinstance(sample, Refused)]
            found.append([[instances, batch, delay, 1], load, samples, reload_s])
    return found


def _wanted(state: dict[str, Any], setting: list[int], load: int) -> bool:
    """In the first pass what is no other point in disguise; later what is promising."""
    instances, batch, delay, _ = setting
    if not state["passes"]:
        return load == 32 or instances * batch / 4 <= load <= 4 * instances * batch
    seen = [
        (entry[0], entry[1], window[0], _p99(window))
        for entry in state["passes"][0]
        for window in entry[2]
        if delay or not entry[0][2]  # those without a delay are a space of their own: Model Analyzer's
    ]
    mine = next(((rate, p99) for s, value, rate, p99 in seen if s == setting and value == load), None)
    if mine is None:
        return False
    best = max(rate for _, _, rate, p99 in seen if p99 <= max(mine[1], min(p for *_, p in seen)))
    return mine[0] >= NEAR * best


def _p99(window: list[Any]) -> int:
    """The bin of the 99th percentile: its number is enough to compare."""
    total, left, place = sum(count for _, count in window[3]), 0, 0
    for gap, count in window[3]:
        place, left = place + gap, left + count
        if left >= 0.99 * total:
            break
    return place


def _points(state: dict[str, Any]) -> list[Any]:
    found: dict[str, list[Any]] = {}
    for measured in state["passes"]:
        for setting, load, samples, _ in measured:
            if samples:
                found.setdefault(json.dumps([setting, load]), [setting, load, []])[2].append(samples)
    return list(found.values())


def _reloads(state: dict[str, Any]) -> dict[str, float]:
    """Mean seconds by instances."""
    seen: dict[str, list[float]] = {}
    for measured in state["passes"]:
        for setting, _, _, seconds in measured:
            seen.setdefault(str(setting[0]), []).append(seconds)
    return {count: sum(values) / len(values) for count, values in seen.items()}


if __name__ == "__main__":
    main()
