"""How a Triton server is told about plugin libraries."""

from __future__ import annotations

from collections.abc import Iterable


def wiring(libraries: Iterable[str]) -> list[str]:
    """Server arguments that make Triton's TensorRT backend load `libraries` (paths as the server sees them).

    Triton only `dlopen`s them at start-up; each is named once, in a stable order. Without libraries: no argument.
    A `;` cannot be part of a path: the backend splits there.
    """
    distinct = list(dict.fromkeys(libraries))
    for path in distinct:
        if ";" in path or "," in path:
            from repository_builder.errors import RepositoryError

            raise RepositoryError(
                f"the plugin library `{path}` cannot be named on Triton's command line",
                why="the TensorRT backend separates libraries with `;` and settings with `,`",
                fix="rename the folder or the file",
            )
    return [f"--backend-config=tensorrt,plugins={';'.join(distinct)}"] if distinct else []
