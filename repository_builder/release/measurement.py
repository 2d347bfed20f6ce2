"""How fast engines are, shape by shape: what to measure, with `trtexec` or our own runner, and the comparison with a
baseline.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from repository_builder.errors import CheckFailed, Problem, RepositoryError
from repository_builder.repository import baseline
from repository_builder.repository.baseline import Baseline
from repository_builder.shapes.profile import Profile, Shape

BASELINE = baseline.FILENAME
TOLERANCE = 0.10
"""A rebuild that is slower by more than this fails."""


@dataclass(frozen=True)
class Point:
    """One shape of one engine."""

    model: str
    profile: str
    index: int
    """Place of the profile in the engine."""
    shapes: Mapping[str, Shape]
    at: str
    """`min`, `opt`, `max`, or `between`."""

    @property
    def batch(self) -> int:
        """The first dimension."""
        return min((shape[0] for shape in self.shapes.values() if shape), default=1)

    @property
    def key(self) -> str:
        """Names the point in a baseline: model, profile and shapes."""
        sizes = ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in sorted(self.shapes.items()))
        return f"{self.model}/{self.profile}/{sizes}"


@dataclass(frozen=True)
class Measured:
    """Latency of one execution in milliseconds, copies left out."""

    mean_ms: float
    median_ms: float
    p99_ms: float
    tool: str

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Inverse of `dataclasses.asdict`."""
        return cls(**value)


def points(model: str, profiles: Sequence[Profile]) -> Iterator[Point]:
    """min, opt and max of every profile, and the batches between them by doubling: cliffs lie there."""
    for index, profile in enumerate(profiles):
        seen: set[str] = set()
        for shapes, at in _shapes(profile):
            point = Point(model, profile.name, index, shapes, at)
            if point.key not in seen:
                seen.add(point.key)
                yield point


def _shapes(profile: Profile) -> Iterator[tuple[dict[str, Shape], str]]:
    for which in ("min", "opt", "max"):
        yield profile.corner(which), which
    batch, last = profile.batch("min"), profile.batch("max")
    while (batch := batch * 2) < last:
        yield {name: (batch, *bounds.opt[1:]) for name, bounds in profile.shapes.items()}, "between"


def trtexec_command(plan: Path, point: Point, times: Path, *, major: int, program: str = "trtexec") -> list[str]:
    """`trtexec` for one point. From 11 on it uses CUDA graphs unless told not to; without them, numbers of 10 compare."""
    sizes = ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in point.shapes.items())
    graphs = ["--noCudaGraph"] if major >= 11 else []
    return [
        program, f"--loadEngine={plan}", f"--shapes={sizes}", f"--useProfile={point.index}",
        "--warmUp=200", "--duration=2", "--iterations=50", f"--exportTimes={times}", *graphs,
    ]  # fmt: skip


def read_trtexec(times: Path) -> Measured:
    """The file that `--exportTimes` writes: one object per execution with `computeMs`."""
    import statistics

    try:
        values = sorted(float(entry["computeMs"]) for entry in json.loads(times.read_text(encoding="utf-8")))
        p99 = values[min(len(values) - 1, int(len(values) * 0.99))]
        return Measured(statistics.fmean(values), statistics.median(values), p99, "trtexec")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RepositoryError("trtexec left no times", where=times, why=str(error), fix="see its output") from error


def nsight_command(command: Sequence[str], report: str) -> str:
    """A ready Nsight Systems line around a command."""
    return shlex.join(
        ["nsys", "profile", "--trace=cuda,nvtx,osrt", f"--output={report}", "--force-overwrite=true", *command]
    )


def write_baseline(path: Path, results: Mapping[str, Measured], gpu: str) -> None:
    """Keep the results for later builds; what the file says of accuracy stays."""
    points = {key: asdict(value) for key, value in sorted(results.items())}
    replace(Baseline.read(path), gpu=gpu, points=points).write(path)


def read_baseline(path: Path) -> tuple[str, dict[str, Measured]]:
    """The GPU's name and the results of a baseline file; no GPU: latencies were never measured."""
    known = Baseline.read(path)
    try:
        return known.gpu, {key: Measured.from_json(entry) for key, entry in known.points.items()}
    except TypeError as error:
        raise RepositoryError(
            "cannot read the baseline", where=path, why=str(error), fix="measure it again with `--set-baseline`"
        ) from error


def compare(
    before: Mapping[str, Measured], after: Mapping[str, Measured], *, tolerance: float = TOLERANCE
) -> list[Problem]:
    """Every point that became slower than the tolerance allows, with both numbers."""
    problems = []
    for key in sorted(before.keys() & after.keys()):
        old, new = before[key].median_ms, after[key].median_ms
        if before[key].tool == after[key].tool and new > old * (1 + tolerance):
            problems.append(
                Problem(
                    f"slower than the baseline: {key}",
                    why=f"median {new:.3f} ms, the baseline has {old:.3f} ms ({new / old - 1:+.0%}, allowed {tolerance:+.0%})",
                    fix="find the change with `triton-repo plan`; accept it with `--set-baseline`",
                )
            )
    return problems


def require_as_fast(file: Path, results: Mapping[str, Measured], gpu: str, *, tolerance: float = TOLERANCE) -> int:
    """Raise CheckFailed for slower points; the number of points compared. Baselines of another GPU are not compared."""
    known, before = read_baseline(file)
    if known and known != gpu:
        raise CheckFailed(
            "the baseline is of another GPU",
            where=file,
            why=f"it was measured on {known}, this is {gpu}",
            fix="measure on the same GPU, or set a new baseline with `--set-baseline`",
        )
    if problems := compare(before, results, tolerance=tolerance):
        raise CheckFailed.many(problems)
    return len(before.keys() & results.keys())
