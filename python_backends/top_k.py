"""Scores of classes → the k best, with labels and scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import _classes
from ._adapter import Array, Arrays, Processor, Result


@dataclass(frozen=True)
class Parameters:
    """See `TopK` in the spec reference: the same names and meanings, with nothing left open."""

    k: int
    labels: str | None
    softmax: bool
    output: str


class TritonPythonModel(Processor):
    """The core output [batch, classes] → `label` STRING, `score` FP32, `class_id` INT32, each [batch, k]."""

    parameters_type = Parameters
    parameters: Parameters

    def setup(self, folder: Path) -> None:
        """Read the labels."""
        name = self.parameters.labels
        self._labels = _classes.labels_of((folder / name).read_text(encoding="utf-8")) if name else None

    def process(self, inputs: Arrays) -> Result:
        """Best first, the lower class first among equals; scores that are not numbers fail alone."""
        p = self.parameters
        scores = inputs[p.output]
        if (why := self._mismatch(scores.shape[-1])) is not None:
            return Result(self._outputs(np.zeros((len(scores), 0))), dict.fromkeys(range(len(scores)), why))
        values = _classes.softmax(scores) if p.softmax else scores.astype(np.float32)
        broken = np.flatnonzero(np.isnan(values).any(axis=-1))
        errors = {int(row): "the scores are not all numbers (NaN, or infinite before the softmax)" for row in broken}
        values = np.where(np.isnan(values), np.float32(0), values)
        return Result(self._outputs(values), errors)

    def _mismatch(self, classes: int) -> str | None:
        if classes < self.parameters.k:
            return f"{classes} classes, and k is {self.parameters.k}"
        if self._labels is not None and len(self._labels) != classes:
            return f"{classes} classes, and {len(self._labels)} labels"
        return None

    def _outputs(self, values: Array) -> Arrays:
        chosen = _classes.best(values, min(self.parameters.k, values.shape[-1]))
        names = self._labels or [str(number) for number in range(values.shape[-1])]
        label = np.array([name.encode() for name in names], object)[chosen] if names else chosen.astype(object)
        score = np.take_along_axis(values, chosen, axis=-1).astype(np.float32)
        return {"label": label, "score": score, "class_id": chosen.astype(np.int32)}
