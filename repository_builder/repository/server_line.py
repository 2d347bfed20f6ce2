"""The server's own command line: one source for run script, Compose, Kubernetes, and what `plugin build` prints."""

from __future__ import annotations

from collections.abc import Iterable

from repository_builder.errors import RepositoryError
from repository_builder.repository.container import Container

MOUNT = "/models"
"""Where a container finds the repository."""
PORTS = {"http": 8000, "grpc": 8001, "metrics": 8002}
SHARED_MEMORY_MIB = 1024
"""Python models exchange tensors with the server through /dev/shm; the default of 64 MiB fails."""
_SEPARATORS = (";", ",")
"""The TensorRT backend splits libraries at the first, Triton a setting at the second."""


def server_arguments(container: Container) -> list[str]:
    """The server's command line inside the container."""
    arguments = ["tritonserver", f"--model-repository={MOUNT}"]
    arguments += plugin_arguments(f"{MOUNT}/{path}" for path in container.plugins)
    if container.host_code:
        arguments.append("--backend-config=tensorrt,version-compatible=true")
    return arguments


def plugin_arguments(libraries: Iterable[str]) -> list[str]:
    """What makes Triton's TensorRT backend load `libraries` (paths as the server sees them); without any: nothing.

    Triton only `dlopen`s them at start-up; each is named once, in the order given. RepositoryError for a path that the
    option cannot carry.
    """
    distinct = list(dict.fromkeys(libraries))
    for path in distinct:
        if any(separator in path for separator in _SEPARATORS):
            raise RepositoryError(
                f"the plugin library `{path}` cannot be named on Triton's command line",
                why="the TensorRT backend separates libraries with `;` and settings with `,`",
                fix="rename the folder or the file",
            )
    return [f"--backend-config=tensorrt,plugins={';'.join(distinct)}"] if distinct else []
