"""Repairing files: one or many, in a pool of processes, with one record per model. A crash costs one model, not the run."""

from __future__ import annotations

import atexit
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repository_builder.errors import GraphError, RepositoryBuilderError
from repository_builder.onnx_graph.verdict import Judge

if TYPE_CHECKING:
    import onnx

SINGLE_FILE_BYTES = 2**31 - 2**26
"""Larger graphs are judged but not repaired: a protobuf message ends at 2 GiB."""


@dataclass(frozen=True)
class Record:
    """What became of one file."""

    source: str
    target: str
    """The file that was written; empty if none was."""
    accepted_before: bool
    accepted_after: bool
    repairs: Mapping[str, int]
    """Repair → how many nodes (or once, for a change of the whole graph)."""
    rejected: Sequence[Mapping[str, str]]
    """Repairs that were tried and dropped, with the reason."""
    difference: float
    samples: int
    reason: str
    """Why it is not accepted; empty if it is."""
    judged_by: str
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Order:
    """What to do with every file."""

    wanted: str | None
    """As `--for`."""
    leave: frozenset[str] = frozenset()
    optimize: bool = False


def repair_files(jobs: Mapping[Path, Path], order: Order, *, processes: int = 1) -> Iterator[Record]:
    """Repair every source file into its target, in child processes, in any order of completion."""
    left = dict(jobs)
    for record in _pooled(left, order, processes):
        left.pop(Path(record.source))
        yield record
    for source, target in left.items():  # a process died: each of what is left gets one of its own
        records = list(_pooled({source: target}, order, 1))
        yield records[0] if records else _failed(source, "the process died on this graph (see the system's log)", 0.0)


def _pooled(jobs: Mapping[Path, Path], order: Order, processes: int) -> Iterator[Record]:
    """Records until the pool breaks."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        futures: list[Future[Record]] = [pool.submit(repair_file, s, t, order) for s, t in jobs.items()]
        for future in as_completed(futures):
            if isinstance(future.exception(), BrokenProcessPool):
                return
            yield future.result()


def repair_file(source: Path, target: Path, order: Order) -> Record:
    """Repair one file. A graph that cannot be read is a record too, not an exception."""
    from repository_builder.onnx_graph import external, read
    from repository_builder.onnx_graph.repair import repair

    start = time.monotonic()
    try:
        model = read.load(source, sort=True)
        if model.ByteSize() + external.size(model) > SINGLE_FILE_BYTES:
            return _judged_only(source, model, order, start)
        external.load_into(model, source.parent)
        result = repair(model, _judge(order.wanted), leave=order.leave, optimize=order.optimize)
    except GraphError as error:
        return _failed(source, "; ".join(f"{p.what}: {p.why}" for p in error.problems), time.monotonic() - start)
    save(result.model, target)
    counts: dict[str, int] = {}
    for applied in result.applied:
        counts[applied.repair] = counts.get(applied.repair, 0) + 1
    return Record(
        str(source),
        str(target),
        result.before.accepted,
        result.accepted,
        counts,
        [rejected.as_json() for rejected in result.rejected],
        result.difference,
        result.samples,
        "; ".join(f"{c.operator or 'graph'}: {c.why}" for c in result.after.complaints[:3]),
        result.after.source,
        round(time.monotonic() - start, 3),
    )


@lru_cache
def _judge(wanted: str | None) -> Judge:
    """One judge per process, ended with it: starting a parser takes longer than asking it."""
    from repository_builder.onnx_graph.judges import judge_for

    opened = ExitStack()
    atexit.register(opened.close)
    return opened.enter_context(judge_for(wanted))


def _judged_only(source: Path, model: onnx.ModelProto, order: Order, start: float) -> Record:
    """A graph that no message can hold: the parser judges the file, and nothing is written."""
    verdict = _judge(order.wanted).judge(model, source)
    refused = "; ".join(f"{c.operator or 'graph'}: {c.why}" for c in verdict.complaints[:3])
    reason = f"{refused} (with its weights the graph exceeds 2 GiB: repair it at export)" if refused else ""
    seconds = round(time.monotonic() - start, 3)
    accepted = verdict.accepted
    return Record(str(source), "", accepted, accepted, {}, [], 0.0, 0, reason, verdict.source, seconds)


def _failed(source: Path, reason: str, seconds: float) -> Record:
    return Record(str(source), "", False, False, {}, [], 0.0, 0, reason, "", round(seconds, 3))


def save(model: onnx.ModelProto, target: Path) -> None:
    """Write the graph, complete or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".repair-") as scratch:
        part = Path(scratch, target.name)
        try:
            part.write_bytes(model.SerializeToString(deterministic=True))
            part.replace(target)
        except OSError as error:
            raise RepositoryBuilderError(
                f"cannot write `{target}`", where=target, why=str(error), fix="check space and permissions"
            ) from error
