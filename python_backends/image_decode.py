"""Encoded images (PNG, JPEG, WebP) → one normalised tensor for the core model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from . import _image
from ._adapter import Arrays, Processor, Result


@dataclass(frozen=True)
class Parameters:
    """See `ImageDecode` in the spec reference: the same names and meanings, with nothing left open."""

    size: tuple[int, int]
    mode: str
    fit: str
    pad_value: int
    resample: str
    scale: float
    mean: float | tuple[float, float, float]
    std: float | tuple[float, float, float]
    layout: str
    dtype: str
    max_pixels: int
    input: str


class TritonPythonModel(Processor):
    """`image` STRING [batch, 1] → the core input, [batch, channels, height, width] or channels last."""

    parameters_type = Parameters
    parameters: Parameters

    def setup(self, folder: Path) -> None:  # noqa: ARG002
        """Let our own limit on pixels take the place of Pillow's, which only warns."""
        Image.MAX_IMAGE_PIXELS = None

    def process(self, inputs: Arrays) -> Result:
        """Decode each image; one that cannot be read fails alone."""
        p = self.parameters
        encoded = inputs["image"].reshape(-1)
        height, width = p.size
        batch = np.zeros((len(encoded), height, width, 1 if p.mode == "L" else 3), np.uint8)
        errors: dict[int, str] = {}
        for row, data in enumerate(encoded):
            try:
                batch[row] = self._decode(data)
            except _image.BadImage as error:
                errors[row] = str(error)
        values = _image.normalise(batch, p.scale, p.mean, p.std, p.dtype)
        return Result({p.input: _image.arrange(values, p.layout)}, errors)

    def _decode(self, data: bytes) -> np.ndarray[Any, Any]:
        p = self.parameters
        height, width = p.size
        image = _image.decode(data, p.mode, p.max_pixels)
        return _image.pixels(_image.resize(image, (height, width), p.fit, p.resample, p.pad_value))
