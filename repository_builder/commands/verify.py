"""Replay the golden inputs of a repository through a running Triton and compare with the recorded reference.

`build` records `golden.npz` beside each public model. A server of this repository that runs already (`triton-repo serve`)
is used; else the embedded server is started for the length of the check; `--url` names any other Triton.

examples:
  triton-repo verify model_repository
  triton-repo verify model_repository --model digits
  triton-repo verify model_repository --url gpu-box:8001     # the production server, over gRPC
  triton-repo verify model_repository --rehearse             # made for TensorRT, tried here on the CPU

exit codes: 0 all equal, 5 a mismatch, 8 nothing to verify, 9 the server did not start or answer, 10 no embedded server
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from repository_builder import console
from repository_builder.errors import CheckFailed, Problem

if TYPE_CHECKING:
    from repository_builder.serving.verify import Comparison, Verification


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("repository", metavar="REPOSITORY", type=Path, help="folder that holds the models")
    parser.add_argument("--model", action="append", metavar="NAME", help="only this model; may be repeated")
    parser.add_argument("--url", metavar="HOST:PORT", help="gRPC address of the Triton to ask")
    parser.add_argument("--rehearse", action="store_true", help="as `serve --rehearse`")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(options: argparse.Namespace) -> int:
    """Verify; a mismatch is shown and raises `CheckFailed`."""
    from repository_builder.serving.verify import golden_files, verify

    golden_files(options.repository, options.model)
    with (
        console.progress("verify", quiet=options.json) as progress,
        _server(options, progress) as url,
    ):
        results = verify(url, options.repository, options.model, progress=progress)
    failures = [_problem(result) for result in results if not result.passed]
    if options.json:
        console.print_json({"verifications": [result.as_json() for result in results]})
        return CheckFailed.exit_code if failures else 0
    _show(results)
    if failures:
        raise CheckFailed.many(failures)
    return 0


@contextmanager
def _server(options: argparse.Namespace, progress: console.Progress) -> Iterator[str]:
    """gRPC address of the server to ask; an embedded one is started if there is none."""
    from repository_builder.serving import state
    from repository_builder.serving.server import serve

    if options.url:
        yield options.url
        return
    running = state.serving(options.repository)
    if running is not None and running.rehearsal == options.rehearse and not running.outdated:
        yield running.grpc
    else:
        if running is not None:
            console.note("the running server serves an earlier build or another mode: starting one for this check")
        with serve(options.repository, rehearse=options.rehearse, progress=progress, graceful=False) as server:
            yield server.grpc


def _show(results: list[Verification]) -> None:
    rows = [
        (result.model, result.samples, comparison.tensor, *_measures(comparison))
        for result in results
        for comparison in result.outputs
    ]
    console.table(("model", "samples", "output", "max abs diff", "cosine", "result"), rows)
    for result in results:
        if result.passed:
            print(f"{result.model}: as recorded, golden inputs: {result.origin}")


def _measures(comparison: Comparison) -> tuple[str, str, str]:
    distance = "" if comparison.max_abs is None else f"{comparison.max_abs:.2e}"
    cosine = "" if comparison.cosine is None else f"{comparison.cosine:.7f}"
    return distance, cosine, "equal" if comparison.equal else "DIFFERS"


def _problem(result: Verification) -> Problem:
    wrong = [output for output in result.outputs if not output.equal]
    lines = [f"{output.tensor}: {output.why}{f', worst at {output.worst}' if output.worst else ''}" for output in wrong]
    return Problem(
        f"model `{result.model}` does not answer as recorded",
        why="\n".join(lines),
        fix="if the model was changed on purpose, build again (that records a new reference); else the server, "
        "a backend or a file of the repository differs from what was built",
    )
