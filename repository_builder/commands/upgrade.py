"""Build again with one component changed, into a folder beside the repository, and show the difference.

Everything else stays as it is: the same spec, the same sources, every other tool. All gates run (precision,
profiles, accuracy, the check of the finished repository); what fails them is not written. Where a GPU of this machine
runs the engines, both are timed. The changed package gets an environment of its own.

examples:
  triton-repo upgrade deploy.yaml --change tensorrt-rtx=1.6
  triton-repo upgrade deploy.yaml --change tensorrt=11.3 --repository model_repository --output candidate
  triton-repo upgrade deploy.yaml --change tensorrt-rtx=1.6.1.120 --json

exit codes: 0 built, 2 unknown component, 3 the target cannot be built so, 5 a gate failed, 8 nothing to compare with,
10 the version cannot be installed
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repository_builder import console
from repository_builder.commands.build import DEFAULT_OUTPUT

if TYPE_CHECKING:
    from repository_builder.errors import Problem
    from repository_builder.machine import Machine
    from repository_builder.repository.manifest import Manifest

COMPONENTS = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
"""What can be changed → the package that builds engines."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `upgrade`."""
    parser.add_argument("spec", type=Path, help="the spec of the repository")
    parser.add_argument("--change", required=True, metavar="COMPONENT=VERSION", help="tensorrt=… or tensorrt-rtx=…")
    parser.add_argument(
        "--repository", type=Path, default=DEFAULT_OUTPUT, help="what to compare with (default: %(default)s)"
    )
    parser.add_argument("-o", "--output", type=Path, help="the new repository (default: beside the old one)")
    parser.add_argument(
        "--set-baseline",
        action="store_true",
        help="accept an accuracy or a latency that is worse than the old repository's",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(options: argparse.Namespace) -> int:
    """Build the changed repository and compare."""
    from repository_builder import builder
    from repository_builder.commands.build import Reporter
    from repository_builder.errors import CheckFailed, RepositoryError
    from repository_builder.release.difference import config_differences
    from repository_builder.repository import manifest

    before = manifest.read(options.repository)
    if before is None:
        raise RepositoryError(
            f"there is no repository of ours in {options.repository}",
            why="an upgrade is shown as the difference from what is there",
            fix=f"build it first: triton-repo build {options.spec} --output {options.repository}",
        )
    machine, version = _changed(options.change)
    output = options.output or options.repository.with_name(f"{options.repository.name}-{version}")
    reporter = Reporter(quiet=options.json)
    builder.build(
        options.spec,
        output,
        reporter,
        warn=console.note,
        machine=machine,
        against=options.repository,
        accept=options.set_baseline,
    )
    after = manifest.read(output)
    if after is None:
        return 0
    latency, slower, why = _latency(options.repository, output, quiet=options.json)
    told = {"output": str(output), "changes": _changes(before, after), "latency": latency or f"not measured: {why}"}
    told["configs"] = config_differences(options.repository, output)
    if options.json:
        console.print_json(told | {"slower": [problem.as_json() for problem in slower]})
    else:
        _show(told, latency, why)
    if slower and not options.set_baseline:
        raise CheckFailed.many(slower)
    return 0


def _latency(old: Path, new: Path, *, quiet: bool) -> tuple[list[dict[str, Any]], list[Problem], str]:
    """Medians of both repositories' engines, what became slower, and why nothing was measured, if so."""
    from repository_builder.machine import Obstacle, able, this_machine
    from repository_builder.release import measurement, measuring
    from repository_builder.stages.engine_package import interpreter

    if not all(any(folder.glob(f"*/{measuring.FACTS}")) for folder in (old, new)):
        return [], [], "there are no engines"
    found = [measuring.engines(folder, None) for folder in (old, new)]
    machine = this_machine()
    for engine in (*found[0], *found[1]):
        runs_on = able(engine.package, engine.compute_capabilities, machine)
        if isinstance(runs_on, Obstacle):
            return [], [], runs_on.why
    with console.progress("latency", quiet=quiet) as progress:
        before, after = (measuring.medians(engines, interpreter, progress) for engines in found)
    shared = sorted(before.keys() & after.keys())
    rows = [{"shape": key, "before_ms": before[key].median_ms, "after_ms": after[key].median_ms} for key in shared]
    return rows, measurement.compare(before, after), ""


def _changed(text: str) -> tuple[Machine, str]:
    """This machine with the other version, and that version in full."""
    from repository_builder.errors import SpecError, nearest
    from repository_builder.machine import this_machine
    from repository_builder.stages import engine_package

    component, _, wanted = text.partition("=")
    if component not in COMPONENTS or not wanted:
        raise SpecError(
            f"cannot change `{text}`{nearest(component, COMPONENTS)}",
            where="--change",
            why=f"what can be changed is {' or '.join(COMPONENTS)}",
            fix="write e.g. `--change tensorrt-rtx=1.6`",
        )
    console.note(f"looking for {component} {wanted}")
    version = engine_package.newest(COMPONENTS[component], wanted)
    machine = this_machine()
    return replace(machine, packages={**machine.packages, component: version}), version


def _changes(before: Manifest, after: Manifest) -> list[dict[str, str]]:
    from repository_builder.release.difference import changes

    return [vars(change) for change in sorted(changes(before, after), key=lambda change: (change.model, change.what))]


def _show(told: Mapping[str, Any], latency: list[dict[str, Any]], why: str) -> None:
    found = [(c["model"], c["what"], c["before"], c["after"]) for c in told["changes"]]
    console.table(("model", "what", "before", "after"), found)
    print(told["configs"] or "the configs are equal")
    if latency:
        times = [(row["shape"], row["before_ms"], row["after_ms"]) for row in latency]
        rows = [(shape, f"{old:.3f}", f"{new:.3f}", f"{new / old:.2f}") for shape, old, new in times]
        console.table(("shape", "before ms", "after ms", "ratio"), rows)
    else:
        print(f"latency was not compared: {why}")
    print(f"{told['output']} written")
