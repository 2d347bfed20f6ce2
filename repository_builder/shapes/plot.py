"""A self-contained page (HTML with one SVG) that shows how much of the work is padding, before and after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from html import escape

from repository_builder.shapes.suggest import Suggestion, Traffic

WIDTH, HEIGHT, LEFT, BOTTOM = 860, 300, 60, 40
_STYLE = """
body { font: 15px system-ui, sans-serif; margin: 2rem auto; max-width: 56rem; color: #1c1c1c; background: #fff }
svg { width: 100%; height: auto } text { font-size: 12px; fill: #444 } table { border-collapse: collapse }
td, th { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid #ddd } td:first-child { text-align: left }
"""


def page(traffic: Traffic, before: Suggestion, after: Suggestion) -> str:
    """The page: requests by size with the profiles' limits, and a table of the waste."""
    rows = "".join(
        f"<tr><td>{escape(p.name)}</td><td>{n}</td><td>{waste:.1%}</td></tr>"
        for p, n, waste in zip(after.profiles, after.requests, after.wastes, strict=True)
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Optimization profiles</title><style>{_STYLE}</style>"
        f"<h1>Padded work: {before.waste:.1%} → {after.waste:.1%}</h1>"
        f"<p>{traffic.total} recorded requests, split along <b>{escape(after.axis)}</b> into {len(after.profiles)} "
        "profiles. A bar is the number of requests of one size; light grey is the padding that each pays with one "
        "profile, orange with the suggested ones.</p>"
        f"{_chart(traffic, before, after)}"
        f"<table><tr><th>profile<th>requests<th>padded work</tr>{rows}</table></html>\n"
    )


def _chart(traffic: Traffic, before: Suggestion, after: Suggestion) -> str:
    axis = traffic.symbols.index(after.axis)
    counts: Counter[int] = Counter()
    for sizes, count in traffic.counts.items():
        counts[sizes[axis]] += count
    largest = max(counts)
    tops = _tops(after, traffic, after.axis)
    one = max(_tops(before, traffic, after.axis))
    peak = max(counts[size] * one / size for size in counts)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="work per request size">']
    for size, count in sorted(counts.items()):
        limit = min(top for top in tops if top >= size)
        parts += _bar(size, largest, count, (one / size, limit / size), peak)
    for top in tops:
        x = _x(top, largest) + 6
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="10" y2="{HEIGHT - BOTTOM}" stroke="#c33" stroke-dasharray="4"/>'
        )
        parts.append(f'<text x="{x - 4:.1f}" y="22" text-anchor="end">≤ {top}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(after.axis)}</text></svg>')
    return "".join(parts)


def _bar(size: int, largest: int, count: int, factors: tuple[float, float], peak: float) -> Iterator[str]:
    """Three bars on each other: work with one profile, with the suggested ones, and without padding."""
    x = _x(size, largest)
    for factor, colour in ((factors[0], "#ddd"), (factors[1], "#f0a35e"), (1.0, "#3567a8")):
        height = (HEIGHT - BOTTOM - 30) * count * factor / peak
        yield f'<rect x="{x - 4:.1f}" y="{HEIGHT - BOTTOM - height:.1f}" width="8" height="{height:.1f}" fill="{colour}"/>'
    yield f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle">{size}</text>'


def _tops(found: Suggestion, traffic: Traffic, symbol: str) -> list[int]:
    """The largest size of a dimension in each profile."""
    place = next((t.name, t.shape.index(symbol)) for t in traffic.inputs if symbol in t.shape)
    return sorted({profile.shapes[place[0]].max[place[1]] for profile in found.profiles})


def _x(size: int, largest: int) -> float:
    return LEFT + (WIDTH - 2 * LEFT) * size / largest
