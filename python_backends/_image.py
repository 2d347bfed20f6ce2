"""Encoded images to arrays of a fixed size. Pure functions; Pillow does the decoding."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

Array = np.ndarray[Any, Any]
Size = tuple[int, int]
"""Height and width in pixels."""

FORMATS = ("PNG", "JPEG", "WEBP")
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
# What Pillow's readers raise on damaged files, found by feeding them damaged files (tests/property).
BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)


class BadImage(Exception):
    """An item that is not an image we can read; the message says why."""


def decode(data: bytes, mode: str, max_pixels: int) -> Image.Image:
    """The first frame, turned as its EXIF orientation says, in mode `L` or `RGB` (transparency is dropped).

    The size in the header is checked before any pixel is decoded. Raises BadImage.
    """
    if not data:
        raise BadImage("the image is empty (0 bytes)")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise BadImage(f"not a {', '.join(FORMATS)} image ({len(data)} bytes)") from None
    except (*BROKEN, Image.DecompressionBombError) as error:
        raise BadImage(f"broken image: {error}") from error
    if image.width * image.height > max_pixels:
        raise BadImage(f"{image.width} x {image.height} pixels are more than the limit of {max_pixels}")
    try:
        return _convert(ImageOps.exif_transpose(image), mode)
    except BROKEN as error:
        raise BadImage(f"broken {image.format} image: {error}") from error


def resize(image: Image.Image, size: Size, fit: str, resample: str, pad_value: int) -> Image.Image:
    """The image in exactly `size`, by `stretch`, `letterbox` (pad, centred) or `crop` (cut the middle out)."""
    height, width = size
    if fit == "stretch":
        return image.resize((width, height), FILTERS[resample])
    if fit == "crop":
        return image.resize((width, height), FILTERS[resample], box=crop_box((image.height, image.width), size))
    inner_height, inner_width = letterbox_size((image.height, image.width), size)
    canvas = Image.new(image.mode, (width, height), (pad_value,) * len(image.getbands()))
    inner = image.resize((inner_width, inner_height), FILTERS[resample])
    canvas.paste(inner, ((width - inner_width) // 2, (height - inner_height) // 2))
    return canvas


def letterbox_size(image: Size, size: Size) -> Size:
    """Largest size of the same aspect ratio that fits into `size`; at least one pixel."""
    ratio = min(size[0] / image[0], size[1] / image[1])
    height, width = (max(1, min(limit, round(side * ratio))) for side, limit in zip(image, size, strict=True))
    return height, width


def crop_box(image: Size, size: Size) -> tuple[float, float, float, float]:
    """Largest centred box of `size`'s aspect ratio inside the image: left, upper, right, lower."""
    ratio = min(image[0] / size[0], image[1] / size[1])
    height, width = size[0] * ratio, size[1] * ratio
    top, left = max(0.0, (image[0] - height) / 2), max(0.0, (image[1] - width) / 2)
    return left, top, min(left + width, image[1]), min(top + height, image[0])


def pixels(image: Image.Image) -> Array:
    """UINT8 array [height, width, channels]."""
    array = np.asarray(image, np.uint8)
    return array if array.ndim == 3 else array[:, :, np.newaxis]


def normalise(batch: Array, scale: float, mean: Any, std: Any, dtype: str) -> Array:
    """UINT8 [n, height, width, channels] → `(value * scale - mean) / std`, computed in FP32."""
    if dtype == "UINT8":
        return batch
    shift, spread = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    values = (batch.astype(np.float32) * np.float32(scale) - shift) / spread
    return values.astype(np.float16) if dtype == "FP16" else values


def arrange(batch: Array, layout: str) -> Array:
    """[n, height, width, channels] → NCHW or NHWC, contiguous."""
    return np.ascontiguousarray(batch.transpose(0, 3, 1, 2)) if layout == "NCHW" else batch


def _convert(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey: Pillow would clip it to 255 instead of scaling
        eight_bits = np.asarray(image).astype(np.uint32) // 257
        image = Image.fromarray(eight_bits.astype(np.uint8))
    return image.convert(mode)
