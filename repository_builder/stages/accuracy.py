"""How far one network's answers are from another's: metrics, and the gate that a lowered precision must pass.

All metrics are scores of which more is better, so that one comparison decides.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repository_builder.errors import SpecError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]
    Arrays = Mapping[str, Array]

DEFAULTS = {"top1": 0.99, "cosine": 0.999, "max_abs": -0.01, "snr_db": 30.0}
"""Metric → the score that passes when the spec names none. `max_abs` is negated: a difference of 0.01 scores −0.01."""


@dataclass(frozen=True)
class Score:
    """The result of one comparison."""

    at: str
    """Where it was measured: `small.max (batch 8)`."""
    value: float
    needed: float
    rows: int = 0
    """Samples that were compared."""

    @property
    def passed(self) -> bool:
        """Whether the score is good enough; a NaN never is."""
        return self.value >= self.needed

    def as_json(self) -> dict[str, Any]:
        """The score as plain JSON values."""
        told = {"at": self.at, "value": round(self.value, 6), "needed": self.needed, "passed": self.passed}
        return told | ({"rows": self.rows} if self.rows else {})


def top1(reference: Array, candidate: Array) -> float:
    """Share of samples whose largest value along the last dimension is at the same place."""
    return float((reference.argmax(-1) == candidate.argmax(-1)).mean())


def accuracy(labels: Array, candidate: Array) -> float:
    """Share of samples whose largest value is at the labelled place."""
    return float((candidate.argmax(-1) == labels).mean())


def cosine(reference: Array, candidate: Array) -> float:
    """The smallest cosine similarity of a sample (all its values as one vector)."""
    import numpy as np

    a, b = (array.reshape(len(array), -1).astype(np.float64) for array in (reference, candidate))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    both_zero = (np.linalg.norm(a, axis=1) == 0) & (np.linalg.norm(b, axis=1) == 0)
    values = np.where(both_zero, 1.0, (a * b).sum(1) / np.where(norms == 0, 1.0, norms))
    return float(values.min())


def max_abs(reference: Array, candidate: Array) -> float:
    """The largest absolute difference, negated."""
    import numpy as np

    return -float(np.abs(reference.astype(np.float64) - candidate.astype(np.float64)).max(initial=0.0))


def snr_db(reference: Array, candidate: Array) -> float:
    """Signal-to-noise ratio in decibels: energy of the reference over energy of the difference; at most 200."""
    import numpy as np

    signal = float(np.square(reference.astype(np.float64)).sum())
    noise = float(np.square(reference.astype(np.float64) - candidate.astype(np.float64)).sum())
    if np.isnan(noise):
        return float("nan")
    return 200.0 if noise == 0 else min(200.0, 10 * float(np.log10(max(signal, 1e-300) / noise)))


METRICS: dict[str, Callable[[Array, Array], float]] = {
    "top1": top1,
    "cosine": cosine,
    "max_abs": max_abs,
    "snr_db": snr_db,
}


def user_metric(text: str, folder: Path | None = None) -> Callable[[Arrays, Arrays], float]:
    """The function of `file.py:function`; it gets the outputs of reference and candidate by name and returns a score."""
    file, _, name = text.rpartition(":")
    path = Path(folder or ".", file)
    spec = importlib.util.spec_from_file_location("triton_repo_user_metric", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise SpecError(f"there is no file for the metric `{text}`", where=path, fix="write `file.py:function`")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        raise SpecError(f"`{path.name}` has no function `{name}`", where=path)
    return lambda reference, candidate: float(function(dict(reference), dict(candidate)))


@dataclass(frozen=True)
class Gate:
    """What a candidate is measured by."""

    metric: str
    needed: float
    output: str
    """The output that is compared; all outputs for a user's function."""
    user: Callable[[Arrays, Arrays], float] | None = None

    def score(self, at: str, reference: Arrays, candidate: Arrays, labels: Array | None = None) -> Score:
        """Compare the answers to the same inputs. With labels: how much of the reference's accuracy is kept."""
        import numpy as np

        for name, array in candidate.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all() and np.isfinite(reference[name]).all():
                return Score(at, float("nan"), self.needed)
        if self.user is not None:
            return Score(at, self.user(reference, candidate), self.needed)
        a, b = reference[self.output], candidate[self.output]
        if self.metric == "top1" and labels is not None:
            return Score(at, 1.0 - (accuracy(labels, a) - accuracy(labels, b)), self.needed)
        return Score(at, METRICS[self.metric](a, b), self.needed)


def make_gate(
    metric: str, needed: float | None, output: str | None, outputs: Sequence[str], user_file: Path | None = None
) -> Gate:
    """The gate that a spec asks for; raises SpecError where it cannot be meant."""
    if output is not None and output not in outputs:
        known = ", ".join(f"`{name}`" for name in outputs)
        raise SpecError(f"precision.output names `{output}`, but the network's outputs are {known}")
    chosen = output or outputs[0]
    if metric in METRICS:
        return Gate(metric, DEFAULTS[metric] if needed is None else needed, chosen)
    if needed is None:
        raise SpecError("a metric of your own needs `precision.threshold`", where=f"precision.metric: {metric}")
    function = metric.rpartition(":")[2]
    return Gate(metric, needed, chosen, user_metric(f"{user_file or metric.rpartition(':')[0]}:{function}"))
