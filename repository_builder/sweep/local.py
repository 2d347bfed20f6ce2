"""Everything a sweep stands on: one sweep per host, a server under explicit control, perf_analyzer, real inputs, the store."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repository_builder.console import Progress
from repository_builder.errors import RepositoryError, ServerError
from repository_builder.machine import this_machine
from repository_builder.repository import golden
from repository_builder.resources import cache_folder
from repository_builder.serving.client import Client
from repository_builder.serving.embedded import TRITON_VERSION
from repository_builder.serving.perf_analyzer import PerfAnalyzer, write_input_data
from repository_builder.serving.server import serve
from repository_builder.serving.verify import golden_files
from repository_builder.sweep.load import LoadGenerator
from repository_builder.sweep.measure import Bench, restoring
from repository_builder.sweep.store import Fingerprint, Session, fingerprint
from repository_builder.sweep.subject import Subject

SHARED_MEMORY_FROM = 1 << 20
"""Bytes per request from which tensors travel through shared memory: sending them would cost the server's processor."""


@dataclass(frozen=True)
class Requests:
    """What is sent: a file for perf_analyzer, one request for warming up, and further arguments."""

    file: Path
    first: Mapping[str, Any] | None
    arguments: tuple[str, ...] = ()


@contextmanager
def only_sweep() -> Iterator[None]:
    """The right to measure on this host; raises ServerError if another sweep has it: each would disturb the other."""
    file = cache_folder() / "sweep.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace") or "unknown"
            raise ServerError(
                "another sweep is running on this host",
                where=file,
                why=f"process {holder} is measuring: two sweeps at once would measure each other",
                fix="wait until it has finished",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def here(analyzer: PerfAnalyzer) -> Fingerprint:
    """This machine and the versions of what serves and measures."""
    machine = this_machine()
    versions = {"triton": TRITON_VERSION, "python": machine.python, "perf_analyzer": _version(analyzer)}
    versions |= machine.versions("onnxruntime")
    return fingerprint(versions, tuple(f"{gpu.name} ({gpu.driver})" for gpu in machine.gpus))


@contextmanager
def requests_of(repository: Path | None, model: str, *, batched: bool, file: Path | None) -> Iterator[Requests]:
    """Golden inputs of the model, or recorded requests in perf_analyzer's JSON format."""
    if file is not None:
        if not file.is_file():
            raise RepositoryError("cannot read the input data", where=file, why="there is no such file")
        yield Requests(file, None)
        return
    if repository is None:
        raise RepositoryError(
            "there are no inputs to send",
            why="a remote server does not give away its golden files",
            fix="name the repository with --golden REPOSITORY, or recorded requests with --input-data FILE",
        )
    recorded = golden.read(golden_files(repository, [model])[model])
    inputs = recorded.inputs
    first = {name: array[:1] if batched else array for name, array in inputs.items()}
    with ExitStack() as stack:
        import tempfile

        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="triton-repo-sweep-"))
        path = Path(folder, "input_data.json")
        write_input_data(path, inputs, batched=batched)
        yield Requests(path, first, _shared_memory(first, recorded.outputs))


def _shared_memory(first: Mapping[str, Any], outputs: Mapping[str, Any]) -> tuple[str, ...]:
    """Arguments that send large tensors through shared memory; strings have no fixed size and stay in the request."""
    size = sum(array.nbytes for array in first.values())
    if size < SHARED_MEMORY_FROM or any(array.dtype == object for array in (*first.values(), *outputs.values())):
        return ()
    largest = max(array.nbytes for array in outputs.values())  # of all recorded rows: more than one request needs
    return ("--shared-memory", "system", "--output-shared-memory-size", str(max(largest, 102_400)))


@dataclass(frozen=True)
class Kit:
    """What both kinds of bench need."""

    subject: Subject
    analyzer: PerfAnalyzer
    session: Session
    requests: Requests

    def generator(self, url: str) -> LoadGenerator:
        """The load on the public model."""
        return LoadGenerator(self.analyzer, url, self.subject.model, self.requests.file, self.requests.arguments)


@contextmanager
def local_bench(repository: Path, kit: Kit, progress: Progress) -> Iterator[Bench]:
    """An embedded server with everything loaded as it is; stopped at the end. The repository is not touched."""
    with ExitStack() as stack:
        server = stack.enter_context(serve(repository, control="explicit", graceful=False, progress=progress))
        client = stack.enter_context(Client(server.grpc, timeout_s=120))
        bench = Bench(
            kit.subject,
            client,
            kit.generator(server.grpc),
            kit.requests.first,
            kit.session,
            server.pid,
            alive=server.alive,
            failure=server.failure,
        )
        bench.load_all()
        yield bench


@contextmanager
def remote_bench(url: str, kit: Kit, *, control: bool) -> Iterator[Bench]:
    """A running server. With `control` it is changed through the load API, and gets its own configuration back at the end."""
    with ExitStack() as stack:
        client = stack.enter_context(Client(url, timeout_s=120))
        bench = Bench(
            kit.subject,
            client,
            kit.generator(client.url),
            kit.requests.first,
            kit.session,
            None,
            alive=client.ready,
            failure=lambda: _gone(url),
        )
        if control:
            stack.enter_context(restoring(bench))
            bench.load_all()
        else:
            bench.settings |= {member.name: member.start for member in kit.subject.members}
            bench.loaded |= bench.settings
        yield bench


def _version(analyzer: PerfAnalyzer) -> str:
    """The digest of the program says it better than its own version, which is the same for many builds."""
    import hashlib

    return hashlib.sha256(analyzer.program.read_bytes()).hexdigest()[:12]


def _gone(url: str) -> ServerError:
    return ServerError("the server stopped answering", where=url, fix="look into its log; what was measured is kept")
