"""Inputs that CausalConvWithState must get right: all optional inputs, decoding, sequences shorter than the state."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np

TYPES = (np.float32, np.float16, ml_dtypes.bfloat16)


def cases(rng):
    # Whole packs of 16 bytes, packs that span two lines, single values behind the last pack.
    for length, taps, dtype, all_there in itertools.product((300, 8, 64, 75, 131), (4, 3, 2, 5), TYPES, (True, False)):
        x, weight = _values(rng, (3, 5, length), dtype), _values(rng, (5, 1, taps), dtype)
        rest = [_values(rng, (5,), dtype), _values(rng, (3, 5, taps - 1), dtype)] if all_there else [None, None]
        name = f"packs-{length}-{taps}-{all_there}-{np.dtype(dtype).name}"
        yield name, [x, weight, *rest], {"activation": "silu" if all_there else "none"}
    for length, taps, bias, past in itertools.product((0, 1, 2, 33), (1, 2, 4), (False, True), (False, True)):
        for dtype, activation in itertools.product(TYPES, ("none", "silu")):
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
