"""The production container: the exact `docker run` line of a repository, shown or run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from repository_builder.errors import RepositoryError, ServerError, ToolMissing
from repository_builder.repository import launch, manifest
from repository_builder.repository.container import Container


def command(repository: Path) -> list[str]:
    """The `docker run` line for a repository that we built, from its manifest alone."""
    record = manifest.read(repository)
    if record is None:
        raise RepositoryError(
            f"cannot tell which container serves {repository}",
            why=f"it has no {manifest.FILENAME}: it was not made by triton-repo",
            fix="build it with `triton-repo build`, or start a container of your choice by hand",
        )
    image = launch.LOCAL_IMAGE if "Dockerfile" in record.files else ""
    return launch.docker_run(Container.from_json(record.container), str(repository.resolve()), image)


def preparation(repository: Path) -> list[str]:
    """The `docker build` line where the Python models need more than the pinned image has; else empty."""
    if not (repository / "Dockerfile").is_file():
        return []
    return ["docker", "build", "--tag", launch.LOCAL_IMAGE, str(repository.resolve())]


def run(repository: Path) -> int:
    """Build the image where that is needed and serve until the container ends; its exit code."""
    lines = [line for line in (preparation(repository), command(repository)) if line]
    if shutil.which("docker") is None:
        raise ToolMissing(
            "cannot start the container",
            why="there is no program `docker` on the PATH",
            fix="install Docker and NVIDIA's container toolkit, or run the line of `--dry-run` where they are",
        )
    for line in lines:
        if code := subprocess.run(line, check=False).returncode:
            raise ServerError(
                f"`{' '.join(line[:2])}` ended with code {code}",
                why="see its output above",
                fix="a GPU needs NVIDIA's container toolkit; a pinned image must be pulled once",
            )
    return 0
