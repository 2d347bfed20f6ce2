"""`--fix`: applies the changes that findings carry. Each is one that can mean only one thing."""

from __future__ import annotations

import difflib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from repository_builder.check.report import Finding
from repository_builder.check.rule import Create, Edit, Mode
from repository_builder.check.runner import shown


def diff(findings: Iterable[Finding]) -> str:
    """What `apply` would do: a unified diff, and a line for what a diff cannot show."""
    edits, creates, modes = _sorted(findings)
    parts = [_diff(path, _text(path), _edited(_text(path), changes)) for path, changes in edits.items()]
    parts += [f"create {shown(change.path)}\n" for change in creates]
    parts += [f"chmod {change.mode:o} {shown(change.path)}\n" for change in modes]
    return "".join(parts)


def apply(findings: Iterable[Finding]) -> int:
    """Change the files; returns how many were changed. Raises OSError where that is not possible."""
    edits, creates, modes = _sorted(findings)
    for path, changes in edits.items():
        _replace(path, _edited(_text(path), changes))
    for create in creates:
        create.path.parent.mkdir(parents=True, exist_ok=True)
        with create.path.open("x", encoding="utf-8") as stream:
            stream.write(create.text)
    for mode in modes:
        mode.path.chmod(mode.mode)
    return len(edits) + len(creates) + len(modes)


def _sorted(findings: Iterable[Finding]) -> tuple[dict[Path, list[Edit]], list[Create], list[Mode]]:
    edits: dict[Path, list[Edit]] = {}
    creates: dict[Path, Create] = {}
    modes: dict[Path, Mode] = {}
    for finding in findings:
        for change in finding.found.changes:
            match change:
                case Edit():
                    if change not in edits.setdefault(change.path, []):
                        edits[change.path].append(change)
                case Create():
                    creates.setdefault(change.path, change)
                case Mode():
                    modes.setdefault(change.path, change)
    return edits, list(creates.values()), list(modes.values())


def _edited(text: str, changes: Iterable[Edit]) -> str:
    """The text after all changes; of two that overlap the first one counts, the other is found by the next check."""
    parts, position = [], 0
    for change in sorted(changes, key=lambda edit: (edit.start, edit.end)):
        if change.start >= position:
            parts += [text[position : change.start], change.text]
            position = change.end
    return "".join([*parts, text[position:]])


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "surrogateescape")


def _diff(path: Path, before: str, after: str) -> str:
    name = shown(path).lstrip("/")
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{name}", f"b/{name}"
    )
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _replace(path: Path, text: str) -> None:
    """Write beside and rename, keeping permissions: nobody ever sees half a file."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(text.encode("utf-8", "surrogateescape"))
        temporary.chmod(path.stat().st_mode & 0o7777)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
