"""Ask a model that is being served, and print its answer readably.

Each FILE is one request: an image or any other file for a model that takes bytes (STRING), `.npy`, `.npz` or `.json` for
arrays. The server that `triton-repo serve` runs is found by itself; `--url` names any other Triton (gRPC); with
`--repository` the embedded server is started for this one call.

examples:
  triton-repo infer digits image.png
  triton-repo infer digits *.png --json
  triton-repo infer sentences --text "a quick brown fox" --text "a slow red one"
  triton-repo infer digits_core pixels.npy --repository model_repository
  triton-repo infer digits image.png --url gpu-box:8001

exit codes: 0 all answered, 2 wrong usage or input file, 9 no server, or a request was refused
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repository_builder import console
from repository_builder.errors import Problem, ServerError, SpecError

if TYPE_CHECKING:
    import numpy as np

    from repository_builder.serving.client import Client
    from repository_builder.serving.inputs import Sample
    from repository_builder.serving.state import RunningServer

    Array = np.ndarray[Any, Any]
    Answer = tuple[Sample, Mapping[str, Array] | ServerError]

_SHOWN_ELEMENTS = 6


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", metavar="MODEL", help="name of the model, usually the public one")
    parser.add_argument("files", metavar="FILE", nargs="*", type=Path, help="one request each")
    parser.add_argument("--text", action="append", default=[], metavar="TEXT", help="a text instead of a file")
    parser.add_argument(
        "--version", default="", metavar="N", help="version of the model (default: the server's choice)"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--url", metavar="HOST:PORT", help="gRPC address of the Triton to ask")
    where.add_argument("--repository", type=Path, metavar="FOLDER", help="serve this repository, if it is not served")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="limit of one request")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(options: argparse.Namespace) -> int:
    """Send every file and text; a request that fails is reported after the others were answered."""
    from repository_builder.serving.client import Client

    if not options.files and not options.text:
        raise SpecError("nothing to infer", where="triton-repo infer", fix="give at least one FILE or --text TEXT")
    with (
        console.progress("infer", quiet=options.json) as progress,
        _server(options, progress) as url,
        Client(url, timeout_s=options.timeout) as client,
    ):
        answers = list(_answers(client, options))
    if options.json:
        _print_json(options.model, answers)
        return ServerError.exit_code if any(isinstance(answer, ServerError) for _, answer in answers) else 0
    _show(answers)
    problems = [
        Problem(f"{sample.label}: {problem.what}", problem.where, problem.why, problem.fix)
        for sample, answer in answers
        if isinstance(answer, ServerError)
        for problem in answer.problems
    ]
    if problems:
        raise ServerError.many(problems)
    return 0


@contextmanager
def _server(options: argparse.Namespace, progress: console.Progress) -> Iterator[str]:
    """gRPC address of the server to ask."""
    from repository_builder.serving import state
    from repository_builder.serving.server import serve

    if options.url:
        yield options.url
        return
    running = state.serving(options.repository) if options.repository else _newest_with(options.model)
    if running is not None:
        if running.outdated:
            console.note(f"{running.repository} was built anew since the server started: restart `triton-repo serve`")
        yield running.grpc
    elif options.repository:
        with serve(options.repository, progress=progress, graceful=False) as server:
            yield server.grpc
    else:
        raise ServerError(
            f"no server to ask for model `{options.model}`",
            why="no `triton-repo serve` runs now",
            fix="start one in another terminal: `triton-repo serve model_repository`; or give --repository model_repository "
            "(serves it for this call) or --url HOST:PORT (gRPC)",
        )


def _newest_with(model: str) -> RunningServer | None:
    """The newest running server whose repository has the model; else the newest one, whose error then lists what it has."""
    from repository_builder.serving import state

    servers = state.running()
    return next((server for server in servers if (Path(server.repository) / model).is_dir()), next(iter(servers), None))


def _answers(client: Client, options: argparse.Namespace) -> Iterator[Answer]:
    from repository_builder.serving import inputs

    metadata = client.metadata(options.model, options.version)
    batched = int(client.config(options.model, options.version).max_batch_size) > 0
    samples = [inputs.from_file(path, metadata, batched=batched) for path in options.files]
    samples += [inputs.from_text(text, metadata, batched=batched) for text in options.text]
    for sample in samples:
        try:
            yield sample, client.infer(options.model, sample.inputs, options.version)
        except ServerError as error:
            yield sample, error


def _print_json(model: str, answers: Sequence[Answer]) -> None:
    results = [
        {"input": sample.label, "error": answer.problems[0].as_json()}
        if isinstance(answer, ServerError)
        else {"input": sample.label, "outputs": {name: _as_json(array) for name, array in answer.items()}}
        for sample, answer in answers
    ]
    console.print_json({"model": model, "results": results})


def _as_json(array: Array) -> dict[str, Any]:
    from repository_builder.tensor import NUMPY_OF

    dtype = next((name for name, numpy_name in NUMPY_OF.items() if numpy_name == array.dtype.name), array.dtype.name)
    return {"dtype": dtype, "shape": list(array.shape), "data": _plain(array.tolist())}


def _show(answers: Sequence[Answer]) -> None:
    good = [(sample.label, answer) for sample, answer in answers if not isinstance(answer, ServerError)]
    if not good:
        return
    columns = [name for name, array in good[0][1].items() if _is_ranking(array, good[0][1])]
    if columns:
        rows = [
            (_shortened(label) if rank == 0 else "", *(_cell(answer[name].reshape(-1)[rank]) for name in columns))
            for label, answer in good
            for rank in range(answer[columns[0]].size)
        ]
        console.table(("input", *columns), rows)
    rest = [name for name in good[0][1] if name not in columns]
    if rest:
        cells = [
            (_shortened(label), name, f"{array.dtype}{list(array.shape)}".replace("object", "string"), _summary(array))
            for label, answer in good
            for name, array in answer.items()
            if name in rest
        ]
        console.table(("input", "output", "type", "values"), cells)


def _is_ranking(array: Array, answer: Mapping[str, Array]) -> bool:
    """Outputs that stand side by side: [1, k] like the answer's first STRING output (labels beside their scores)."""
    labels = next((other for other in answer.values() if other.dtype == object), None)
    return labels is not None and labels.ndim == 2 and array.shape == labels.shape


def _cell(value: Any) -> str:
    plain = _plain(value)
    return f"{float(value):.4f}" if hasattr(value, "dtype") and value.dtype.kind == "f" else str(plain)


def _summary(array: Array) -> str:
    flat = array.reshape(-1)
    cells = [_cell(value) for value in flat[:_SHOWN_ELEMENTS]]
    return f"[{', '.join(cells)}, …] {flat.size} in all" if flat.size > _SHOWN_ELEMENTS else f"[{', '.join(cells)}]"


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _shortened(text: str) -> str:
    return text if len(text) <= 48 else f"{text[:45]}…"
