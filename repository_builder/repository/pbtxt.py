"""config.pbtxt: `emit` writes a `ModelConfig` message as text, `parse` reads text with the line of every field.

Both are needed because protobuf's own pair loses what matters here: its printer drops zero values and cannot comment,
its parser stops at the first mistake and forgets where things stood. `parse(emit(config)).config == config` holds for
every message, and protobuf's parser agrees (property tests).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from repository_builder.errors import Problem, RepositoryError
from repository_builder.repository import proto
from repository_builder.repository.pbtxt_reader import Reading, read
from repository_builder.repository.pbtxt_tokens import Flaw, Lines, Node
from repository_builder.repository.pbtxt_writer import write_message

__all__ = ["Flaw", "Parsed", "PbtxtError", "decode", "emit", "parse", "scan"]


class PbtxtError(RepositoryError):
    """A text is not a model configuration; one problem per mistake."""

    flaws: tuple[Flaw, ...] = ()


@dataclass(frozen=True)
class Parsed:
    """A model configuration and where each of its fields stands."""

    text: str
    source: str
    """What the text is called in messages: a path."""
    reading: Reading

    @property
    def config(self) -> Any:
        """The official `ModelConfig` message. Fields with a mistake are left at their default."""
        return self.reading.config

    @property
    def flaws(self) -> tuple[Flaw, ...]:
        """Mistakes other than unknown fields: Triton refuses the whole file for any of them."""
        return tuple(flaw for flaw in self.reading.flaws if flaw.kind != "unknown")

    @property
    def unknown(self) -> tuple[Flaw, ...]:
        """Fields that the `ModelConfig` of this package does not have: misspelt, or of a newer Triton."""
        return tuple(flaw for flaw in self.reading.flaws if flaw.kind == "unknown")

    def line(self, path: str) -> int:
        """Line (from 1) of a field: `instance_group[0].count`, `input[1].dims[2]`, `parameters["key"].string_value`.

        For a field that the text does not have: the line of its nearest enclosing one, 1 at the top.
        """
        return self.place(path)[0]

    def place(self, path: str) -> tuple[int, int]:
        """Line and column of a field, both from 1; see `line`."""
        return self._lines.at(self.offset(path))

    def locate(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset in the text."""
        return self._lines.at(offset)

    def has(self, path: str) -> bool:
        """Does the text itself give this field (also as zero)?"""
        return self._find(path)[1]

    @cached_property
    def _lines(self) -> Lines:
        return Lines(self.text)

    def offset(self, path: str) -> int:
        """Where a field begins in `text`; see `line`."""
        place = self._find(path)[0]
        return place.start if isinstance(place, Node) else place

    def _find(self, path: str) -> tuple[Node | int, bool]:
        node: Node | int = self.reading.root
        so_far = ""
        for name, index, key in _steps(path):
            if not isinstance(node, Node):
                return node, False
            so_far = f"{so_far}.{name}" if so_far else name
            if key is not None:
                entry = self.reading.keys.get(so_far, {}).get(key)
                if entry is None:
                    return node, False
                node = entry.fields["value"][0] if "value" in entry.fields else entry
                continue
            places = node.fields.get(name, [])
            if index is not None:
                so_far += f"[{index}]"
            if len(places) <= (index or 0):
                return (places[-1] if places else node), False
            node = places[index or 0]
        return node, True


def emit(config: Any, *, comments: Mapping[str, str] | None = None, header: str = "") -> str:
    """The text of a `ModelConfig`: fields in the order of the proto, the same message always the same bytes.

    `comments` maps field paths (as in `Parsed.line`) to words that are set beside the field (above it if they have
    several lines); a zero scalar that has a comment is written, as are `max_batch_size: 0` and an ensemble step's
    `model_version: 0`. `header` becomes comment lines at the top. Raises ValueError for a comment without its field.
    """
    lines = [f"# {line}".rstrip() for line in header.splitlines()]
    lines += [""] if lines else []
    lines += write_message(config, comments or {})
    return "\n".join(lines) + "\n"


def scan(text: str | bytes, source: str | Path = "config.pbtxt") -> Parsed:
    """Read a text as far as it can be read; never raises for any text: mistakes are in `flaws` and `unknown`."""
    text = decode(text) if isinstance(text, bytes) else text
    return Parsed(text, str(source), read(text, proto.new_config()))


def parse(
    text: str | bytes, source: str | Path = "config.pbtxt", *, unknown: Literal["refuse", "keep"] = "refuse"
) -> Parsed:
    """Read a text; raises `PbtxtError` with all mistakes, each with line, column and the nearest known name.

    With `unknown="keep"` fields that only a newer Triton may know are no mistake; they are listed in `Parsed.unknown`.
    """
    parsed = scan(text, source)
    flaws = parsed.flaws if unknown == "keep" else tuple(parsed.reading.flaws)
    if flaws:
        error = PbtxtError.many(_problem(flaw, parsed.source) for flaw in flaws)
        error.flaws = flaws
        raise error
    return parsed


def decode(data: bytes) -> str:
    """Bytes as text; what is not UTF-8 stays recognizable (Triton minds it in strings, not in comments)."""
    return data.decode("utf-8", "surrogateescape")


def _problem(flaw: Flaw, source: str) -> Problem:
    field = f" ({flaw.path})" if flaw.path else ""
    return Problem("config.pbtxt cannot be read", f"{source}:{flaw.line}:{flaw.column}{field}", flaw.message, flaw.fix)


_STEP = re.compile(r'(\w+)(?:\[(?:(\d+)|"([^"]*)")\])?(?:\.|$)')


def _steps(path: str) -> Iterator[tuple[str, int | None, str | None]]:
    """`a[0].b["k"].c` as (name, index, key)."""
    for found in _STEP.finditer(path):
        name, index, key = found.groups()
        yield name, None if index is None else int(index), key
