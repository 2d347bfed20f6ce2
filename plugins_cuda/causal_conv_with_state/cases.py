"""Inputs that CausalConvWithState must get right: all optional inputs, decoding, sequences shorter than the state."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np


def cases(rng):
    for length, taps, bias, past in itertools.product((0, 1, 2, 33), (1, 2, 4), (False, True), (False, True)):
        for dtype, activation in itertools.product((np.float32, np.float16, ml_dtypes.bfloat16), ("none", "silu")):
            batch, channels = 2, 3
            inputs = [
                _values(rng, (batch, channels, length), dtype),
                _values(rng, (channels, 1, taps), dtype),
                _values(rng, (channels,), dtype) if bias else None,
                _values(rng, (batch, channels, taps - 1), dtype) if past else None,
            ]
            name = f"{length}-{taps}-{bias}-{past}-{np.dtype(dtype).name}-{activation}"
            yield name, inputs, {"activation": activation}
    empty = [_values(rng, (0, 2, 5), np.float32), _values(rng, (2, 1, 4), np.float32), None, None]
    yield "no batch", empty, {"activation": "swish"}


def _values(rng, shape, dtype):
    return rng.normal(size=shape).astype(dtype)
