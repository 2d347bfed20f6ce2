"""Build again with one component changed, into a folder beside the repository, and show the difference.

Everything else stays as it is: the same spec, the same sources, every other tool. All gates run (precision,
profiles, the check of the finished repository); what fails them is not written. The changed package gets an
environment of its own.

examples:
  triton-repo upgrade deploy.yaml --change tensorrt-rtx=1.6
  triton-repo upgrade deploy.yaml --change tensorrt=11.3 --repository model_repository --output candidate
  triton-repo upgrade deploy.yaml --change tensorrt-rtx=1.6.1.120 --json

exit codes: 0 built, 2 unknown component, 3 the target cannot be built so, 5 a gate failed, 8 nothing to compare with,
10 the version cannot be installed
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from repository_builder import console
from repository_builder.commands.build import DEFAULT_OUTPUT

if TYPE_CHECKING:
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
        "--set-baseline", action="store_true", help="accept an accuracy that is lower than the old repository's"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(options: argparse.Namespace) -> int:
    """Build the changed repository and compare."""
    from repository_builder import builder
    from repository_builder.commands.build import Reporter
    from repository_builder.errors import RepositoryError
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
    if after is not None:
        _show(before, after, options.repository, output, as_json=options.json)
    return 0


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


def _show(before: Manifest, after: Manifest, old: Path, new: Path, *, as_json: bool) -> None:
    from repository_builder.release.difference import changes, config_differences

    found = sorted(changes(before, after), key=lambda change: (change.model, change.what))
    configs = config_differences(old, new)
    if as_json:
        told = {"output": str(new), "changes": [vars(change) for change in found], "configs": configs}
        console.print_json(told | {"latency": "not measured: `triton-repo profile` needs a GPU that runs the engines"})
        return
    console.table(("model", "what", "before", "after"), [(c.model, c.what, c.before, c.after) for c in found])
    print(configs or "the configs are equal")
    print(f"{new} written; latency is not compared here (`triton-repo profile` measures it on the GPU)")
