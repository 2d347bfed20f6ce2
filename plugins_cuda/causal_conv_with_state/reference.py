"""CausalConvWithState: the definition of correct (ONNX CausalConvWithState-27)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def reference(
    x: NDArray,
    weight: NDArray,
    bias: NDArray | None = None,
    past_state: NDArray | None = None,
    *,
    activation: str = "none",
) -> tuple[NDArray, NDArray]:
    """Causal depthwise convolution over the last axis, and the last k - 1 inputs to carry to the next call.

    The convolution sums in float64 and is rounded to the type of `x` before the activation, as the standard does.
    """
    batch, channels, length = x.shape
    taps = weight.shape[2]
    carried = np.zeros((batch, channels, taps - 1), x.dtype) if past_state is None else past_state
    padded = np.concatenate([carried, x], axis=2)
    wide = padded.astype(np.float64)
    total = np.zeros(x.shape, np.float64)
    for tap in range(taps):
        total += weight[None, :, 0, tap, None].astype(np.float64) * wide[:, :, tap : tap + length]
    if bias is not None:
        total += bias[None, :, None].astype(np.float64)
    convolved = total.astype(x.dtype)
    if activation in ("silu", "swish"):
        value = convolved.astype(np.float64)
        convolved = (value / (1 + np.exp(-value))).astype(x.dtype)
    return convolved, padded[:, :, length:]
