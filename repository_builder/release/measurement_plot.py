"""A self-contained page (HTML with one SVG per engine): latency and throughput over the batch, where cliffs show."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from repository_builder.release.measurement import Measured, Point

WIDTH, HEIGHT, MARGIN = 860, 320, 56
COLOURS = ("#3567a8", "#c0622d", "#3c8d5a", "#8a4fa3", "#a8323e")
_STYLE = """
body { font: 15px system-ui, sans-serif; margin: 2rem auto; max-width: 56rem; color: #1c1c1c; background: #fff }
svg { width: 100%; height: auto } text { font-size: 12px; fill: #444 } table { border-collapse: collapse }
td, th { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid #ddd } td:first-child { text-align: left }
"""


def page(points: Sequence[Point], results: Mapping[str, Measured], gpu: str) -> str:
    """The page for all measured points; both axes of the charts are logarithmic."""
    models = dict.fromkeys(point.model for point in points)
    parts = [f"<h2>{escape(model)}</h2>" + _chart([p for p in points if p.model == model], results) for model in models]
    rows = "".join(_row(point, results[point.key]) for point in points)
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Engines</title><style>{_STYLE}</style>"
        f"<h1>Engines on {escape(gpu)}</h1><p>Median milliseconds of one execution over the batch, copies left out; "
        "one line per optimization profile. A step between two lines is a cliff that requests fall over.</p>"
        f"{''.join(parts)}<table><tr><th>shape<th>at<th>batch<th>median ms<th>p99 ms<th>per second</tr>{rows}</table>"
        "</html>\n"
    )


def _row(point: Point, result: Measured) -> str:
    rate = point.batch / result.median_ms * 1000
    cells = (escape(point.key), point.at, point.batch, f"{result.median_ms:.3f}", f"{result.p99_ms:.3f}", f"{rate:.0f}")
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _chart(points: Sequence[Point], results: Mapping[str, Measured]) -> str:
    batches = [point.batch for point in points]
    times = [results[point.key].median_ms for point in points]
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="latency over batch">']
    for number, profile in enumerate(dict.fromkeys(point.profile for point in points)):
        line = sorted((p.batch, results[p.key].median_ms) for p in points if p.profile == profile)
        at = [
            (_scaled(b, batches, MARGIN, WIDTH - MARGIN), _scaled(t, times, HEIGHT - MARGIN, MARGIN)) for b, t in line
        ]
        parts += _line(at, line, COLOURS[number % len(COLOURS)], profile)
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">batch</text></svg>')
    return "".join(parts)


def _line(
    at: Sequence[tuple[float, float]], values: Sequence[tuple[int, float]], colour: str, name: str
) -> Iterator[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
    yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
    yield f'<text x="{at[0][0]:.1f}" y="{at[0][1] - 10:.1f}" fill="{colour}">{escape(name)}</text>'
    for (x, y), (batch, time) in zip(at, values, strict=True):
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"><title>{batch}: {time:.3f} ms</title></circle>'
        yield f'<text x="{x:.1f}" y="{HEIGHT - MARGIN + 18}" text-anchor="middle">{batch}</text>'


def _scaled(value: float, values: Sequence[float], start: float, end: float) -> float:
    """The place of a value on a logarithmic axis."""
    low, high = math.log(min(values)), math.log(max(values))
    return start if high == low else start + (end - start) * (math.log(value) - low) / (high - low)
