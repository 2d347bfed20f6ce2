"""Decoding, fitting and normalising of images."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from python_backends import _image


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def noise(height: int, width: int, mode: str = "RGB") -> Image.Image:
    shape = (height, width) if mode == "L" else (height, width, 3)
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8))


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_lossless_formats_give_the_pixels_back(kind: str, options: dict[str, Any], mode: str) -> None:
    image = noise(5, 7, mode)
    decoded = _image.decode(encoded(image, kind, **options), mode, 100)
    np.testing.assert_array_equal(np.asarray(decoded), np.asarray(image))


def test_jpeg_comes_close() -> None:
    smooth = Image.fromarray(np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8))
    decoded = _image.decode(encoded(smooth, "JPEG", quality=95), "L", 10_000)
    assert np.abs(np.asarray(decoded, int) - np.asarray(smooth, int)).max() <= 3


def test_exif_orientation_turns_the_image() -> None:
    image = noise(4, 9)
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate 90 degrees clockwise to view"
    decoded = _image.decode(encoded(image, "PNG", exif=exif), "RGB", 100)
    np.testing.assert_array_equal(np.asarray(decoded), np.rot90(np.asarray(image), -1))


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    deep = Image.fromarray(np.array([[0, 257 * 100, 65535]], np.uint16))
    np.testing.assert_array_equal(np.asarray(_image.decode(encoded(deep), "L", 10)), [[0, 100, 255]])


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "1", "CMYK"])
def test_every_colour_model_becomes_rgb(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert np.asarray(_image.decode(encoded(noise(3, 4).convert(mode), kind), "RGB", 100)).shape == (3, 4, 3)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty (0 bytes)"),
        (b"hello", "not a PNG, JPEG, WEBP image (5 bytes)"),
        (encoded(noise(64, 64))[:300], "broken PNG image"),
        (encoded(noise(64, 64), "JPEG")[:300], "broken image: Truncated File Read"),
        (encoded(noise(64, 64), "JPEG")[:900], "broken JPEG image"),
        (encoded(noise(64, 64), "GIF"), "not a PNG, JPEG, WEBP image"),
        (encoded(noise(101, 100)), "100 x 101 pixels are more than the limit of 10000"),
    ],
)
def test_bad_images_say_why(data: bytes, message: str) -> None:
    with pytest.raises(_image.BadImage) as caught:
        _image.decode(data, "RGB", 10_000)
    assert message in str(caught.value)


def test_a_decompression_bomb_is_refused_by_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes that claim 30000 x 30000 pixels: no pixel may be decoded to find out."""
    bomb = bytearray(encoded(noise(1, 1)))
    bomb[16:24] = (30_000).to_bytes(4, "big") * 2
    bomb[29:33] = _crc(bytes(bomb[12:29]))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("decoded"))
    with pytest.raises(_image.BadImage, match="30000 x 30000"):
        _image.decode(bytes(bomb), "RGB", 50_000_000)


def _crc(data: bytes) -> bytes:
    import zlib

    return zlib.crc32(data).to_bytes(4, "big")


def test_letterbox_centres_and_pads() -> None:
    wide = Image.new("RGB", (8, 4), (10, 20, 30))
    array = _image.pixels(_image.resize(wide, (8, 8), "letterbox", "bilinear", 114))
    assert (array[2:6] == (10, 20, 30)).all()
    assert (array[:2] == 114).all()
    assert (array[6:] == 114).all()


def test_crop_cuts_the_middle_out() -> None:
    stripes = np.zeros((4, 8, 3), np.uint8)
    stripes[:, 2:6] = 200
    array = _image.pixels(_image.resize(Image.fromarray(stripes), (4, 4), "crop", "nearest", 0))
    assert (array == 200).all()


def test_stretch_is_what_pillow_does() -> None:
    image = noise(9, 5)
    expected = np.asarray(image.resize((7, 3), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(_image.pixels(_image.resize(image, (3, 7), "stretch", "bicubic", 0)), expected)


def test_normalise_follows_the_formula() -> None:
    batch = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 3), np.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    expected = (batch.astype(np.float64) / 255 - mean) / std
    values = _image.normalise(batch, 1 / 255, mean, std, "FP32")
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)
    assert _image.normalise(batch, 1 / 255, mean, std, "FP16").dtype == np.float16
    assert _image.normalise(batch, 1.0, 0.0, 1.0, "UINT8") is batch


def test_layouts() -> None:
    batch = np.arange(24, dtype=np.float32).reshape(1, 2, 4, 3)
    assert _image.arrange(batch, "NHWC") is batch
    channels_first = _image.arrange(batch, "NCHW")
    assert channels_first.shape == (1, 3, 2, 4)
    assert channels_first.flags.c_contiguous
    np.testing.assert_array_equal(channels_first[0, 1], batch[0, :, :, 1])
