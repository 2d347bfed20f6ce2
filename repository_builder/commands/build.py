"""Build a model repository from a spec (YAML) or straight from an ONNX file.

Stages whose recipe did not change come from the cache; the repository is replaced in one step, or not at all. From an ONNX
file a spec is inferred, and written beside the repository for you to refine.

examples:
  triton-repo build examples/digits/deploy.yaml
  triton-repo build model.onnx --output my_repository
  triton-repo build deploy.yaml --in-container 26.07   # the builder of the container that will serve
  triton-repo build deploy.yaml --add-plan-from built_on_the_h100
  triton-repo build deploy.yaml --set-baseline         # accept an accuracy that is lower than the last build's
  triton-repo build deploy.yaml --json
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from repository_builder import console

if TYPE_CHECKING:
    from repository_builder.build.stage import Stage
    from repository_builder.builder import Built
    from repository_builder.console import Progress

DEFAULT_OUTPUT = Path("model_repository")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `build`."""
    parser.add_argument("spec", type=Path, help="a spec (.yaml, .yml) or an ONNX file (.onnx)")
    parser.add_argument(
        "-o", "--output", type=Path, default=DEFAULT_OUTPUT, help="the repository's folder (default: %(default)s)"
    )
    parser.add_argument(
        "--in-container",
        metavar="RELEASE",
        help="build engines for tensorrt_plan inside this monthly container, e.g. 26.07 (needs Docker and a GPU)",
    )
    parser.add_argument(
        "--add-plan-from",
        type=Path,
        action="append",
        default=[],
        metavar="REPOSITORY",
        help="add the plans of a repository that was built from the same spec for other GPUs; may be repeated",
    )
    parser.add_argument(
        "--set-baseline",
        action="store_true",
        help="accept this build's accuracy, also where it is less than that of the build it replaces",
    )
    parser.add_argument("--json", action="store_true", help="print a report as JSON")


def run(options: argparse.Namespace) -> int:
    """Build, and say what was made."""
    from repository_builder import builder

    spec_file = spec_for(options.spec, options.output)
    reporter = Reporter(quiet=options.json)
    machine = builder.in_container(options.in_container) if options.in_container else None
    built = builder.build(
        spec_file,
        options.output,
        reporter,
        warn=console.note,
        machine=machine,
        accept=options.set_baseline,
        plans_from=options.add_plan_from,
    )
    if options.json:
        console.print_json(built.as_json())
    else:
        _print(built, options.output)
    return 0


def spec_for(file: Path, output: Path) -> Path:
    """The spec to build: the file itself, or one inferred from an ONNX file and written beside the repository."""
    if file.suffix.lower() in (".yaml", ".yml"):
        return file
    from repository_builder.builder import infer_spec

    inferred, created = infer_spec(file, output)
    console.note(f"spec: {'inferred, written to' if created else 'inferred earlier, taken from'} {inferred}")
    return inferred


class Reporter:
    """Shows each stage as it runs."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet

    def stage(self, stage: Stage, event: Literal["cached", "running", "waiting", "done"]) -> None:
        """One line per stage."""
        words = {"cached": "cached", "done": "built", "waiting": "waiting for another process that builds it"}
        if not self._quiet and event in words:
            console.note(f"  {stage.name:<40} {words[event]}")

    def progress(self, stage: Stage) -> Progress:
        """Progress of a running stage: a live line on a terminal."""
        return console.silent if self._quiet else console.live(stage.name)


def _print(built: Built, output: Path) -> None:
    manifest = built.repository.manifest
    if not built.changed:
        print(f"{output} is up to date")
    else:
        print(f"{output} written: {len(manifest.models)} models, {len(manifest.files)} files")
    rows = [
        (
            name,
            manifest.pipelines[name].target,
            manifest.pipelines[name].batching["max_batch_size"],
            _signature(built, name),
        )
        for name in built.models
    ]
    console.table(("model", "target", "max batch", "inputs → outputs"), rows)
    for name in built.models:
        if manifest.pipelines[name].batching["max_batch_size"] == 0:
            console.note(f"note: {name} is served without batching: {manifest.pipelines[name].batching['why']}")
    print(f"serve it: triton-repo serve {output}")


def _signature(built: Built, name: str) -> str:
    from repository_builder.tensor import Interface

    interface = Interface.from_json(built.repository.manifest.pipelines[name].interface)
    return f"{', '.join(map(str, interface.inputs))} → {', '.join(map(str, interface.outputs))}"
