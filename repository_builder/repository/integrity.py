"""What lies in a repository against what its manifest says: by size first, then by SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from repository_builder.console import Progress, silent
from repository_builder.repository.manifest import FileEntry, Manifest

_LONG = 2 << 30
"""Bytes that take longer than a second or two."""


def changed(repository: Path, record: Manifest, progress: Progress = silent) -> list[str]:
    """Files that are not what was built, by path, each with what is wrong; what the manifest does not list is no concern.

    Everything is read once (1.8 GB/s where the processor has SHA instructions), which also warms it for the server.
    """
    whole = sum(entry.size for entry in record.files.values()) or 1
    return list(_differences(repository, record, whole, progress if whole > _LONG else silent))


def _differences(repository: Path, record: Manifest, whole: int, progress: Progress) -> Iterator[str]:
    done = 0
    for path, entry in sorted(record.files.items()):
        progress("comparing the files with the manifest", done / whole)
        if problem := _difference(repository / path, entry):
            yield f"{path} {problem}"
        done += entry.size


def _difference(file: Path, entry: FileEntry) -> str:
    try:
        size = file.stat().st_size
        if size != entry.size:
            return f"has {size} bytes instead of {entry.size}"
        with file.open("rb") as stream:
            same = hashlib.file_digest(stream, "sha256").hexdigest() == entry.sha256
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return "" if same else "has other content"
