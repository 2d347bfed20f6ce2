"""The process in which an engine is built: here, or inside a container of the pinned release.

Here, reports come over a pipe of their own. A container passes no further pipes on, so there they come over standard
output, and the log over standard error. In both, standard input is the leash that cancels the build, and output is
unbuffered: the last lines before NVIDIA's parser ends the process are the ones that matter.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from repository_builder.console import Progress
from repository_builder.errors import ToolMissing

WORKER = Path(__file__).with_name("engine_worker.py")
GRACE_SECONDS = 10.0
"""How long a cancelled builder may take to notice; NVIDIA's builder asks its progress monitor between steps."""


@dataclass(frozen=True)
class Place:
    """Where the builder runs: an interpreter of this machine, or `python3` of an image."""

    python: str
    image: str = ""


def run(wanted: Mapping[str, Any], place: Place, log: Path, progress: Progress) -> tuple[dict[str, Any], int]:
    """Run the worker on one request; its last report and its exit code. It does not outlive this call."""
    with tempfile.TemporaryDirectory(prefix="triton-repo-engine-") as scratch:
        path = Path(scratch, "request.json")
        path.write_text(json.dumps(wanted), encoding="utf-8")
        with log.open("ab") as output, _started(wanted, place, path, output) as (child, reports):
            return _follow(child, reports, progress), child.returncode


@contextmanager
def _started(
    wanted: Mapping[str, Any], place: Place, path: Path, output: IO[bytes]
) -> Iterator[tuple[subprocess.Popen[bytes], IO[str]]]:
    if place.image:
        command = container_command(wanted, place.image, path)
        try:
            child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output, start_new_session=True
            )
        except FileNotFoundError as error:
            raise ToolMissing(
                "cannot build inside a container", why="there is no program `docker` on the PATH",
                fix="install Docker and NVIDIA's container toolkit, or install the package `tensorrt` and build here",
            ) from error  # fmt: skip
        with os.fdopen(os.dup(child.stdout.fileno() if child.stdout else 0)) as reports:
            yield child, reports
        return
    read_fd, write_fd = os.pipe()
    with os.fdopen(read_fd) as reports:
        child = subprocess.Popen(
            [place.python, "-I", "-u", str(WORKER), str(path), str(write_fd)],
            stdin=subprocess.PIPE, stdout=output, stderr=output, pass_fds=(write_fd,), start_new_session=True,
        )  # fmt: skip
        os.close(write_fd)
        yield child, reports


def container_command(wanted: Mapping[str, Any], image: str, request: Path) -> list[str]:
    """`docker run` with every folder that the request names, at the same path inside; files belong to the caller."""
    read = {WORKER.parent, request.parent, Path(wanted["onnx"]).parent, *(Path(p).parent for p in wanted["plugins"])}
    written = {Path(wanted["out"])} | ({Path(wanted["timing_cache"]).parent} if wanted["timing_cache"] else set())
    for folder in written:
        folder.mkdir(parents=True, exist_ok=True)
    mounts = [f"{folder}:{folder}:ro" for folder in sorted(read - written)]
    mounts += [f"{folder}:{folder}" for folder in sorted(written)]
    return [
        "docker", "run", "--rm", "--init", "--interactive", "--gpus", "all", "--network", "none",
        "--user", f"{os.getuid()}:{os.getgid()}",
        *(word for mount in mounts for word in ("--volume", mount)),
        image, "python3", "-I", "-u", str(WORKER), str(request), "-",
    ]  # fmt: skip


def _follow(child: subprocess.Popen[bytes], reports: IO[str], progress: Progress) -> dict[str, Any]:
    """Pass progress on until the child ends; its last report. Whatever happens here, the child does not outlive it."""
    last: dict[str, Any] = {}
    try:
        for line in reports:
            if line.startswith("{"):
                last = json.loads(line)
                if "progress" in last:
                    progress(f"engine: {last['progress']}", last.get("fraction"))
        child.wait()
    finally:
        if child.poll() is None:
            _cancel(child)
        for stream in (child.stdin, child.stdout):
            if stream:
                stream.close()
    return last


def _cancel(child: subprocess.Popen[bytes]) -> None:
    try:
        if child.stdin:
            child.stdin.close()  # the leash: the builder stops at its next step
        child.wait(GRACE_SECONDS)
    except (subprocess.TimeoutExpired, BrokenPipeError):
        child.kill()
        child.wait()
