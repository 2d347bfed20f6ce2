"""Files that a spec names: relative to the spec's own folder, and there when the spec is loaded."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, ValidationInfo

PACKAGE = "package:"


def _existing(path: Path, info: ValidationInfo) -> Path:
    folder = info.context.get("folder") if isinstance(info.context, dict) else None
    if folder is None:
        return path
    absolute = _in_package(path) if str(path).startswith(PACKAGE) else Path(folder, path.expanduser())
    if not absolute.exists():
        raise ValueError(f"`{absolute}` does not exist")
    return absolute


def _in_package(path: Path) -> Path:
    """`package:name/file`: a file that an installed package carries; the package is found, not imported."""
    name, *rest = path.parts
    spec = find_spec(name.removeprefix(PACKAGE)) if name.removeprefix(PACKAGE).isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(f"no package `{name.removeprefix(PACKAGE)}` is installed in this environment")
    return Path(next(iter(spec.submodule_search_locations)), *rest)


SpecFile = Annotated[Path, AfterValidator(_existing)]
"""A file or folder; when a spec is loaded, it must exist and counts from the folder of the spec.

`package:name/file` is a file inside an installed Python package.
"""


def context(folder: Path) -> dict[str, Any]:
    """The pydantic validation context that makes `SpecFile` resolve against `folder`."""
    return {"folder": folder}
