"""Served latency against `trtexec` for the same plan, in one run: what Triton adds to the engine.

    python benchmarks/served_latency.py model_repository [--model digits_core] [--requests 200]

Needs a GPU, Docker with NVIDIA's container toolkit, and a repository built for tensorrt_plan. `trtexec` runs in the container
that serves, on the plan of the repository, at min, opt and max of every profile (CUDA graphs only where the config has them);
then the same container serves, and the same shapes are asked one request at a time over gRPC. The table has `trtexec`'s
median, the time in the backend by Triton's own statistics, the client's median, and their ratios to `trtexec`.
`--dry-run` prints the lines that would be run.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from repository_builder import console
from repository_builder.errors import RepositoryBuilderError, RepositoryError, ServerError, ToolMissing
from repository_builder.machine import Gpu, able, this_machine
from repository_builder.release.measurement import Point, read_trtexec, trtexec_command
from repository_builder.release.measuring import Engine, engines
from repository_builder.repository.pbtxt import parse
from repository_builder.repository.releases import numbers
from repository_builder.repository.server_line import MOUNT, PORTS
from repository_builder.serving import container
from repository_builder.serving.client import Client
from repository_builder.tensor import NUMPY_OF

TRTEXEC = "/usr/src/tensorrt/bin/trtexec"
START_SECONDS = 300.0


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=Path)
    parser.add_argument("--model", action="append", help="only this Triton model (the one with the plan)")
    parser.add_argument("--requests", type=int, default=200, help="requests per shape (default: %(default)s)")
    parser.add_argument("--dry-run", action="store_true")
    options = parser.parse_args(arguments)
    if options.requests < 1:
        parser.error("--requests must be at least 1")
    try:
        return _run(options)
    except RepositoryBuilderError as error:
        print(error, file=sys.stderr)
        return error.exit_code


def _run(options: argparse.Namespace) -> int:
    found = [engine for engine in engines(options.repository, options.model) if engine.package == "tensorrt"]
    if not found:
        raise RepositoryError(
            f"there is no plan of the full TensorRT in {options.repository}",
            why="trtexec and Triton's TensorRT backend take no other",
            fix="build it for tensorrt_plan on a machine with a GPU",
        )
    asked = [(engine, p) for engine in found for p in engine.points if p.at in ("min", "opt", "max")]
    if options.dry_run:
        for engine, point in asked:
            print(shlex.join(_trtexec(options.repository, engine, point, Path("/tmp"))))
        print(shlex.join(container.command(options.repository)))
        return 0
    _require(found)
    bare = {point.key: _measured(options.repository, engine, point) for engine, point in asked}
    with _served(options.repository) as client:
        served = {point.key: _served_ms(client, point, options.requests) for _, point in asked}
    rows = [_row(point, bare[point.key], *served[point.key]) for _, point in asked]
    console.table(
        ("model", "profile", "at", "batch", "trtexec ms", "backend ms", "client ms", "backend", "client"), rows
    )
    return 0


def _require(found: list[Engine]) -> None:
    if shutil.which("docker") is None:
        raise ToolMissing(
            "cannot measure here",
            why="there is no program `docker` on the PATH",
            fix="run it on the machine that serves",
        )
    for engine in found:
        runs_on = able(engine.package, engine.compute_capabilities, this_machine())
        if not isinstance(runs_on, Gpu):
            raise ToolMissing(f"cannot measure `{engine.model}` here", why=runs_on.why, fix=runs_on.fix)


def _trtexec(repository: Path, engine: Engine, point: Point, folder: Path) -> list[str]:
    """`trtexec` of the serving container on the mounted plan, with CUDA graphs as Triton will use them."""
    line = container.command(repository)
    image = line[line.index(f"{repository.resolve()}:{MOUNT}:ro") + 1]
    plan = Path(MOUNT) / engine.plan.relative_to(repository)
    command = trtexec_command(plan, point, Path("/out/times.json"), major=numbers(engine.version)[0], program=TRTEXEC)
    config = parse((engine.plan.parent.parent / "config.pbtxt").read_text(), "config.pbtxt").config
    if config.optimization.cuda.graphs:
        command = [word for word in command if word != "--noCudaGraph"]
    mounts = ["-v", f"{repository.resolve()}:{MOUNT}:ro", "-v", f"{folder}:/out"]
    return ["docker", "run", "--rm", "--gpus", "all", *mounts, image, *command]


def _measured(repository: Path, engine: Engine, point: Point) -> float:
    with tempfile.TemporaryDirectory() as name:
        done = subprocess.run(
            _trtexec(repository, engine, point, Path(name)), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ServerError(f"trtexec failed at {point.key}", why=done.stdout[-400:] + done.stderr[-400:])
        return read_trtexec(Path(name, "times.json")).median_ms


@contextmanager
def _served(repository: Path) -> Iterator[Client]:
    """A client of the repository's container, which ends with the block."""
    for line in filter(None, [container.preparation(repository)]):
        subprocess.run(line, check=True)
    server = subprocess.Popen(container.command(repository), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with Client(f"127.0.0.1:{PORTS['grpc']}") as client:
            end = time.monotonic() + START_SECONDS
            while not client.ready():
                if server.poll() is not None or time.monotonic() > end:
                    raise ServerError(
                        "the container did not become ready", fix="start it by hand: triton-repo serve --container"
                    )
                time.sleep(1)
            yield client
    finally:
        server.terminate()
        server.wait(60)


def _served_ms(client: Client, point: Point, requests: int) -> tuple[float, float]:
    """Milliseconds in the backend (mean, by Triton's statistics) and at the client (median), after 20 requests to warm up."""
    import numpy as np

    types = {tensor.name: NUMPY_OF[tensor.dtype] for tensor in client.metadata(point.model).interface.inputs}
    inputs: dict[str, Any] = {name: np.zeros(shape, types[name]) for name, shape in point.shapes.items()}
    for _ in range(20):
        client.infer(point.model, inputs)
    before, times = _compute(client, point.model), []
    for _ in range(requests):
        start = time.perf_counter()
        client.infer(point.model, inputs)
        times.append((time.perf_counter() - start) * 1e3)
    return (_compute(client, point.model) - before) / requests, statistics.median(times)


def _compute(client: Client, model: str) -> float:
    """Milliseconds that the model has spent in its backend so far."""
    return float(client.statistics(model).inference_stats.compute_infer.ns) / 1e6


def _row(point: Point, bare: float, backend: float, client: float) -> tuple[object, ...]:
    times = [f"{ms:.3f}" for ms in (bare, backend, client)]
    return (point.model, point.profile, point.at, point.batch, *times, f"{backend / bare:.2f}", f"{client / bare:.2f}")


if __name__ == "__main__":
    sys.exit(main())
