"""LinearAttention: the definition of correct (ONNX LinearAttention-27)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def reference(
    query: NDArray,
    key: NDArray,
    value: NDArray,
    past_state: NDArray | None = None,
    decay: NDArray | None = None,
    beta: NDArray | None = None,
    *,
    q_num_heads: int,
    kv_num_heads: int,
    update_rule: str = "gated_delta",
    scale: float = 0.0,
    chunk_size: int = 64,  # noqa: ARG001  (a hint that changes no result)
) -> tuple[NDArray, NDArray]:
    """The outputs of all tokens and the state after the last; the recurrence runs in float64, rounded at the end."""
    batch, length, _ = query.shape
    q, k, v = _heads(query, q_num_heads), _heads(key, kv_num_heads), _heads(value, kv_num_heads)
    key_size, value_size = k.shape[-1], v.shape[-1]
    state_type = query.dtype if past_state is None else past_state.dtype
    state = np.zeros((batch, kv_num_heads, key_size, value_size)) if past_state is None else past_state.astype(float)
    forget = np.exp(_heads(decay, kv_num_heads)) if update_rule in ("gated", "gated_delta") else None
    rate = beta.astype(float)[..., None] if update_rule in ("delta", "gated_delta") else None
    output = np.zeros((batch, length, q_num_heads, value_size))
    factor = scale or 1 / np.sqrt(key_size)
    for t in range(length):
        if forget is not None:
            state = state * forget[:, t, :, :, None]
        written = v[:, t]
        if rate is not None:
            written = rate[:, t] * (written - np.einsum("bhdm,bhd->bhm", state, k[:, t]))
        state = state + k[:, t, :, :, None] * written[:, :, None, :]
        seen = np.repeat(state, q_num_heads // kv_num_heads, axis=1)
        output[:, t] = factor * np.einsum("bhd,bhdm->bhm", q[:, t], seen)
    packed = output.reshape(batch, length, q_num_heads * value_size)
    return packed.astype(query.dtype), state.astype(state_type)


def _heads(packed: NDArray, heads: int) -> NDArray:
    """[B, T, H * D] -> [B, T, H, D]; one number per head becomes D = 1, which broadcasts over the keys."""
    batch, length, size = packed.shape
    return packed.astype(float).reshape(batch, length, heads, size // heads)
