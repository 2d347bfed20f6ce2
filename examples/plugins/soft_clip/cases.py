"""Inputs that acme::SoftClip must get right. Add what is special: ties, NaN, borders of its attributes."""

from __future__ import annotations

import ml_dtypes
import numpy as np


def cases(rng):
    attributes = {"limit": 1.5}
    for shape in [(1,), (3, 5), (0, 4), (31,), (32,), (33,), (1023,), (1025,)]:
        for dtype in (np.float32, np.float16, ml_dtypes.bfloat16):
            inputs = [rng.normal(size=shape).astype(dtype) for _ in range(1)]
            yield f"{shape}-{np.dtype(dtype).name}", inputs, attributes
