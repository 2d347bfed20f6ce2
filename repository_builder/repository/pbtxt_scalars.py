"""Scalar values of protobuf text format."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from repository_builder.errors import nearest
from repository_builder.repository.pbtxt_tokens import Tokens

_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_SIMPLE_ESCAPES = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, "?": 63, "'": 39, '"': 34}
_TRUE, _FALSE = ("true", "True", "t"), ("false", "False", "f")


@dataclass(frozen=True)
class FieldInfo:
    name: str
    convert: Callable[[Scalars, FieldInfo], Any] | None
    """Reads one scalar; None for a message."""
    schema: Callable[[], dict[str, FieldInfo]]
    repeated: bool
    is_map: bool
    presence: bool
    oneof: str
    limits: tuple[int, int]
    enum: dict[str, int]


class Scalars(Tokens):
    """Reads one scalar; None after a mistake, which is noted."""

    def integer(self, known: FieldInfo) -> int | None:
        """A whole number inside the field's range."""
        start, negative = self.start, self.take("-")
        value = self._whole(known, start)
        if value is None:
            return None
        low, high = known.limits
        value = -value if negative else value
        if negative and low == 0:
            self.flaw("range", f"`{known.name}` cannot be negative", start, known.name)
        elif not low <= value <= high:
            self.flaw("range", f"{value} does not fit `{known.name}` ({low} to {high})", start, known.name)
        else:
            return value
        return None

    def _whole(self, known: FieldInfo, start: int) -> int | None:
        text, kind, place = self.text, self.kind, self.start
        self.advance()
        if kind == "number":
            if text.isdigit() and (text[0] != "0" or text == "0"):
                return int(text) if len(text) < 30 else 10**30
            if text[:2] in ("0x", "0X"):
                return int(text, 16)
            if re.fullmatch("0[0-7]+", text):
                return int(text, 8)
            fix = "numbers with a leading zero are octal" if text.isdigit() else "write it without point and exponent"
        else:
            fix = "remove the quotes" if kind == "string" else ""
        plain = re.fullmatch(r"[\"']?([1-9][0-9]*|0)(?:\.0*)?[\"']?", text)
        edit = (place, place + len(text), plain[1]) if plain else None
        what = f"`{known.name}` takes a whole number, found `{_short(text)}`"
        self.flaw("number", what, start, known.name, fix=fix, edit=edit)
        return None

    def real(self, known: FieldInfo) -> float | None:
        """A number, `inf` or `nan`."""
        start, sign = self.start, -1.0 if self.take("-") else 1.0
        text, kind = self.text, self.kind
        self.advance()
        if kind == "number" and not re.match("0[0-9xX]", text):
            return sign * float(text.rstrip("fF"))
        if kind == "word" and text.lower() in ("inf", "infinity", "nan"):
            return sign * float(text)
        self.flaw("number", f"`{known.name}` takes a number, found `{_short(text)}`", start, known.name)
        return None

    def boolean(self, known: FieldInfo) -> bool | None:
        """`true` or `false` in one of the spellings of protobuf."""
        start, text, kind = self.start, self.text, self.kind
        self.advance()
        if kind == "word" and text in _TRUE + _FALSE:
            return text in _TRUE
        if kind == "number" and re.fullmatch("0[xX]0*[01]|0*[01]", text):
            return text[-1] == "1"
        edit = (start, start + len(text), text.lower()) if text.lower() in ("true", "false") else None
        what = f"`{known.name}` takes true or false, found `{_short(text)}`"
        self.flaw("boolean", what, start, known.name, fix="write true or false in small letters", edit=edit)
        return None

    def enumeration(self, known: FieldInfo) -> int | None:
        """A name of the enumeration (or its number)."""
        start, text, kind = self.start, self.text, self.kind
        if kind == "number" or text == "-":
            return self.integer(known)
        self.advance()
        if kind == "word" and text in known.enum:
            return known.enum[text]
        if kind == "string":
            fix = f"write {known.name}: {text[1:-1]}"
            edit = (start, start + len(text), text[1:-1]) if text[1:-1] in known.enum else None
            self.flaw("quotes", f"{_short(text)} is quoted", start, known.name, fix=fix, edit=edit)
        else:
            self.flaw("enum", f"`{text}` is no value of `{known.name}`{nearest(text, known.enum)}", start, known.name)
        return None

    def string(self, known: FieldInfo) -> str | None:
        """One or several adjacent quoted strings."""
        if self.kind != "string":
            shown, start = self.text, self.start
            quoted = (start, self.position, f'"{shown}"') if self.kind in ("word", "number") else None
            what, fix = f"`{_short(shown)}` is not quoted", f'write "{_short(shown)}"'
            self.flaw("quotes", what, start, known.name, fix=fix, edit=quoted)
            self.take("-")
            self.advance()
            return None
        parts = []
        while self.kind == "string":
            parts.append(self._unescaped(known))
            self.advance()
        return "".join(parts)

    def _unescaped(self, known: FieldInfo) -> str:
        text, start = self.text[1:-1], self.start
        if "\\" not in text and text.isascii():
            return text
        try:
            raw = text.encode("utf-8", "surrogateescape")
            return _ESCAPE.sub(_escaped, raw.decode("latin-1")).encode("latin-1").decode("utf-8")
        except UnicodeDecodeError:
            self.flaw("encoding", f"`{known.name}` is not valid UTF-8", start, known.name, fix="save the file as UTF-8")
        except ValueError as bad:
            self.flaw("syntax", f"{bad} in `{known.name}`", start, known.name, fix="write a backslash as `\\\\`")
        return ""


def _escaped(found: re.Match[str]) -> str:
    octal, hexadecimal, short, long, simple = found.groups()
    if simple is not None:
        if simple not in _SIMPLE_ESCAPES:
            raise ValueError(f"unknown escape `\\{simple}`")
        return chr(_SIMPLE_ESCAPES[simple])
    if short or long:
        point = int(short or long, 16)
        if point > 0x10FFFF:
            raise ValueError(f"no character U+{point:X}")
        return chr(point).encode("utf-8", "surrogatepass").decode("latin-1")
    return chr((int(octal, 8) if octal else int(hexadecimal, 16)) & 0xFF)


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
