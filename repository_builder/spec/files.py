"""Files that a spec names: relative to the spec's own folder, and there when the spec is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, ValidationInfo


def _existing(path: Path, info: ValidationInfo) -> Path:
    folder = info.context.get("folder") if isinstance(info.context, dict) else None
    if folder is None:
        return path
    absolute = Path(folder, path.expanduser())
    if not absolute.exists():
        raise ValueError(f"`{absolute}` does not exist")
    return absolute


SpecFile = Annotated[Path, AfterValidator(_existing)]
"""A file or folder; when a spec is loaded, it must exist and counts from the folder of the spec."""


def context(folder: Path) -> dict[str, Any]:
    """The pydantic validation context that makes `SpecFile` resolve against `folder`."""
    return {"folder": folder}
