"""Serve a model repository with the embedded Triton until Ctrl-C.

The server is real (Triton 2.51.0) but old: it is for development and tests, and listens on 127.0.0.1 only. Production
serves the same repository with the pinned NGC container. On first use the server is installed into a folder of its own.

examples:
  triton-repo serve model_repository
  triton-repo serve model_repository --http-port 8000 --grpc-port 8001 --metrics-port 8002
  triton-repo serve model_repository --rehearse        # a repository made for TensorRT, on a machine without a GPU
  triton-repo serve model_repository --container --dry-run  # the production container's exact `docker run` line
  triton-repo serve model_repository --trace t.json    # where the time of requests goes
  triton-repo serve model_repository --json | jq .grpc # one JSON document when it is ready

While it runs: `triton-repo infer MODEL FILE` and `triton-repo verify REPOSITORY` find it by themselves.

exit codes: 0 stopped by Ctrl-C or SIGTERM (130 before it was ready), 8 no repository, 9 the server did not start or
died, 10 no embedded server
"""

from __future__ import annotations

import argparse
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from repository_builder import console
from repository_builder.errors import SpecError

if TYPE_CHECKING:
    from repository_builder.serving.server import Server


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("repository", metavar="REPOSITORY", type=Path, help="folder that holds the models")
    for name in ("http", "grpc", "metrics"):
        parser.add_argument(f"--{name}-port", type=int, default=0, metavar="PORT", help="default: a free one")
    parser.add_argument(
        "--control",
        choices=("none", "explicit"),
        default="none",
        help="none: load every model now; explicit: load none, models are loaded by request",
    )
    parser.add_argument(
        "--rehearse", action="store_true", help="serve a copy in which models made for a GPU run on the CPU"
    )
    parser.add_argument("--container", action="store_true", help="run the pinned NGC container (needs Docker)")
    parser.add_argument("--dry-run", action="store_true", help="with --container: only print the lines")
    parser.add_argument(
        "--auto-complete", action="store_true", help="let backends fill in what a config.pbtxt leaves out"
    )
    parser.add_argument("--log", type=Path, metavar="FILE", help="the server's log (default: in the cache folder)")
    parser.add_argument(
        "--trace",
        type=Path,
        metavar="FILE",
        help="record when requests are queued and computed; Ctrl-C writes a timeline",
    )
    parser.add_argument(
        "--trace-rate", type=int, default=100, metavar="N", help="trace every N-th request (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print addresses as one JSON document when ready")


def run(options: argparse.Namespace) -> int:
    """Serve until interrupted."""
    if options.container or options.dry_run:
        return _container(options)
    from repository_builder.serving import state, trace
    from repository_builder.serving.server import serve

    if options.trace:
        _require_writable(options.trace)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    ready = False
    try:
        with ExitStack() as stack:
            with console.progress("serve", quiet=options.json) as progress:
                _compare(options.repository, progress)
                server = stack.enter_context(
                    serve(
                        options.repository,
                        http_port=options.http_port,
                        grpc_port=options.grpc_port,
                        metrics_port=options.metrics_port,
                        control=options.control,
                        rehearse=options.rehearse,
                        auto_complete=options.auto_complete,
                        log=options.log,
                        progress=progress,
                        extra_args=trace.arguments(options.trace, options.trace_rate) if options.trace else (),
                    )
                )
            record = state.RunningServer.of(server, rehearsal=options.rehearse)
            stack.enter_context(state.announced(record))
            ready = True
            _announce(server, record, as_json=options.json)
            if server.wait() != 0:
                raise server.failure()
    except KeyboardInterrupt:
        if not ready:
            raise
    if options.trace:
        console.note(f"trace: {options.trace}, timeline (ui.perfetto.dev): {trace.write_timeline(options.trace)}")
    console.note("stopped")
    return 0


def _compare(repository: Path, progress: console.Progress) -> None:
    """Say which files are not what `build` wrote: by hand, by accident or by somebody else."""
    from repository_builder.repository import integrity, manifest

    record = manifest.read(repository)
    changed = integrity.changed(repository, record, progress) if record else []
    for problem in changed[:10]:
        console.note(f"warning: not as it was built: {problem}")
    if len(changed) > 10:
        console.note(f"warning: and {len(changed) - 10} files more")


def _container(options: argparse.Namespace) -> int:
    """Run the production container, or show how."""
    import shlex

    from repository_builder.serving import container

    if not options.container:
        raise SpecError("`--dry-run` shows what `--container` would run", fix="write both")
    if not options.dry_run:
        return container.run(options.repository)
    lines = [
        line for line in (container.preparation(options.repository), container.command(options.repository)) if line
    ]
    if options.json:
        console.print_json(lines)
    else:
        print("\n".join(map(shlex.join, lines)))
    return 0


def _require_writable(file: Path) -> None:
    """The server itself would only log that it cannot write its trace, at its end."""
    try:
        file.write_text("")
    except OSError as error:
        raise SpecError(
            "cannot write the trace", where=file, why=error.strerror or str(error), fix="name another file with --trace"
        ) from error


def _announce(server: Server, record: object, *, as_json: bool) -> None:
    import sys
    from dataclasses import asdict
    from typing import Any, cast

    if as_json:
        console.print_json(asdict(cast("Any", record)))
        sys.stdout.flush()
        return
    model = _example(server.repository)
    print(f"serving {server.repository}")
    for name, address in (("http", server.http), ("grpc", server.grpc), ("metrics", f"{server.metrics}/metrics")):
        print(f"  {name:<8}{address}")
    print(f"  log     {server.log}")
    print(f"try:  curl http://{server.http}/v2/models/{model}")
    print(f"      triton-repo infer {model} FILE", flush=True)
    console.note("Ctrl-C stops the server")


def _example(repository: Path) -> str:
    """A model to show in the example line: a public one where the repository says which those are."""
    from repository_builder.repository import manifest

    record = manifest.read(repository)
    if record is not None:
        public = sorted(name for name, entry in record.models.items() if entry.public)
        if public:
            return public[0]
    return next((path.parent.name for path in sorted(repository.glob("*/config.pbtxt"))), "MODEL")
