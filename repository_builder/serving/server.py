"""One handle on a running embedded Triton: started on free loopback ports, ready when it is handed out, stopped for
sure.

The flags follow production (facts of docs/serving.md): everything loads at start or the server ends, readiness is
strict, configs are taken as they are written (`auto_complete=True` for hand-written ones that leave things out).
"""

from __future__ import annotations

import http.client
import os
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from repository_builder.console import Progress, note, silent
from repository_builder.errors import Problem, RepositoryError, ServerError
from repository_builder.repository import lock
from repository_builder.resources import cache_folder
from repository_builder.serving import diagnosis, embedded, ports, rehearsal
from repository_builder.serving.process import SupervisedProcess, Task

EXIT_TIMEOUT_S = 10
_ATTEMPTS = 4
_KEEP_LOGS_S = 14 * 86_400


@dataclass(frozen=True)
class Options:
    """How to start a server."""

    control: Literal["none", "explicit"] = "none"
    auto_complete: bool = False
    rehearse: bool = False
    extra_args: tuple[str, ...] = ()
    ready_timeout_s: float = 600.0
    graceful: bool = True


@dataclass
class Server:
    """A running server; valid inside `serve(...)`."""

    repository: Path
    http: str
    """`127.0.0.1:port`"""
    grpc: str
    metrics: str
    log: Path
    process: SupervisedProcess
    state: diagnosis.LoadState = field(default_factory=diagnosis.LoadState)
    _read: int = 0

    @property
    def pid(self) -> int:
        """Process id of `tritonserver`."""
        return self.process.pid

    def alive(self) -> bool:
        """Whether the server still runs."""
        return self.process.alive()

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for the server to end; its exit code (negative: a signal). `TimeoutError` after `timeout_s`."""
        return self.process.wait(timeout_s)

    def close(self) -> None:
        """Stop the server now; `serve` does so by itself at the end of the block."""
        self.process.stop()

    def failure(self) -> ServerError:
        """Why the server did not come up or has ended, from its log."""
        lines = self.log.read_text(errors="replace").splitlines()
        code = None if self.alive() else self.wait()
        if code is not None and (code < 0 or self.state.listening):
            died = (
                f"killed by signal {-code}{' (out of memory?)' if code == -9 else ''}"
                if code < 0
                else f"exit code {code}"
            )
            why = "\n".join([died, *diagnosis.errors(lines)])
            found = [Problem("the server ended", str(self.repository), why, "see the log")]
        else:
            found = diagnosis.problems(lines, self.repository)
        error = ServerError.many(found)
        error.log = self.log
        return error

    def ready(self) -> bool:
        """Whether the server says so itself: every model is loaded."""
        connection = http.client.HTTPConnection(self.http, timeout=5)
        try:
            connection.request("GET", "/v2/health/ready")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def follow(self) -> None:
        """Take in what the log has said since the last call."""
        with self.log.open("rb") as log:
            log.seek(self._read)
            text = log.read()
        complete = text[: text.rfind(b"\n") + 1]
        self._read += len(complete)
        for line in complete.decode(errors="replace").splitlines():
            self.state.read(line)


@contextmanager
def serve(
    repository: Path,
    *,
    http_port: int = 0,
    grpc_port: int = 0,
    metrics_port: int = 0,
    control: Literal["none", "explicit"] = "none",
    rehearse: bool = False,
    log: Path | None = None,
    extra_args: Sequence[str] = (),
    progress: Progress = silent,
    auto_complete: bool = False,
    ready_timeout_s: float = 600.0,
    graceful: bool = True,
) -> Iterator[Server]:
    """Serve `repository` with the embedded Triton for the length of the `with` block.

    A port 0 means any free one. Stopping lets requests in flight and `finalize` of Python models end, which takes Triton
    some 3 s; `graceful=False` kills instead (nothing is left behind either way). `rehearse` serves a copy made for the
    CPU (see `rehearsal.py`). Raises `ServerError` when a port is taken or the server does not come up, `RepositoryError`
    when there is nothing to serve, `ToolMissing` when the embedded runtime cannot be installed.
    """
    repository = repository.resolve()
    _require_repository(repository)
    runtime = embedded.ensure(progress)
    options = Options(control, auto_complete, rehearse, tuple(extra_args), ready_timeout_s, graceful)
    with lock.serving(repository) as held:
        launch = _Launch(runtime, repository, log or _log_file(repository), held, options)
        wanted = {"http": http_port, "grpc": grpc_port, "metrics": metrics_port}
        with _started(launch, wanted, progress) as server:
            yield server


@dataclass(frozen=True)
class _Launch:
    """All of a start but the ports."""

    runtime: embedded.EmbeddedRuntime
    repository: Path
    log: Path
    lock: int
    options: Options

    def start(self, chosen: dict[str, int], scratch: Path) -> Server:
        """Start the process; it is not ready yet. `scratch`: a private folder that goes when the process ends."""
        mounted = self.repository
        if self.options.rehearse:
            mounted = rehearsal.mount(self.repository, scratch / self.repository.name, note)
        backends = self.runtime.assemble_backends(scratch / "backends")
        prefix = f"triton_repo_{uuid.uuid4().hex[:12]}_"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_bytes(b"")
        settings = [f"--{name}-port={port}" for name, port in chosen.items()]
        settings += [f"--backend-config={name},shm-region-prefix-name={prefix}" for name in backends]
        process = SupervisedProcess(
            Task(
                command=[*self._command(mounted, scratch / "backends"), *settings, *self.options.extra_args],
                environment=self.runtime.environment(),
                log=self.log,
                stop_timeout_s=EXIT_TIMEOUT_S + 5 if self.options.graceful else 0,
                shm_prefix=prefix,
                remove=[scratch],
                keep_open=[self.lock],
            )
        )
        http, grpc, metrics = (f"{ports.HOST}:{chosen[name]}" for name in ("http", "grpc", "metrics"))
        return Server(self.repository, http, grpc, metrics, self.log, process)

    def _command(self, mounted: Path, backends: Path) -> list[str]:
        """The command line of `tritonserver` without ports."""
        command = [str(self.runtime.server), f"--model-repository={mounted}", f"--backend-directory={backends}"]
        command += [f"--cache-directory={self.runtime.caches}", f"--model-control-mode={self.options.control}"]
        command += [f"--{endpoint}-address={ports.HOST}" for endpoint in ("http", "grpc", "metrics")]
        command += ["--exit-on-error=true", "--strict-readiness=true", f"--exit-timeout-secs={EXIT_TIMEOUT_S}"]
        command += ["--allow-sagemaker=false", "--allow-vertex-ai=false"]
        return command if self.options.auto_complete else [*command, "--disable-auto-complete-config"]


@contextmanager
def _started(launch: _Launch, wanted: dict[str, int], progress: Progress) -> Iterator[Server]:
    """A ready server; a clash of ports that were chosen here is tried again with others."""
    for attempt in range(1, _ATTEMPTS + 1):
        chosen: dict[str, int] = {}
        for name, port in wanted.items():
            chosen[name] = ports.choose(port, name, chosen.values())
        with _scratch() as scratch, closing(launch.start(chosen, scratch)) as server:
            try:
                _await_ready(server, launch.options.ready_timeout_s, progress)
            except ServerError:
                clash = "already in use" in launch.log.read_text(errors="replace")
                if clash and not all(wanted.values()) and attempt < _ATTEMPTS:
                    continue
                raise
            yield server
            return


def _await_ready(server: Server, timeout_s: float, progress: Progress) -> None:
    """Return when the server is ready; raise `ServerError` when it never will be."""
    deadline = time.monotonic() + timeout_s
    told = "starting Triton"
    progress(told)
    while True:
        alive = server.alive()
        server.follow()
        if server.state.hopeless or not alive:
            raise server.failure()
        if server.state.listening >= 3 and server.ready():
            return
        if time.monotonic() > deadline:
            raise ServerError(
                f"the server was not ready after {timeout_s:g} s",
                where=server.repository,
                why=str(server.state),
                fix="see the log for the model that does not come up",
                log=server.log,
            )
        if server.state.loading and told != (told := str(server.state)):
            progress(told, len(server.state.loaded) / len(server.state.loading))
        time.sleep(0.05)


@contextmanager
def _scratch() -> Iterator[Path]:
    """A private temporary folder; the supervisor removes it if we cannot."""
    with tempfile.TemporaryDirectory(prefix="triton-repo-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _require_repository(repository: Path) -> None:
    if not repository.is_dir():
        raise RepositoryError(
            f"there is no model repository {repository.name}",
            where=repository,
            why="it is a file" if repository.exists() else "the folder does not exist",
            fix="build one: `triton-repo build deploy.yaml`, or give the right folder",
        )
    if (repository / "config.pbtxt").is_file():
        raise RepositoryError(
            f"{repository.name} is a model, not a model repository",
            where=repository,
            why="a repository is the folder that holds models; this one has a config.pbtxt of its own",
            fix=f"give the folder above: {repository.parent}",
        )
    if not os.access(repository, os.R_OK | os.X_OK):
        raise RepositoryError(
            f"cannot read the model repository {repository.name}",
            where=repository,
            why="permission denied",
            fix="make it readable for this user",
        )
    if not any(path.is_dir() for path in repository.iterdir()):
        raise RepositoryError(
            f"the model repository {repository.name} is empty",
            where=repository,
            why="it has no folder, so there is no model to serve",
            fix="build one: `triton-repo build deploy.yaml`",
        )


def _log_file(repository: Path) -> Path:
    """A new log file in the cache folder, from which old ones are removed."""
    folder = cache_folder() / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.log"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _KEEP_LOGS_S:
                path.unlink()
    return folder / f"{repository.name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{uuid.uuid4().hex[:4]}.log"
