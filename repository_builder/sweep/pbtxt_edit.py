"""A changed configuration as text, with the comments that the file had."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from repository_builder.repository import pbtxt

_COMMENT = re.compile(r'^(?:[^"\'#]|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\')*#\s?(.*)$')


def edited(text: str, source: Path, config: Any, reasons: Mapping[str, str]) -> str:
    """`config` as text: the header and the comments beside fields of `text` are kept, `reasons` replace some of them."""
    parsed = pbtxt.parse(text, source, unknown="keep")
    lines = text.splitlines()
    header = _header(lines)
    comments: dict[str, str] = {}
    for path in _paths(config):
        if parsed.has(path) and (words := _beside(lines, parsed.line(path) - 1, len(header))):
            comments[path] = words
    taken: set[int] = set()
    for path in sorted(comments, key=len):  # a message and its first field may stand on one line: the message has it
        line = parsed.line(path)
        if line in taken:
            del comments[path]
        taken.add(line)
    present = set(_paths(config))
    comments |= {path: why for path, why in reasons.items() if path in present}
    return pbtxt.emit(config, comments=comments, header="\n".join(header))


def _beside(lines: list[str], index: int, header: int) -> str:
    """The comment at the end of a line, and those on lines of their own directly above it."""
    above: list[str] = []
    number = index - 1
    while number >= header and lines[number].lstrip().startswith("#"):
        above.insert(0, lines[number].lstrip().lstrip("#").strip())
        number -= 1
    found = _COMMENT.match(lines[index])
    return "\n".join(filter(None, [*above, found[1].strip() if found else ""]))


def _header(lines: list[str]) -> list[str]:
    head = []
    for line in lines:
        if not line.startswith("#"):
            break
        head.append(line.removeprefix("#").removeprefix(" "))
    return head


def _paths(message: Any, path: str = "") -> Iterator[str]:
    """Every field that is set, as `Parsed.line` names it; maps are left to their own."""
    for field, value in message.ListFields():
        name = f"{path}.{field.name}" if path else field.name
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            continue
        if isinstance(value, (str, bytes)) or not hasattr(value, "__len__"):
            yield name
            if field.message_type is not None:
                yield from _paths(value, name)
            continue
        for index, item in enumerate(value):
            yield f"{name}[{index}]"
            if field.message_type is not None:
                yield from _paths(item, f"{name}[{index}]")
