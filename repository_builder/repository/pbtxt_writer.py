"""The writer behind `pbtxt.emit`."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator, Mapping
from typing import Any

_ALWAYS = {("ModelConfig", "max_batch_size"), ("Step", "model_version")}
"""Zeros that say something: not batching, and version 0 (which an ensemble step that omits the field asks for)."""
_INDENT = "  "
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def write_message(config: Any, comments: Mapping[str, str]) -> list[str]:
    """The lines of a whole configuration, an empty one between blocks."""
    writer = _Writer(comments)
    lines: list[str] = []
    previous_block = False
    for field in config.DESCRIPTOR.fields:
        block = list(writer.field(config, field, ""))
        is_block = len(block) > 1 and field.message_type is not None
        if lines and block and (is_block or previous_block):
            lines.append("")
        lines += block
        previous_block = is_block if block else previous_block
    if left := [path for path in comments if path not in writer.used]:
        raise ValueError(f"comments for fields that are not written: {', '.join(sorted(left))}")
    return lines


class _Writer:
    def __init__(self, comments: Mapping[str, str]) -> None:
        self.comments = comments
        self.used: set[str] = set()

    def field(self, message: Any, field: Any, path: str) -> Iterator[str]:
        """The lines of one field, without indent; none if it is absent."""
        name = field.name
        path = f"{path}.{name}" if path else name
        value = getattr(message, name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            if value:
                yield from self._map(value, field, path)
        elif _is_repeated(field):
            if value:
                yield from self._list(value, field, path)
        elif self._is_written(message, field, path):
            yield from self._single(f"{name}", value, field, path)

    def _is_written(self, message: Any, field: Any, path: str) -> bool:
        if field.has_presence:
            return bool(message.HasField(field.name))
        value = getattr(message, field.name)
        # the sign of a negative zero would be lost
        given = value != field.default_value or (isinstance(value, float) and math.copysign(1, value) < 0)
        return given or path in self.comments or (message.DESCRIPTOR.name, field.name) in _ALWAYS

    def _single(self, name: str, value: Any, field: Any, path: str) -> Iterator[str]:
        if field.message_type is None:
            yield from self._commented(f"{name}: {scalar(value, field)}", path)
            return
        body = list(self._body(value, path))
        if body:
            yield from self._commented(f"{name} {{", path)
            yield from body
            yield "}"
        else:
            yield from self._commented(f"{name} {{ }}", path)

    def _list(self, values: Any, field: Any, path: str) -> Iterator[str]:
        if field.message_type is None:
            items = ", ".join(scalar(value, field) for value in values)
            yield from self._commented(f"{field.name}: [ {items} ]", path)
            return
        yield from self._commented(f"{field.name} [", path)
        for index, value in enumerate(values):
            comma = "," if index + 1 < len(values) else ""
            yield from (_INDENT + line for line in self._commented("{", f"{path}[{index}]"))
            yield from (_INDENT + line for line in self._body(value, f"{path}[{index}]"))
            yield f"{_INDENT}}}{comma}"
        yield "]"

    def _map(self, values: Any, field: Any, path: str) -> Iterator[str]:
        entry = field.message_type.fields_by_name
        for key in sorted(values):
            inner = f'{path}["{key}"]'
            yield from self._commented(f"{field.name} {{", inner)
            yield f"{_INDENT}key: {scalar(key, entry['key'])}"
            yield from (_INDENT + line for line in self._single("value", values[key], entry["value"], inner))
            yield "}"

    def _body(self, message: Any, path: str) -> Iterator[str]:
        for field in message.DESCRIPTOR.fields:
            yield from (_INDENT + line for line in self.field(message, field, path))

    def _commented(self, line: str, path: str) -> Iterator[str]:
        words = [] if path in self.used else self.comments.get(path, "").splitlines()
        self.used.add(path)
        if len(words) > 1:
            yield from (f"# {word}".rstrip() for word in words)
            yield line
        else:
            yield f"{line}  # {words[0]}" if words else line


def scalar(value: Any, field: Any) -> str:
    """One value of a scalar field as protobuf text."""
    if field.enum_type is not None:
        named = field.enum_type.values_by_number.get(value)
        return named.name if named else str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{re.sub(_CONTROL, _escape, value)}"'
    if isinstance(value, float):
        return _real(value, single=field.cpp_type == field.CPPTYPE_FLOAT)
    return str(value)


_CONTROL = re.compile(r'[\\"\x00-\x1f\x7f]')


def _escape(found: re.Match[str]) -> str:
    character = found.group()
    return _ESCAPES.get(character) or f"\\{ord(character):03o}"


def _real(value: float, *, single: bool) -> str:
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if single:
        for digits in range(6, 9):
            text = f"{value:.{digits}g}"
            if struct.pack("f", float(text)) == struct.pack("f", value):
                return text
        return f"{value:.9g}"
    return repr(value)


def _is_repeated(field: Any) -> bool:
    return bool(field.is_repeated if hasattr(field, "is_repeated") else field.label == 3)
