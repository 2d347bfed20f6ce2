"""Tokens of protobuf text format, where fields stand, and mistakes with their place."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass

Change = tuple[int, int, str] | None

FLAW_LIMIT = 100
"""Mistakes after which reading stops: a file of another format would otherwise give one for every word."""

_TOKEN = re.compile(
    r"""
    (?:[ \t\r\n\v\f]++|\#[^\n]*+)*+
    (?: (?P<word>[A-Za-z_][A-Za-z0-9_]*+)
      | (?P<symbol>[{}<>\[\]:,;\-])
      | (?P<number>0[xX][0-9a-fA-F]++ | (?:[0-9]++(?:\.[0-9]*+)?+ | \.[0-9]++)(?:[eE][+-]?[0-9]++)?+[fF]?+)
      | (?P<string>"(?:[^"\\\n]++|\\[^\n])*+" | '(?:[^'\\\n]++|\\[^\n])*+')
      | (?P<slashes>//[^\n]*+)
      | (?P<end>\Z)
      | (?P<bad>.)
    )""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Flaw:
    """One mistake in a text; `line` and `column` count from 1."""

    kind: str
    """syntax, unknown, enum, duplicate, oneof, quotes, number, range, boolean, comment, encoding"""
    message: str
    line: int
    column: int
    path: str
    """The field that is concerned, like `instance_group[0].count`; empty at the top."""
    fix: str = ""
    edit: tuple[int, int, str] | None = None
    """The same fix as a change of the text (from, to, new) where there is only one thing that can be meant."""


class Node:
    """Where the fields of one message stand in the text."""

    __slots__ = ("fields", "label", "parent", "start")

    def __init__(self, start: int, parent: Node | None, label: str) -> None:
        self.start = start
        self.parent = parent
        self.label = label
        self.fields: dict[str, list[Node | int]] = {}

    @property
    def path(self) -> str:
        """The field path of this message."""
        upper = self.parent.path if self.parent else ""
        return f"{upper}.{self.label}" if upper else self.label


class Lines:
    """Offsets in a text as lines and columns, both from 1."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]

    def at(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1


class Stop(Exception):
    """Reading cannot go on; the reason is the last flaw."""


class Tokens:
    """The current token (`kind`, `text`, `start`) and what has been found so far."""

    def __init__(self, text: str) -> None:
        self.source = text
        self.position = 0
        self.end = 0
        self.kind = self.text = ""
        self.start = 0
        self.node = Node(0, None, "")
        self.name = ""
        """The field of `node` that is being read; empty between fields."""
        self.flaws: list[Flaw] = []
        self.keys: dict[str, dict[str, Node]] = {}
        self.repeated_keys: list[tuple[str, str, int]] = []
        self._lines: Lines | None = None
        if text.startswith("\ufeff"):
            self.position = 1
            self.flaw(
                "encoding",
                "the file starts with a byte order mark",
                fix="save it as UTF-8 without BOM",
                edit=(0, 1, ""),
            )

    def advance(self) -> None:
        """Go to the next token."""
        found = _TOKEN.match(self.source, self.position)
        assert found is not None  # noqa: S101  (the last alternatives match anything)
        self.kind = found.lastgroup or ""
        self.text = found.group(self.kind)
        self.start, self.position = found.span(self.kind)
        if self.kind == "slashes":
            edit = (self.start, self.start + 2, "#")
            self.flaw("comment", "`//` does not start a comment", fix="comments start with `#`", edit=edit)
            self.advance()
        elif self.kind == "bad":
            self._bad_character()
        elif (
            self.kind == "number"
            and (after := self.source[self.position : self.position + 1])
            and (after.isalpha() or after == "_")
        ):
            edit = (self.position, self.position, " ")
            self.flaw("syntax", f"no blank between {self.text} and `{after}`", fix="add a blank", edit=edit)

    def _bad_character(self) -> None:
        if self.text in "\"'":
            self.stop("syntax", "the string is not closed on its line", fix="add the closing quote")
        if self.text in "=(":
            return
        shown = repr(self.text) if self.text.isascii() else f"{self.text!r} (U+{ord(self.text):04X})"
        blank = (self.start, self.start + 1, " ") if self.text.isspace() else None
        self.flaw("syntax", f"unexpected character {shown}", fix="remove it", edit=blank)
        self.advance()

    def take(self, symbol: str) -> bool:
        """Step over `symbol` if it is the current token."""
        if self.text == symbol and self.kind in ("symbol", "bad"):
            self.advance()
            return True
        return False

    def flaw(
        self, kind: str, message: str, start: int | None = None, name: str = "", *, fix: str = "", edit: Change = None
    ) -> None:
        """Note a mistake at the current token, or at `start` in the field `name`."""
        if self._lines is None:
            self._lines = Lines(self.source)
        line, column = self._lines.at(self.start if start is None else start)
        path = ".".join(filter(None, (self.node.path, name or self.name)))
        self.flaws.append(Flaw(kind, message, line, column, path, fix, edit))
        if len(self.flaws) >= FLAW_LIMIT:
            raise Stop

    def stop(self, kind: str, message: str, *, fix: str = "") -> None:
        """Note a mistake after which the structure is unclear, and stop reading."""
        self.flaw(kind, message, fix=fix)
        raise Stop
