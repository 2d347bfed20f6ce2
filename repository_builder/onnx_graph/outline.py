"""The outline of an ONNX file: inputs, outputs, operators and where its weights lie, without reading the weights.

Works on a memory map and steps over tensor data, so that a file of two gigabytes costs the pages of its structure only.
It follows protobuf's wire format, needs no package, and judges nothing: `read.load` does.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from repository_builder.errors import GraphError

Dim = int | str | None
"""A fixed size, a symbol, or None where the graph does not say."""

DEPTH_LIMIT = 60
"""Subgraphs inside subgraphs; more is no graph that a runtime would take."""


@dataclass(frozen=True)
class Value:
    """An input or output."""

    name: str
    dtype: int
    """TensorProto.DataType; 0 if the value is no tensor."""
    shape: tuple[Dim, ...] | None
    """None: the graph does not even say the rank."""


@dataclass(frozen=True)
class Outline:
    """What a graph looks like from outside."""

    ir_version: int
    opsets: dict[str, int]
    inputs: tuple[Value, ...]
    """Without initializers."""
    outputs: tuple[Value, ...]
    overridable: frozenset[str]
    """Inputs that have an initializer: a request may give them and need not (IR version 4 and newer)."""
    operators: frozenset[tuple[str, str]]
    """(domain, type) of every node, subgraphs included; the default domain is empty."""
    functions: frozenset[tuple[str, str]]
    """(domain, name) of the functions that the file itself defines."""
    external: tuple[str, ...]
    """`location` of every tensor whose data lies in another file, each once."""


def read(path: Path) -> Outline:
    """The outline of a file. Raises GraphError if it is not an ONNX file, OSError if it cannot be read."""
    with path.open("rb") as stream:
        try:
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Reader(data).model()
        except (ValueError, IndexError, UnicodeDecodeError) as error:  # ValueError: also an empty file
            raise GraphError(
                f"`{path.name}` is not an ONNX file",
                where=path,
                why=str(error) or "it ends too early",
                fix="export, copy or download it again",
            ) from error


class _Reader:
    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.operators: set[tuple[str, str]] = set()
        self.external: dict[str, None] = {}
        self.initializers: set[str] = set()

    def model(self) -> Outline:
        version, opsets, graph = 0, {}, None
        functions = set()
        for number, value in self.fields((0, len(self.data))):
            match number, value:
                case 1, int():
                    version = value
                case 8, tuple():
                    domain, opset = self.opset(value)
                    opsets[domain] = opset
                case 7, tuple():
                    graph = value
                case 25, tuple():
                    functions.add(self.function(value))
        if graph is None:
            raise ValueError("it holds no graph")
        inputs, outputs = self.graph(graph)
        return Outline(
            version,
            opsets,
            tuple(value for value in inputs if value.name not in self.initializers),
            outputs,
            frozenset(value.name for value in inputs if value.name in self.initializers),
            frozenset(self.operators),
            frozenset(functions),
            tuple(self.external),
        )

    # -- protobuf ------------------------------------------------------------------------------------------------

    def fields(self, span: tuple[int, int]) -> Iterator[tuple[int, int | tuple[int, int]]]:
        """Number and value (a number, or the span of bytes) of each field."""
        position, end = span
        while position < end:
            key, position = self.varint(position)
            number, wire = key >> 3, key & 7
            if wire == 0:
                value, position = self.varint(position)
                yield number, value
            elif wire == 2:
                length, position = self.varint(position)
                if position + length > end:
                    raise ValueError("it ends too early or is damaged")
                yield number, (position, position + length)
                position += length
            elif wire in (1, 5):
                position += 8 if wire == 1 else 4
            else:
                raise ValueError("its content is not ONNX")
        if position != end:
            raise ValueError("it ends too early or is damaged")

    def varint(self, position: int) -> tuple[int, int]:
        byte = self.data[position]
        if byte < 0x80:
            return byte, position + 1
        value, shift = byte & 0x7F, 7
        while shift < 70:
            position += 1
            byte = self.data[position]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, position + 1
            shift += 7
        raise ValueError("its content is not ONNX")

    def text(self, span: int | tuple[int, int]) -> str:
        if isinstance(span, int):
            raise ValueError("its content is not ONNX")
        return self.data[span[0] : span[1]].decode("utf-8")

    # -- ONNX ----------------------------------------------------------------------------------------------------

    def opset(self, span: tuple[int, int]) -> tuple[str, int]:
        domain, version = "", 0
        for number, value in self.fields(span):
            if number == 1:
                domain = self.text(value)
            elif number == 2 and isinstance(value, int):
                version = value
        return _domain(domain), version

    def function(self, span: tuple[int, int]) -> tuple[str, str]:
        name = domain = ""
        for number, value in self.fields(span):
            if number == 1:
                name = self.text(value)
            elif number == 10:
                domain = self.text(value)
            elif number == 7 and isinstance(value, tuple):
                self.node(value, 1)
        return _domain(domain), name

    def graph(self, span: tuple[int, int], depth: int = 0) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
        inputs, outputs = [], []
        if depth > DEPTH_LIMIT:
            raise ValueError(f"its subgraphs nest deeper than {DEPTH_LIMIT}")
        for number, value in self.fields(span):
            if not isinstance(value, tuple):
                continue
            if number == 1:
                self.node(value, depth + 1)
            elif number == 5:
                self.tensor(value, top=depth == 0)
            elif number == 15:
                for inner, part in self.fields(value):
                    if inner == 1 and isinstance(part, tuple):
                        self.tensor(part, top=depth == 0)
            elif number == 11 and depth == 0:
                inputs.append(self.value(value))
            elif number == 12 and depth == 0:
                outputs.append(self.value(value))
        return tuple(inputs), tuple(outputs)

    def node(self, span: tuple[int, int], depth: int) -> None:
        kind = domain = ""
        for number, value in self.fields(span):
            if number == 4:
                kind = self.text(value)
            elif number == 7:
                domain = self.text(value)
            elif number == 5 and isinstance(value, tuple):
                self.attribute(value, depth)
        self.operators.add((_domain(domain), kind))

    def attribute(self, span: tuple[int, int], depth: int) -> None:
        for number, value in self.fields(span):
            if number in (6, 11) and isinstance(value, tuple):
                self.graph(value, depth)
            elif number in (5, 10) and isinstance(value, tuple):
                self.tensor(value, top=False)

    def tensor(self, span: tuple[int, int], *, top: bool) -> None:
        for number, value in self.fields(span):
            if number == 8 and top:
                self.initializers.add(self.text(value))
            elif number == 13 and isinstance(value, tuple):
                entry = {inner: self.text(part) for inner, part in self.fields(value)}
                if entry.get(1) == "location":
                    self.external[entry.get(2, "")] = None

    def value(self, span: tuple[int, int]) -> Value:
        name, dtype, shape = "", 0, None
        for number, value in self.fields(span):
            if number == 1:
                name = self.text(value)
            elif number == 2 and isinstance(value, tuple):
                for kind, inner in self.fields(value):
                    if kind == 1 and isinstance(inner, tuple):
                        dtype, shape = self.tensor_type(inner)
        return Value(name, dtype, shape)

    def tensor_type(self, span: tuple[int, int]) -> tuple[int, tuple[Dim, ...] | None]:
        dtype, shape = 0, None
        for number, value in self.fields(span):
            if number == 1 and isinstance(value, int):
                dtype = value
            elif number == 2 and isinstance(value, tuple):
                shape = tuple(self.dim(part) for kind, part in self.fields(value) if kind == 1)
        return dtype, shape

    def dim(self, span: int | tuple[int, int]) -> Dim:
        if isinstance(span, int):
            raise ValueError("its content is not ONNX")
        for number, value in self.fields(span):
            if number == 1 and isinstance(value, int):
                return value if value < 2**63 else None
            if number == 2:
                return self.text(value) or None
        return None


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name
