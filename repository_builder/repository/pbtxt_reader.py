"""The reader behind `pbtxt.parse`: protobuf text format with the line and column of every field and of every mistake.

Grammar and tolerance are those of protobuf's C++ parser, the one inside Triton; where the Python parser differs (it
takes `+1`, `1_000` and a no-break space, and refuses `- 1`) C++ decides. A mistake that leaves the structure clear is
noted and reading goes on, so that one run reports them all. Nesting inside known fields is bounded by the schema; an
unknown field is skipped with a counter, so that no input can exhaust the stack.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from repository_builder.errors import nearest
from repository_builder.repository.pbtxt_scalars import FieldInfo, Scalars
from repository_builder.repository.pbtxt_tokens import Flaw, Node, Stop

_CLOSING = {"{": "}", "<": ">", "[": "]"}


@dataclass
class Reading:
    """All that one pass over a text gives."""

    config: Any
    root: Node
    keys: dict[str, dict[str, Node]]
    """Path of a map field → key → its entry."""
    repeated_keys: list[tuple[str, str, int]]
    """(path of a map field, key, offset) of each entry that a later one replaces."""
    flaws: list[Flaw] = field(default_factory=list)


def read(text: str, message: Any) -> Reading:
    """Fill the empty `message` from `text`. Never raises for any text: mistakes are in `flaws`."""
    reader = _Reader(text)
    root = Node(0, None, "")
    reading = Reading(message, root, reader.keys, reader.repeated_keys, reader.flaws)
    try:
        reader.advance()
        reader.body(message, schema_of(message.DESCRIPTOR), root, "")
    except Stop:
        pass
    return reading


class _Reader(Scalars):
    """Messages, lists and fields."""

    def body(self, message: Any, schema: dict[str, FieldInfo], node: Node, closing: str) -> None:
        """Read fields until `closing` (empty: until the end of the text)."""
        while True:
            self.node, self.name = node, ""
            if self.kind == "word":
                self.field(message, schema, node)
            elif self.text == closing and self.kind in ("symbol", "end"):
                return
            else:
                self._no_field(closing)
            if self.text in (",", ";") and self.kind == "symbol":
                self.advance()

    def _no_field(self, closing: str) -> None:
        expected = f"`{closing}` or a field name" if closing else "a field name"
        if self.kind == "string" and re.fullmatch(r"[\"']\w+[\"']", self.text):
            self.flaw(
                "quotes", f"field name {self.text} is quoted", fix="this is not JSON: write the name without quotes"
            )
            self.kind, self.text = "word", self.text[1:-1]
        elif self.kind == "end":
            self.stop("syntax", f"the file ends inside `{self.node.path}`, expected {expected}", fix=f"add `{closing}`")
        elif self.text in (",", ";"):
            self.flaw("syntax", f"`{self.text}` without a field before it", fix="remove it")
        else:
            self.stop("syntax", f"expected {expected}, found `{self.text}`")

    def field(self, message: Any, schema: dict[str, FieldInfo], node: Node) -> None:
        """Read one field, the current token being its name."""
        name, start = self.text, self.start
        known = schema.get(name)
        self.name = name
        self.advance()
        if known is None:
            self._unknown(message, name, start, schema, node)
            return
        if known.oneof or not known.repeated:
            self._already(message, known, start)
        self._value_of(message, known, node, start)

    def _value_of(self, message: Any, known: FieldInfo, node: Node, start: int) -> None:
        """Read what follows the name of a field."""
        places = node.fields.setdefault(known.name, [])
        if known.convert is None:
            self.take(":")
            self._messages(message, known, node, places, start)
        else:
            self._colon(known)
            self._scalars(message, known, places, start)

    def _colon(self, known: FieldInfo) -> None:
        if self.take(":"):
            return
        start = self.start
        if self.take("="):
            self.flaw(
                "syntax", f"`=` after `{known.name}`", start, known.name, fix="write `:`", edit=(start, start + 1, ":")
            )
        elif self.kind in ("word", "number", "string") or (self.kind == "symbol" and self.text in "[-"):
            self.flaw("syntax", f"no `:` after `{known.name}`", self.start, known.name, fix=f"write `{known.name}: …`")
        else:
            self.stop("syntax", f"expected `:` after `{known.name}`, found `{self.text}`")

    def _already(self, message: Any, known: FieldInfo, start: int) -> None:
        """Protobuf refuses a second value, except after a zero in a field that cannot tell zero from absent."""
        if known.oneof and (other := message.WhichOneof(known.oneof)) not in (None, known.name):
            why = f"`{known.name}` cannot stand beside `{other}`: both are `{known.oneof}`"
            self.flaw("oneof", why, start, known.name, fix="keep one of the two")
            message.ClearField(other)
        elif known.presence:
            if message.HasField(known.name):
                self._second(known, start)
        elif not known.repeated and getattr(message, known.name):
            self._second(known, start)

    def _second(self, known: FieldInfo, start: int) -> None:
        self.flaw("duplicate", f"`{known.name}` is given twice", start, known.name, fix="keep one of the two")

    def _messages(self, message: Any, known: FieldInfo, node: Node, places: list[Node | int], start: int) -> None:
        if self.text != "[" or self.kind != "symbol":
            self._message(message, known, node, places, start)
            return
        if not known.repeated:
            self.flaw(
                "syntax", f"`{known.name}` takes one message, not a list", self.start, known.name, fix="remove `[ ]`"
            )
        self.advance()
        self._list(known, lambda: self._message(message, known, node, places, self.start))

    def _message(self, message: Any, known: FieldInfo, node: Node, places: list[Node | int], start: int) -> None:
        closing = _CLOSING.get(self.text, "]") if self.kind == "symbol" else "]"
        if closing == "]":
            self.stop("syntax", f"expected `{{` to open `{known.name}`, found `{self.text or 'the end of the file'}`")
        self.advance()
        index = len(places)
        inner = Node(start, node, f"{known.name}[{index}]" if known.repeated else known.name)
        places.append(inner)
        if known.is_map:
            self._map_entry(message, known, inner, closing)
        else:
            holder = getattr(message, known.name)
            target = holder.add() if known.repeated else holder
            if not known.repeated:
                target.SetInParent()
            self.body(target, known.schema(), inner, closing)
        self.advance()

    def _map_entry(self, message: Any, known: FieldInfo, inner: Node, closing: str) -> None:
        entry = getattr(message, known.name).GetEntryClass()()
        self.body(entry, known.schema(), inner, closing)
        target = getattr(message, known.name)
        value_field = entry.DESCRIPTOR.fields_by_name["value"]
        if value_field.message_type is not None:
            target[entry.key].CopyFrom(entry.value)
        else:
            target[entry.key] = entry.value
        path = f"{inner.parent.path}.{known.name}" if inner.parent and inner.parent.parent else known.name
        entries = self.keys.setdefault(path, {})
        key = str(entry.key)
        if key in entries:
            self.repeated_keys.append((path, key, entries[key].start))
        entries[key] = inner

    def _list(self, known: FieldInfo, item: Callable[[], None]) -> None:
        """Read items up to `]`; the current token is the first one."""
        node, name = self.node, known.name
        if self.take("]"):
            return
        while True:
            item()
            self.node, self.name = node, name
            comma = self.start
            if self.take("]"):
                return
            if self.take(","):
                if self.text == "]" and self.kind == "symbol":
                    what, edit = f"comma after the last item of `{name}`", (comma, comma + 1, "")
                    self.flaw("syntax", what, comma, name, fix="remove the comma", edit=edit)
                    self.advance()
                    return
            elif self.kind == "end" or self.text in ("}", ">", ":", ";"):
                found = self.text or "the end of the file"
                self.stop("syntax", f"expected `,` or `]` in `{name}`, found `{found}`", fix="close the list with `]`")
            else:
                what = f"no comma between the items of `{name}`"
                self.flaw("syntax", what, comma, name, fix="add a comma", edit=(comma, comma, ", "))

    def _scalars(self, message: Any, known: FieldInfo, places: list[Node | int], start: int) -> None:
        if not known.repeated:
            places.append(start)
            if self.text == "[" and self.kind == "symbol":
                self.flaw(
                    "syntax", f"`{known.name}` takes one value, not a list", self.start, known.name, fix="remove `[ ]`"
                )
                self._skip_value()
                return
            value = self._value(known)
            if value is not None:
                setattr(message, known.name, value)
            return
        values = getattr(message, known.name)

        def item() -> None:
            places.append(self.start)
            value = self._value(known)
            if value is not None:
                values.append(value)

        if self.take("["):
            self._list(known, item)
        else:
            item()
            places[-1] = start

    def _value(self, known: FieldInfo) -> Any:
        assert known.convert is not None  # noqa: S101  (only called for scalars)
        if self.kind == "end" or (self.kind == "symbol" and self.text != "-") or self.kind == "bad":
            self.stop("syntax", f"`{known.name}` has no value, found `{self.text or 'the end of the file'}`")
        return known.convert(self, known)

    def _unknown(self, message: Any, name: str, start: int, schema: dict[str, FieldInfo], node: Node) -> None:
        place = f"`{self.node.path}`" if self.node.path else "the model configuration"
        self.flaw("unknown", f"{place} has no field `{name}`{nearest(name, schema)}", start, name)
        if not self._as_meant(message, name, start, schema, node):
            self.take(":") or self.take("=")
            self._skip_value()

    def _as_meant(self, message: Any, name: str, start: int, schema: dict[str, FieldInfo], node: Node) -> bool:
        """Read the value of a misspelt field as that of the field that was meant, if it is of its kind.

        So a typing error has no consequences elsewhere (a model without batches, a tensor without dims).
        """
        close = difflib.get_close_matches(name, schema, n=1, cutoff=0.75)
        known = schema[close[0]] if close else None
        if known is None or known.is_map or (not known.repeated and known.name in node.fields):
            return False
        before = (self.position, self.kind, self.text, self.start, self.node, self.name)
        count = len(self.flaws)
        trial, places = message.__class__(), Node(start, node.parent, node.label)
        with suppress(Stop):
            self._value_of(trial, known, places, start)
        if len(self.flaws) > count:
            del self.flaws[count:]
            self.position, self.kind, self.text, self.start, self.node, self.name = before
            return False
        message.MergeFrom(trial)
        node.fields.setdefault(known.name, []).extend(places.fields.get(known.name, []))
        return True

    def _skip_value(self) -> None:
        """Step over a value of unknown type; brackets are counted, not followed."""
        if self.kind == "symbol" and self.text in _CLOSING:
            expected: list[str] = []
            while True:
                if self.kind == "end":
                    self.stop("syntax", f"the file ends before `{expected[-1]}`", fix=f"add `{expected[-1]}`")
                if self.kind == "symbol" and self.text in _CLOSING:
                    expected.append(_CLOSING[self.text])
                elif self.kind == "symbol" and self.text == expected[-1]:
                    expected.pop()
                elif self.kind == "symbol" and self.text in "}>]":
                    self.stop("syntax", f"expected `{expected[-1]}`, found `{self.text}`")
                self.advance()
                if not expected:
                    return
        self.take("-")
        if self.kind == "string":
            while self.kind == "string":
                self.advance()
        elif self.kind in ("word", "number"):
            self.advance()


_INTEGERS = {
    "INT32": (-(2**31), 2**31 - 1),
    "INT64": (-(2**63), 2**63 - 1),
    "UINT32": (0, 2**32 - 1),
    "UINT64": (0, 2**64 - 1),
}


@cache
def schema_of(descriptor: Any) -> dict[str, FieldInfo]:
    """The fields of a message type, ready for reading."""
    return {each.name: _field_of(each) for each in descriptor.fields}


def _field_of(descriptor: Any) -> FieldInfo:
    types = {getattr(descriptor, f"TYPE_{name}"): limits for name, limits in _INTEGERS.items()}
    inner = descriptor.message_type
    readers = {
        descriptor.CPPTYPE_STRING: _Reader.string,
        descriptor.CPPTYPE_BOOL: _Reader.boolean,
        descriptor.CPPTYPE_ENUM: _Reader.enumeration,
        descriptor.CPPTYPE_FLOAT: _Reader.real,
        descriptor.CPPTYPE_DOUBLE: _Reader.real,
        descriptor.CPPTYPE_MESSAGE: None,
    }
    enum = descriptor.enum_type
    # `label` is deprecated where `is_repeated` exists (protobuf 6.31)
    repeated = descriptor.is_repeated if hasattr(descriptor, "is_repeated") else descriptor.label == 3
    return FieldInfo(
        name=descriptor.name,
        convert=readers.get(descriptor.cpp_type, _Reader.integer),
        schema=lambda: schema_of(inner),
        repeated=repeated,
        is_map=inner is not None and inner.GetOptions().map_entry,
        presence=descriptor.has_presence,
        oneof=descriptor.containing_oneof.name if descriptor.containing_oneof else "",
        limits=types.get(descriptor.type, _INTEGERS["INT32"]),
        enum={value.name: value.number for value in enum.values} if enum else {},
    )
