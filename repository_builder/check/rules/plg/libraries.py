"""PLG001 to PLG003: plugin libraries of TensorRT models."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from pathlib import Path

from repository_builder.check.inputs import Repository, Version
from repository_builder.check.rule import Found, Severity, Skip, rule
from repository_builder.check.rules.trt.settings import is_trt

_NEEDED = re.compile(rb"libnvinfer\.so\.([0-9]+)")


def libraries(repository: Repository) -> list[Path]:
    """Shared libraries at the root, and beside the plans of TensorRT models."""
    found = [repository.path / name for name in repository.files if ".so" in Path(name).suffixes]
    for model in repository.models.values():
        if is_trt(model):
            found += [model.path / name for name in model.files if ".so" in Path(name).suffixes]
            for version in model.served:
                if version.path.is_dir():
                    found += sorted(path for path in version.path.glob("*.so*") if path.is_file())
    return found


def _majors(path: Path) -> set[int]:
    """Major versions of TensorRT that a library names as needed; raises Skip if it is no library."""
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[:4] != b"\x7fELF":
                raise Skip(f"{path} is not a Linux library")
            return {int(found.group(1)) for found in _NEEDED.finditer(data)}
    except (OSError, ValueError) as error:
        raise Skip(f"{path} cannot be read: {error}") from error


@rule("PLG001", "plugin-of-another-tensorrt-major", Severity.ERROR)
def plugin_of_another_tensorrt_major(repository: Repository) -> Iterator[Found]:
    """## What it does
    Checks, with `--image`, that plugin libraries in the repository are linked against the container's major TensorRT.

    ## Why is this bad?
    The library does not load there (which is only logged), and every plan that needs it does not deserialize.

    ## Example
    ```
    model_repository/libroialign.so      # needs libnvinfer.so.10, served with 26.07 (TensorRT 11)
    ```
    """
    for path in libraries(repository):
        majors = _majors(path)
        if not majors:
            continue
        release = repository.host.release
        served = int(release.tensorrt.partition(".")[0])
        if served not in majors:
            message = (
                f"the library needs libnvinfer.so.{max(majors)}, Triton {release.name} has TensorRT {release.tensorrt}"
            )
            yield repository.finding(path, message, fix=f"build it against TensorRT {served}")


@rule("PLG002", "missing-plugin-library", Severity.ERROR)
def missing_plugin_library(version: Version) -> Iterator[Found]:
    """## What it does
    Checks that the plugin libraries that an engine needs (its `engine.json` lists them) lie in the repository.

    ## Why is this bad?
    Without them the plan does not deserialize: `Could not find any supported formats`, `getPluginCreator could not find
    plugin`. They are loaded through `--backend-config=tensorrt,plugins=…`, never by themselves.

    ## Example
    ```
    net/engine.json      # "plugins": ["libroialign.so"], and no such file
    ```
    """
    if not is_trt(version.model):
        return
    wanted = version.engine.plugins
    if not wanted:
        return
    present = {path.name for path in libraries(version.model.repository)}
    for name in wanted:
        if Path(name).name not in present and not Path(name).is_absolute():
            yield version.file_finding(
                version.path, f"the engine needs `{name}`, which is not here", fix="copy it to the root"
            )
