"""Comparing a lowered graph with its FP32 original, on the same samples and at the same batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from repository_builder.onnx_graph import execute
from repository_builder.stages.accuracy import Gate, Score, accuracy

CORNER_ROWS = 32
"""Samples that are compared at each batch of a profile (more where one batch holds more)."""

Arrays = dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """The reference's answers, kept, and what they are compared by."""

    gate: Gate
    batches: list[Arrays]
    answers: list[Arrays]
    corners: Mapping[str, int]
    """Where (`small.max`) → batch."""
    corner_answers: Mapping[int, Arrays]
    """Batch → the reference's answers to `_rows(batch)`."""
    labels: list[int] | None
    held: Comparison | None = None
    """The same on samples that calibrated nothing: scales fit to noise fit that noise, and nothing else."""

    @classmethod
    def start(
        cls,
        reference: Path,
        batches: list[Arrays],
        gate: Gate,
        corners: Mapping[str, int],
        *,
        labels: list[int] | None = None,
        held: list[Arrays] | None = None,
    ) -> Comparison:
        """Run the reference on everything that will be compared."""
        session = execute.session(reference, optimize=True)
        answers = [execute.run(session, batch) for batch in batches]
        other = cls.start(reference, held, gate, {}) if held else None
        sizes = sorted(set(corners.values()))
        rows = held[0] if held else batches[0]
        at_corners = {size: _in_batches(session, _rows(rows, size), size) for size in sizes}
        return cls(gate, batches, answers, corners, at_corners, labels, other)

    def quick(self, candidate: Path) -> Score:
        """The worse of the scores on all samples."""
        return min(self._everywhere(_session(candidate)), key=_order)

    def scores(self, candidate: Path) -> Iterator[Score]:
        """The score on all samples, then at min, opt and max of every profile."""
        session = _session(candidate)
        yield from self._everywhere(session)
        rows = self.held.batches[0] if self.held else self.batches[0]
        for where, size in self.corners.items():
            asked = _rows(rows, size)
            score = self.gate.score(
                f"{where} (batch {size})", self.corner_answers[size], _in_batches(session, asked, size)
            )
            yield replace(score, rows=_count(asked))

    def labelled(self, candidate: Path) -> dict[str, Any] | None:
        """The share of labelled samples that reference and candidate get right; None without labels."""
        import numpy as np

        if not self.labels:
            return None
        session, labels = _session(candidate), np.array(self.labels)
        found = np.concatenate([execute.run(session, batch)[self.gate.output] for batch in self.batches])
        known = np.concatenate([answer[self.gate.output] for answer in self.answers])
        right = {"reference": accuracy(labels, known), "network": accuracy(labels, found)}
        return {"rows": len(labels)} | {name: round(share, 6) for name, share in right.items()}

    def _everywhere(self, session: Any) -> list[Score]:
        scores = [self._on_samples(session, "all")]
        return [*scores, self.held._on_samples(session, "golden:")] if self.held else scores

    def _on_samples(self, session: Any, which: str) -> Score:
        """Batches may differ in length, so they are scored one by one: shares are averaged, distances take the worst."""
        import numpy as np

        scores, weights, row = [], [], 0
        for batch, answer in zip(self.batches, self.answers, strict=True):
            count = _count(batch)
            labels = np.array(self.labels[row : row + count]) if self.labels else None
            scores.append(self.gate.score("", answer, execute.run(session, batch), labels).value)
            weights.append(count)
            row += count
        shared = self.gate.metric == "top1" or self.gate.user is not None
        value = float(np.average(scores, weights=weights)) if shared else float(np.min(scores))
        return Score(f"{which} {row} samples", value, self.gate.needed, row)


def _count(arrays: Arrays) -> int:
    return len(next(iter(arrays.values())))


def _order(score: Score) -> float:
    """NaN is worse than everything."""
    return -math.inf if math.isnan(score.value) else score.value


def _session(path: Path) -> Any:
    """ONNX Runtime on a lowered graph; BF16 is emulated, since the CPU has no kernels for it."""
    import onnx

    from repository_builder.stages import bf16

    structure = onnx.load(str(path), load_external_data=False)
    if bf16.uses_bf16(structure):
        return execute.session(bf16.emulated(onnx.load(str(path))).SerializeToString(), name=str(path), optimize=True)
    return execute.session(path, optimize=True)


def _rows(batch: Arrays, size: int) -> Arrays:
    """At least one whole batch of `size`, made of the samples again and again; a multiple of `size`."""
    import numpy as np

    have = _count(batch)
    wanted = max(size, min(have, CORNER_ROWS) // size * size)
    return {name: np.take(array, range(wanted), axis=0, mode="wrap") for name, array in batch.items()}


def _in_batches(session: Any, rows: Arrays, size: int) -> Arrays:
    """The answers to `rows` asked in batches of `size`, joined."""
    import numpy as np

    total = _count(rows)
    parts = [
        execute.run(session, {name: array[start : start + size] for name, array in rows.items()})
        for start in range(0, total, size)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
