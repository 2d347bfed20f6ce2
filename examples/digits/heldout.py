"""The digits and their split: what `train.py` learns from, and what the served model is measured on."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

TO_PIXELS = 15
"""Grey values 0–16 → pixels 0–240 of an 8-bit PNG, without rounding."""
HELD_OUT = 450
"""Of 1,797 digits; a permutation with seed 0 chooses them."""

Digits = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
"""Images [n, 8, 8] with grey values 0–16, and labels [n]."""


def digits() -> tuple[Digits, Digits]:
    """Training and held-out digits."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    held, rest = order[:HELD_OUT], order[HELD_OUT:]
    images, labels = data.images.astype(np.uint8), data.target.astype(np.int64)
    return (images[rest], labels[rest]), (images[held], labels[held])


def png(image: np.ndarray[Any, Any]) -> bytes:
    """One digit as a grey PNG file."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray((image * TO_PIXELS).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()
