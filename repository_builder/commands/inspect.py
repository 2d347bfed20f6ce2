"""Say of an ONNX graph what it is, what will not convert or serve, where that came from, and how to fix it.

The verdict comes from NVIDIA's own parser where one is installed (`pip install 'triton-repo-builder[tensorrt-rtx]'`: no
GPU is needed), else from the published table of operators; the report says which. The graph is also run on the CPU at
several sizes, which finds batch sizes that were baked in.

examples:
  triton-repo inspect model.onnx
  triton-repo inspect model.onnx --for image=26.07       # the TensorRT of that Triton image
  triton-repo inspect model.onnx --for tensorrt=10.16
  triton-repo inspect model.onnx --for rtx --json
  triton-repo inspect model.onnx --html > report.html

exit codes: 0 it converts, 2 wrong usage, 5 it does not (or answers wrongly), 7 the file is no usable ONNX graph,
10 no parser for what `--for` asks
"""

from __future__ import annotations

import argparse
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from repository_builder import console
from repository_builder.errors import CheckFailed

if TYPE_CHECKING:
    from repository_builder.onnx_graph.diagnose import Diagnosis, Finding


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", metavar="MODEL", type=Path, help="the .onnx file")
    parser.add_argument("--for", dest="wanted", metavar="WHAT", help="tensorrt=11.1, image=26.07 or rtx")
    parser.add_argument("--no-run", action="store_true", help="do not run the graph (it is not looked for baked sizes)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON document")
    form.add_argument("--html", action="store_true", help="print a page of HTML")


def run(options: argparse.Namespace) -> int:
    """Print the report; the exit code says whether the model converts."""
    from repository_builder.onnx_graph.diagnose import diagnose
    from repository_builder.onnx_graph.judges import judge_for

    with console.progress("inspect", quiet=options.json or options.html) as progress:
        progress("starting the parser")
        with judge_for(options.wanted) as judge:
            progress(f"reading {options.model.name}")
            found = diagnose(options.model, judge, execute=not options.no_run, own=own_operators())
    if options.json:
        console.print_json(found.as_json())
    elif options.html:
        print(_page(found))
    else:
        _show(found)
    return 0 if found.healthy else CheckFailed.exit_code


def own_operators() -> dict[str, str]:
    """Operators for which the package has a plugin, with its summary."""
    from repository_builder.plugins.operators import shipped

    return {operator.operator: operator.summary for operator in shipped()}


def _show(found: Diagnosis) -> None:
    for label, value in _facts(found):
        print(f"{label + ':':<12}{value}")
    if found.costs:
        console.table(("operator", "count", "bound by", "note"), found.costs, title="\nexpensive operators")
    for finding in found.findings:
        print(f"\n{_text(finding)}")
    print(f"\n{_conclusion(found)}")


def _facts(found: Diagnosis) -> list[tuple[str, str]]:
    summary = found.summary
    common = ", ".join(f"{name} {count}" for name, count in list(summary.operators.items())[:8])
    more = f", … ({len(summary.operators)} kinds)" if len(summary.operators) > 8 else ""
    return [
        ("graph", f"{summary.path} ({summary.bytes / 1e6:.1f} MB, IR {summary.ir_version}, {summary.producer or '?'})"),
        ("opset", ", ".join(f"{domain} {version}" for domain, version in summary.opsets.items())),
        ("inputs", "; ".join(summary.inputs)),
        ("outputs", "; ".join(summary.outputs)),
        ("batch", summary.batch),
        ("parameters", f"{summary.parameters:,}"),
        ("operators", f"{summary.nodes} nodes: {common}{more}"),
        ("judged by", found.judged_by),
    ]


def _text(finding: Finding) -> str:
    lines = [f"{finding.severity}: {finding.what}"]
    shown = ", ".join(finding.nodes[:3]) + (f" and {len(finding.nodes) - 3} more" if len(finding.nodes) > 3 else "")
    origin = " ".join(part for part in (finding.place, finding.source) if part)
    versions = f"{finding.domain or 'ai.onnx'} opset {finding.opset}" if finding.opset else ""
    for label, text in (("where", shown), ("from", origin), ("opset", versions), ("why", finding.why)):
        if text:
            lines.append(f"  {label + ':':<7}{text}")
    for number, fix in enumerate(finding.fixes, 1):
        lines.append(
            f"  {'fix ' + str(number) + ':':<7}{fix.text}" + (f"\n           $ {fix.command}" if fix.command else "")
        )
    return "\n".join(lines)


def _conclusion(found: Diagnosis) -> str:
    if found.healthy:
        return "It converts."
    if found.converts:
        return "It converts, but will not serve correctly: see the errors above."
    repairable = any(fix.kind == "repair" for finding in found.findings for fix in finding.fixes[:1])
    return "It does not convert as it is." + (" `triton-repo repair` may change that." if repairable else "")


_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "th{text-align:left;padding-right:1.5em;vertical-align:top}section{border-left:4px solid #c33;padding:.1em 1em;"
    "margin:1em 0;background:#8881}section.warning{border-color:#c90}code{white-space:pre-wrap}"
)


def _page(found: Diagnosis) -> str:
    rows = "".join(f"<tr><th>{escape(label)}<td>{escape(value)}" for label, value in _facts(found))
    costs = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}" for cell in row) for row in found.costs)
    sections = "".join(_section(finding) for finding in found.findings)
    title = escape(Path(found.summary.path).name)
    table = f"<h2>Expensive operators</h2><table>{costs}</table>" if costs else ""
    return (
        f"<!doctype html><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>"
        f"<p><b>{escape(_conclusion(found))}</b></p><table>{rows}</table>{table}{sections}"
    )


def _section(finding: Finding) -> str:
    origin = escape(" ".join(part for part in (finding.place, finding.source) if part))
    ways = "".join(f"<li>{escape(fix.text)}<br><code>{escape(fix.command)}</code>" for fix in finding.fixes)
    return (
        f"<section class={finding.severity}><h3>{escape(finding.what)}</h3><p>{escape(', '.join(finding.nodes[:10]))}"
        f"<p>{origin}<p>{escape(finding.why)}<ol>{ways}</ol></section>"
    )
