"""Inputs that LinearAttention must get right: all rules, grouped queries, both decays, decoding, odd sizes, FP32 states."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np

RULES = ("linear", "gated", "delta", "gated_delta")
TYPES = (np.float32, np.float16, ml_dtypes.bfloat16)


def cases(rng):
    for rule, (heads, group), (keys, values), past in itertools.product(
        RULES, ((1, 1), (2, 1), (2, 3)), ((4, 4), (33, 17)), (False, True)
    ):
        for length, dtype in itertools.product((1, 5), TYPES):
            yield _case(rng, rule, heads, group, keys, values, length, past, dtype, dtype)
        yield _case(rng, rule, heads, group, keys, values, 3, past, np.float16, np.float32)
    for keys in (1, 31, 32, 64, 128, 256):
        yield _case(rng, "gated_delta", 1, 1, keys, 5, 4, True, np.float32, np.float32)
    for length in (0, 33):
        yield _case(rng, "gated", 1, 1, 8, 8, length, True, np.float32, np.float32)
    yield from _staged(rng)


def _staged(rng):
    """Sizes that allow 16-byte accesses: every slice, tokens about a stage and about a fetch of gates, shared states."""
    sizes = [(8, 16), (40, 32), (64, 64), (96, 16), (128, 128), (200, 16), (256, 32)]
    for index, ((keys, values), length) in enumerate(itertools.product(sizes, (1, 4, 7, 64, 65, 131))):
        for rule in RULES:
            dtype = TYPES[(index + RULES.index(rule)) % len(TYPES)]
            state = np.float32 if index % 2 else dtype
            yield _case(rng, rule, 2, 1 + 2 * (index % 3 == 0), keys, values, length, index % 4 != 3, dtype, state)


def _case(rng, rule, heads, group, keys, values, length, past, dtype, state):
    batch = 2
    key = rng.normal(size=(batch, length, heads, keys))
    key /= np.linalg.norm(key, axis=-1, keepdims=True)
    per_key = rng.integers(2)
    inputs = [
        rng.normal(size=(batch, length, heads * group * keys)).astype(dtype),
        key.reshape(batch, length, heads * keys).astype(dtype),
        rng.normal(size=(batch, length, heads * values)).astype(dtype),
        rng.normal(size=(batch, heads, keys, values)).astype(state) if past else None,
        -rng.uniform(0, 1, (batch, length, heads * (keys if per_key else 1))).astype(dtype)
        if "gated" in rule
        else None,
        rng.uniform(0, 1, (batch, length, heads if per_key else 1)).astype(dtype) if "delta" in rule else None,
    ]
    attributes = {"q_num_heads": heads * group, "kv_num_heads": heads, "update_rule": rule}
    if per_key:
        attributes["scale"] = 0.5
    return f"{rule}-{heads}x{group}-{keys}x{values}-{length}-{past}-{np.dtype(dtype).name}", inputs, attributes
