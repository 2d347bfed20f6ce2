"""Show what a build would run, what is cached, and why. Nothing is built and nothing is written.

examples:
  triton-repo plan examples/digits/deploy.yaml
  triton-repo plan deploy.yaml --output my_repository --json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from repository_builder import console
from repository_builder.commands.build import DEFAULT_OUTPUT


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `plan`."""
    parser.add_argument("spec", type=Path, help="a spec (.yaml)")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=DEFAULT_OUTPUT,
        help="the repository to compare with (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print the steps as JSON")


def run(options: argparse.Namespace) -> int:
    """Explain the build graph."""
    from repository_builder import builder

    graph, steps = builder.plan(options.spec, options.output)
    if options.json:
        console.print_json(
            [{"stage": s.stage.name, "action": s.action, "why": s.why, "key": s.stage.key} for s in steps]
        )
        return 0
    for plan in graph.plans:
        console.note(f"{plan.name}: {plan.choice.target.NAME} ({plan.choice.why})")
    console.table(("stage", "action", "why"), [(s.stage.name, s.action, s.why) for s in steps])
    waiting = sum(step.action == "run" for step in steps)
    print(f"{waiting} of {len(steps)} stages would run")
    return 0
