"""Choose optimization profiles from recorded requests.

`suggest` reads the shapes of real requests and finds the few profiles that waste the least padded work, along the batch or any
other dynamic dimension. They have no gaps, so every batch from 1 on fits exactly one. The page shows the waste
before and after.

Each line of the file is one request's full shapes, `{"image": [4, 1, 8, 8]}`, or `{"shapes": {"image": [4, 1, 8,
8]}, "count": 120}`.

examples:
  triton-repo profiles suggest model.onnx --from requests.jsonl
  triton-repo profiles suggest model.onnx --from requests.jsonl --count 3 --plot waste.html
  triton-repo profiles suggest model.onnx --from requests.jsonl --yaml >> deploy.yaml

exit codes: 0 done, 2 unusable requests or nothing to choose, 7 the graph cannot be read
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from repository_builder import console

if TYPE_CHECKING:
    from repository_builder.shapes.suggest import Suggestion


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `profiles`."""
    parser.add_argument("action", choices=("suggest",), help="what to do")
    parser.add_argument("graph", metavar="MODEL.onnx", type=Path, help="the ONNX graph: it says what is dynamic")
    parser.add_argument("--from", dest="requests", type=Path, required=True, metavar="FILE", help="recorded requests")
    parser.add_argument("--count", type=int, default=2, metavar="K", help="at most so many (default: %(default)s)")
    parser.add_argument("--plot", type=Path, metavar="FILE.html", help="write a page with the waste before and after")
    parser.add_argument("--yaml", action="store_true", help="print only the profiles, as they stand in a spec")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(options: argparse.Namespace) -> int:
    """Suggest profiles and show what they save."""
    from repository_builder.errors import SpecError
    from repository_builder.onnx_graph import read
    from repository_builder.shapes import plot
    from repository_builder.shapes.suggest import read_traffic, suggest

    if options.count < 1:
        raise SpecError(f"--count {options.count} is no number of profiles", fix="name 1 or more")
    traffic = read_traffic(options.requests, read.interface(read.load(options.graph)).inputs)
    before, after = suggest(traffic, 1), suggest(traffic, options.count)
    if options.plot:
        options.plot.write_text(plot.page(traffic, before, after), encoding="utf-8")
        console.note(f"plot: {options.plot}")
    if options.json:
        console.print_json({"before": _as_json(before), "after": _as_json(after), "requests": traffic.total})
    elif options.yaml:
        print(_yaml(after), end="")
    else:
        _show(before, after, traffic.total)
    return 0


def _as_json(found: Suggestion) -> dict[str, object]:
    profiles = {p.name: {name: bounds.as_json() for name, bounds in p.shapes.items()} for p in found.profiles}
    return {"profiles": profiles, "axis": found.axis, "waste": found.waste, "requests": list(found.requests)}


def _show(before: Suggestion, after: Suggestion, total: int) -> None:
    rows = [
        (
            profile.name,
            requests,
            f"{waste:.1%}",
            _span(profile.corner("min"), profile.corner("opt"), profile.corner("max")),
        )
        for profile, requests, waste in zip(after.profiles, after.requests, after.wastes, strict=True)
    ]
    console.table(("profile", "requests", "padded work", "min / opt / max"), rows)
    print(f"{total} requests, split along `{after.axis}`")
    print(f"padded work: {before.waste:.1%} with one profile, {after.waste:.1%} with {len(after.profiles)}")
    print(_yaml(after), end="")


def _span(*corners: dict[str, tuple[int, ...]]) -> str:
    return "; ".join(f"{name} {' / '.join(str(list(corner[name])) for corner in corners)}" for name in corners[0])


def _yaml(found: Suggestion) -> str:
    lines = ["    profiles:"]
    for profile in found.profiles:
        lines.append(f"      {profile.name}:")
        for name, bounds in profile.shapes.items():
            sides = ", ".join(f"{which}: {shape}" for which, shape in bounds.as_json().items())
            lines.append(f"        {name}: {{{sides}}}")
    return "\n".join(lines) + "\n"
