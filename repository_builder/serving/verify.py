"""Replays golden inputs through a running server and compares its answers with the recorded reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repository_builder.console import Progress, silent
from repository_builder.errors import RepositoryError, nearest
from repository_builder.repository import golden
from repository_builder.serving.client import Client
from repository_builder.serving.server import Server

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Difference:
    """One element that is not what it should be."""

    index: tuple[int, ...]
    expected: object
    actual: object

    def __str__(self) -> str:
        return f"{list(self.index)}: expected {self.expected!r}, got {self.actual!r}"


@dataclass(frozen=True)
class Comparison:
    """One output against its reference."""

    tensor: str
    equal: bool
    """Within the tolerance of the golden file for floating point; exactly, for other types."""
    why: str
    """Empty when equal."""
    elements: int
    wrong: int
    max_abs: float | None
    """Largest absolute difference of finite floating-point elements; None for other types."""
    cosine: float | None
    """Of the two outputs as flat vectors; None for other types and where one is all zeros."""
    worst: Difference | None


@dataclass(frozen=True)
class Verification:
    """One model's answers against the reference."""

    model: str
    origin: str
    """Where the golden inputs come from."""
    samples: int
    """Rows of the batch, or 1 where the model does not batch."""
    requests: int
    outputs: tuple[Comparison, ...]

    @property
    def passed(self) -> bool:
        """Whether every output agrees."""
        return all(output.equal for output in self.outputs)

    def as_json(self) -> dict[str, Any]:
        """The result for `--json`."""
        return asdict(self) | {"passed": self.passed}


def verify(
    server: Server | str,
    repository: Path,
    models: Sequence[str] | None = None,
    *,
    progress: Progress = silent,
    timeout_s: float = 120.0,
) -> list[Verification]:
    """Replay `<model>/golden.npz` of each model (default: all that have one) through the server, at `host:port` of gRPC.

    Batches are split to the model's `max_batch_size`. A difference is a result; raises `RepositoryError` when there is
    nothing to replay and `ServerError` when the server does not answer a request.
    """
    files = golden_files(repository, models)
    with Client(server if isinstance(server, str) else server.grpc, timeout_s=timeout_s) as client:
        results = []
        for number, (model, file) in enumerate(files.items()):
            progress(f"replaying the golden inputs of {model}", number / len(files))
            results.append(replay(client, model, _read(file)))
    return results


def golden_files(repository: Path, models: Sequence[str] | None = None) -> dict[str, Path]:
    """Model → golden file; raises `RepositoryError` for a model without one, and if there is none at all."""
    found = {path.parent.name: path for path in sorted(repository.glob(f"*/{golden.FILENAME}"))}
    for model in models or ():
        if model not in found:
            raise RepositoryError(
                f"cannot verify model `{model}`{nearest(model, found)}",
                where=repository / model / golden.FILENAME,
                why="there is no such file",
                fix=f"models with golden files: {', '.join(found) or 'none'}",
            )
    if not found:
        raise RepositoryError(
            "cannot verify the repository",
            where=repository,
            why=f"no model has a {golden.FILENAME}",
            fix="`triton-repo build` records golden inputs and outputs; build the repository with it",
        )
    return {model: found[model] for model in models} if models else found


def replay(client: Client, model: str, recorded: golden.Golden) -> Verification:
    """Send one model's golden inputs and compare what comes back."""
    import numpy as np

    limit = int(client.config(model).max_batch_size)
    batches = list(split(recorded.inputs, limit))
    answers = [client.infer(model, batch) for batch in batches]
    comparisons = []
    for name, reference in recorded.outputs.items():
        parts = [answer[name] for answer in answers if name in answer]
        if len(parts) != len(answers):
            comparisons.append(_failed(name, reference, f"the model has no output `{name}`"))
        elif len({part.shape[1:] for part in parts}) > 1:
            shapes = ", ".join(str(list(part.shape)) for part in parts)
            comparisons.append(_failed(name, reference, f"the shapes differ from batch to batch: {shapes}"))
        else:
            actual = parts[0] if len(parts) == 1 else np.concatenate(parts)
            comparisons.append(compare(name, reference, actual, recorded.atol, recorded.rtol))
    samples = len(next(iter(recorded.inputs.values()))) if limit else 1
    return Verification(model, recorded.origin, samples, len(batches), tuple(comparisons))


def split(inputs: golden.Arrays, max_batch_size: int) -> Iterator[dict[str, Array]]:
    """Batches of at most `max_batch_size` rows; the inputs as they are where the model does not batch (0)."""
    rows = len(next(iter(inputs.values()))) if max_batch_size else 1
    for start in range(0, rows, max_batch_size or 1):
        yield {
            name: array[start : start + max_batch_size] if max_batch_size else array for name, array in inputs.items()
        }


def compare(tensor: str, reference: Array, actual: Array, atol: float, rtol: float) -> Comparison:
    """Element by element: |actual - reference| ≤ atol + rtol·|reference| for floating point (NaN equals NaN), else equality."""
    import numpy as np

    if reference.shape != actual.shape:
        return _failed(tensor, reference, f"shape {list(actual.shape)} instead of {list(reference.shape)}")
    if (reference.dtype == object) != (actual.dtype == object) or reference.dtype.kind != actual.dtype.kind:
        return _failed(tensor, reference, f"type {actual.dtype} instead of {reference.dtype}")
    if reference.dtype.kind != "f":
        wrong = _as_bytes(reference) != _as_bytes(actual)
        return _result(tensor, reference, actual, np.asarray(wrong), np.asarray(wrong, np.float64))
    expected, got = reference.astype(np.float64), actual.astype(np.float64)
    same = (expected == got) | (np.isnan(expected) & np.isnan(got))
    with np.errstate(invalid="ignore"):
        distance = np.where(same, 0.0, np.abs(got - expected))
        close = np.isfinite(expected) & (distance <= atol + rtol * np.abs(expected))
    wrong = ~(same | close)
    finite = distance[np.isfinite(distance)]
    largest = float(finite.max(initial=0.0))
    return _result(tensor, reference, actual, wrong, distance, max_abs=largest, cosine=_cosine(expected, got))


def _result(
    tensor: str,
    reference: Array,
    actual: Array,
    wrong: Array,
    distance: Array,
    *,
    max_abs: float | None = None,
    cosine: float | None = None,
) -> Comparison:
    import numpy as np

    count = int(np.count_nonzero(wrong))
    if not count:
        return Comparison(tensor, True, "", int(reference.size), 0, max_abs, cosine, None)
    ranked = np.where(wrong, np.nan_to_num(distance, nan=np.inf, posinf=np.inf), -1.0)
    index = np.unravel_index(int(np.argmax(ranked)), ranked.shape)
    worst = Difference(tuple(int(i) for i in index), _plain(reference[index]), _plain(actual[index]))
    return Comparison(
        tensor,
        False,
        f"{count} of {reference.size} elements differ",
        int(reference.size),
        count,
        max_abs,
        cosine,
        worst,
    )


def _failed(tensor: str, reference: Array, why: str) -> Comparison:
    return Comparison(tensor, False, why, int(reference.size), int(reference.size), None, None, None)


def _cosine(left: Array, right: Array) -> float | None:
    import numpy as np

    a, b = left.ravel(), right.ravel()
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / scale if np.isfinite(scale) and scale > 0 else None


def _as_bytes(array: Array) -> Array:
    """Strings as bytes, so that `str` and `bytes` of one text are equal."""
    import numpy as np

    if array.dtype != object:
        return array
    items = [item if isinstance(item, bytes) else str(item).encode() for item in array.ravel()]
    result = np.empty(len(items), object)
    result[:] = items
    return result.reshape(array.shape)


def _plain(value: Any) -> object:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value.item() if hasattr(value, "item") else value


def _read(path: Path) -> golden.Golden:
    import zipfile

    try:
        return golden.read(path)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise RepositoryError(
            "cannot read the golden file", where=path, why=str(error), fix="build the repository again"
        ) from None
