"""GridSample: the definition of correct (ONNX GridSample-22, ranks 3 to 5)."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

F32 = np.float32
TAPS = {"nearest": 1, "linear": 2, "cubic": 4}


def reference(
    x: NDArray, grid: NDArray, *, mode: str = "linear", padding_mode: str = "zeros", align_corners: int = 0
) -> tuple[NDArray]:
    """Y[n, c, positions...] = X[n, c] interpolated at grid[n, positions...].

    Coordinates and weights are formed in float32, each operation rounded once (so that `nearest` is well defined);
    sums in float64, rounded once to X's type. A NaN coordinate, or one beyond 2^30 pixels, is a point outside.
    """
    batch, channels, *sizes = x.shape
    positions = grid.shape[1:-1]
    points = grid.reshape(batch, -1, len(sizes)).astype(F32)[..., ::-1]  # the grid names the innermost axis first
    axes = [_taps(points[..., axis], size, mode, padding_mode, align_corners) for axis, size in enumerate(sizes)]
    images = np.arange(batch)[:, None]
    total = np.zeros((batch, points.shape[1], channels), np.float64)
    for combination in itertools.product(range(TAPS[mode]), repeat=len(sizes)):
        index = [axes[axis][0][tap] for axis, tap in enumerate(combination)]
        weight = np.ones(points.shape[:2], np.float64)
        for axis, tap in enumerate(combination):
            weight = weight * axes[axis][1][tap]
        seen = np.all([i >= 0 for i in index], axis=0)
        if x.size:
            values = x[(images, slice(None), *[np.maximum(i, 0) for i in index])].astype(np.float64)
            total += np.where(seen[..., None], weight[..., None] * values, 0.0)
    return (np.moveaxis(total, 2, 1).reshape(batch, channels, *positions).astype(x.dtype),)


def _taps(points: NDArray, size: int, mode: str, padding: str, align: int) -> tuple[list[NDArray], list[NDArray]]:
    """Indices (-1: counts as zero) and weights of one axis, one array per tap."""
    low, high = (F32(0), F32(size - 1)) if align else (F32(-0.5), F32(size) - F32(0.5))
    half, one = F32(0.5), F32(1)
    with np.errstate(invalid="ignore", over="ignore"):
        at = ((points + one) * half) * (F32(size) - one) if align else ((points + one) * F32(size) - one) * half
    at = np.clip(np.nan_to_num(at, nan=-(2.0**30), posinf=2.0**30, neginf=-(2.0**30)), F32(-(2.0**30)), F32(2.0**30))
    if mode == "nearest":
        at = _padded(np.rint(at), size, low, high, padding)
        return [_index(at.astype(np.int64), size, low, high, padding)], [np.ones_like(at, np.float64)]
    at = _padded(at, size, low, high, padding)
    floor = np.floor(at)
    fraction = (at - floor).astype(np.float64)
    first = floor.astype(np.int64) - (1 if mode == "cubic" else 0)
    weights = _cubic(fraction) if mode == "cubic" else [1.0 - fraction, fraction]
    return [_index(first + tap, size, low, high, padding) for tap in range(TAPS[mode])], weights


def _padded(at: NDArray, size: int, low: F32, high: F32, padding: str) -> NDArray:
    outside = (at < low) | (at > high)
    if padding == "border":
        return np.where(outside, np.clip(at, F32(0), F32(size - 1)), at)
    return np.where(outside, _reflected(at, low, high), at) if padding == "reflection" else at


def _reflected(at: NDArray, low: F32, high: F32) -> NDArray:
    span = high - low
    if span <= 0:
        return np.full_like(at, low)
    beyond = np.where(at < low, low - at, at - high)
    turns = np.trunc(beyond / span)
    rest = beyond - turns * span
    forth = (np.fmod(turns, F32(2)) == 0) == (at < low)
    inside = np.clip(np.where(forth, low + rest, high - rest), low, high)
    return np.where((at < low) | (at > high), inside, at)


def _index(pixel: NDArray, size: int, low: F32, high: F32, padding: str) -> NDArray:
    if padding == "zeros":
        return np.where((pixel >= 0) & (pixel < size), pixel, -1)
    if padding == "reflection":
        reflected = _reflected(pixel.astype(F32), low, high).astype(np.int64)
        pixel = np.where((pixel >= 0) & (pixel < size), pixel, reflected)
    return np.clip(pixel, 0, max(size - 1, 0))


def _cubic(t: NDArray) -> list[NDArray]:
    """Keys' cubic convolution with a = -0.75, as the standard prescribes."""
    a = -0.75

    def near(d: NDArray) -> NDArray:
        return ((a + 2) * d - (a + 3)) * d * d + 1

    def far(d: NDArray) -> NDArray:
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]
