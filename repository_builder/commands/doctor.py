"""Compare this machine, a repository and a container: TensorRT, CUDA, driver, GPU, ONNX Runtime, Python.

Says what will not load, and which container tag would. Versions inside containers come from a table that says how sure
each one is; a version that nobody published is shown as "not known".

examples:
  triton-repo doctor                                       # this machine, and the default container
  triton-repo doctor model_repository                      # and a repository, with the container it names
  triton-repo doctor model_repository --image 26.08        # would it load there?
  triton-repo doctor --image 26.05-py3 --json

exit codes: 0 everything fits, 5 something will not load, 8 the repository cannot be read
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from repository_builder import console

if TYPE_CHECKING:
    from repository_builder.release.doctor import Diagnosis
    from repository_builder.repository.releases import Release


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `doctor`."""
    parser.add_argument("repository", nargs="?", type=Path, help="a repository that triton-repo built")
    parser.add_argument("--image", metavar="TAG", help="the container (default: the one that the repository names)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(options: argparse.Namespace) -> int:
    """Diagnose; raises CheckFailed where something will not load."""
    from repository_builder.errors import CheckFailed, Problem, RepositoryError
    from repository_builder.machine import this_machine
    from repository_builder.release.doctor import diagnose
    from repository_builder.repository import manifest

    record = manifest.read(options.repository) if options.repository else None
    if options.repository and record is None:
        raise RepositoryError(
            f"{options.repository} was not built by triton-repo",
            why=f"it has no {manifest.FILENAME}",
            fix="name the folder that `triton-repo build` wrote",
        )
    named = str(record.container.get("image", "")) if record else ""
    release = _release(options.image or named)
    diagnosis = diagnose(this_machine(), record, release)
    if options.json:
        console.print_json({"image": release.tag, **diagnosis.as_json()})
    else:
        _show(diagnosis, release)
    errors = [v for v in diagnosis.verdicts if v.severity == "error"]
    if errors and options.json:
        return CheckFailed.exit_code
    if errors:
        raise CheckFailed.many(Problem(v.what, "", v.why, v.fix) for v in errors)
    return 0


def _release(tag: str) -> Release:
    from repository_builder.errors import SpecError
    from repository_builder.repository import container, releases

    found = releases.by_tag(tag or container.DEFAULT_RELEASE)
    if found is None:
        known = releases.releases()
        raise SpecError(
            f"the container `{tag}` is not in the table",
            why=f"it holds {known[0].release} … {known[-1].release} of {container.IMAGE}",
            fix=f"name one of them, e.g. `--image {container.DEFAULT_RELEASE}`",
        )
    return found


def _show(diagnosis: Diagnosis, release: Release) -> None:
    rows = [(r.component, r.machine or "-", r.manifest or "-", r.container or "-") for r in diagnosis.rows]
    console.table(("component", "this machine", "repository", f"container {release.release}"), rows)
    print(f"the container's TensorRT is {diagnosis.confidence}")
    for verdict in diagnosis.verdicts:
        if verdict.severity == "warning":
            console.note(f"warning: {verdict.what}\n  why:   {verdict.why}\n  fix:   {verdict.fix}")
    if not any(verdict.severity == "error" for verdict in diagnosis.verdicts):
        print("nothing speaks against it")
