"""Token vectors → one vector per text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import _pooling
from ._adapter import Array, Arrays, Processor, Result


@dataclass(frozen=True)
class Parameters:
    """See `EmbeddingPool` in the spec reference: the same names and meanings, with nothing left open."""

    pooling: str
    normalize: bool
    epsilon: float
    output: str
    attention_mask: str | None


class TritonPythonModel(Processor):
    """The core output [batch, tokens, dim] and its mask [batch, tokens] → `embedding` FP32 [batch, dim]."""

    parameters_type = Parameters
    parameters: Parameters

    def process(self, inputs: Arrays) -> Result:
        """Pool and normalise; a text without tokens, or with a vector that is not finite, fails alone."""
        p = self.parameters
        vectors = inputs[p.output]
        mask = inputs.get(p.attention_mask) if p.attention_mask else None
        pooled = self._pool(vectors, mask)
        errors = {int(row): "the embedding is not finite" for row in np.flatnonzero(~np.isfinite(pooled).all(axis=-1))}
        counts = np.full(len(vectors), vectors.shape[1]) if mask is None else (mask != 0).sum(axis=-1)
        errors |= {int(row): "the text has no tokens" for row in np.flatnonzero(counts == 0)}
        return Result({"embedding": pooled}, errors)

    def _pool(self, vectors: Array, mask: Array | None) -> Array:
        p = self.parameters
        first = vectors[:, 0].astype(np.float32) if p.pooling == "cls" and vectors.shape[1] else None
        pooled = _pooling.mean(vectors, mask) if first is None else first
        return _pooling.normalise(pooled, p.epsilon) if p.normalize else pooled
