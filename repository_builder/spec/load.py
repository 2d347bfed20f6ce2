"""A YAML file → `Spec`, or every problem in it at once, with file, line and the nearest known key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from repository_builder.errors import Problem, SpecError, nearest
from repository_builder.spec.files import context
from repository_builder.spec.model import Spec

Path_ = tuple[str | int, ...]
MAX_BYTES = 4 << 20
MAX_NODES = 200_000
MAX_DEPTH = 50
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Document:
    """A YAML document as plain values, with the line of every key and item."""

    file: Path
    data: Any
    lines: Mapping[Path_, int]

    def where(self, path: Path_) -> str:
        """`file:line (path.in.dots)` of the deepest part of `path` that the document has."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.lines:
                dotted = ".".join(map(str, path))
                return f"{self.file}:{self.lines[path[:length]]}" + (f" ({dotted})" if dotted else "")
        return str(self.file)


def load(file: Path) -> Spec:
    """Read and validate a spec; raises `SpecError` with every problem found."""
    document = read_yaml(file)
    if not isinstance(document.data, dict):
        raise SpecError(
            "cannot read the spec",
            where=f"{file}:1",
            why="a spec is a mapping with the key `models`",
            fix="start from `triton-repo build model.onnx`, which writes one, or from examples/digits/deploy.yaml",
        )
    try:
        return Spec.model_validate(document.data, context=context(file.parent.resolve()))
    except ValidationError as error:
        raise SpecError.many(_problem(document, dict(item)) for item in error.errors()) from None


def place(file: Path, key: str) -> str:
    """`file:line (key)` of a key like `models.digits.preprocess.image_decode.size` in a spec that has been loaded."""
    return read_yaml(file).where(tuple(key.split(".")))


def read_yaml(file: Path) -> Document:
    """Read one YAML document safely: no duplicate keys, no tags, bounded size, depth and alias expansion."""
    text = _read_text(file)
    try:
        root = yaml.compose(text, Loader=_Loader)
        builder = _Builder(file)
        data = None if root is None else builder.build(root, ())
    except yaml.YAMLError as error:
        raise _syntax_error(file, text, error) from None
    except RecursionError:
        raise SpecError("cannot read the YAML", where=file, why="it is nested too deeply", fix="flatten it") from None
    if builder.problems:
        raise SpecError.many(builder.problems)
    return Document(file, data, builder.lines)


def _read_text(file: Path) -> str:
    try:
        if file.is_dir():
            raise SpecError("cannot read the spec", where=file, why="it is a folder", fix="name the YAML file in it")
        if file.stat().st_size > MAX_BYTES:
            raise SpecError("cannot read the spec", where=file, why="it is larger than 4 MiB", fix="split it")
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecError("cannot read the spec", where=file, why="there is no such file", fix="check the path") from None
    except UnicodeDecodeError as error:
        raise SpecError(
            "cannot read the spec", where=file, why=f"it is not UTF-8 text ({error.reason})", fix="save it as UTF-8"
        ) from None
    except OSError as error:
        raise SpecError("cannot read the spec", where=file, why=str(error.strerror), fix="check the path") from None


class _Builder:
    """Builds plain values out of YAML nodes and remembers lines; collects problems."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lines: dict[Path_, int] = {}
        self.problems: list[Problem] = []
        self._scalars = yaml.SafeLoader("")
        self._open: set[int] = set()
        self._count = 0

    def build(self, node: yaml.Node, path: Path_) -> Any:
        self._count += 1
        if self._count > MAX_NODES or len(path) > MAX_DEPTH or id(node) in self._open:
            raise SpecError(
                "cannot read the YAML",
                where=f"{self.file}:{node.start_mark.line + 1}",
                why="its aliases expand without end or far beyond what a spec needs",
                fix="write the values out instead of using `&anchor` and `*alias`",
            )
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            return self._scalars.construct_object(node)
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
            return dict(self._items(node, path))
        finally:
            self._open.discard(id(node))

    def _items(self, node: Any, path: Path_) -> Iterator[tuple[Any, Any]]:
        first_lines: dict[Any, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem("a key must be plain text", line, path, "write `name: value`")
                continue
            key = str(key_node.value)
            if key in first_lines:
                why = f"it was already given in line {first_lines[key]}, and only one of them can count"
                self._problem(f"duplicate key `{key}`", line, (*path, key), "remove one of them", why)
                continue
            first_lines[key] = line
            self.lines[(*path, key)] = line
            yield key, self.build(value_node, (*path, key))

    def _problem(self, what: str, line: int, path: Path_, fix: str, why: str = "") -> None:
        dotted = ".".join(map(str, path))
        self.problems.append(Problem(what, f"{self.file}:{line}" + (f" ({dotted})" if dotted else ""), why, fix))


def _syntax_error(file: Path, text: str, error: yaml.YAMLError) -> SpecError:
    mark = getattr(error, "problem_mark", None)
    line = mark.line + 1 if mark else 1
    why = str(getattr(error, "problem", None) or error).strip()
    fix = "correct the YAML in that line"
    lines = text.splitlines()
    nearby = lines[max(0, line - 2) : line + 1]
    if any("\t" in row[: len(row) - len(row.lstrip())] for row in nearby):
        why, fix = "a tab is used for indentation, which YAML forbids", "indent with spaces"
    elif "could not determine a constructor" in why:
        why, fix = f"tags are not allowed here: {why.split('tag')[-1].strip()}", "write plain values"
    return SpecError("cannot read the YAML", where=f"{file}:{line}", why=why, fix=fix)


def _problem(document: Document, error: dict[str, Any]) -> Problem:
    path = tuple(part for part in error["loc"] if part != "[key]")
    dotted = ".".join(map(str, path)) or "the spec"
    where = document.where(path)
    if error["type"] == "extra_forbidden":
        known = _known_keys(path[:-1])
        return Problem(
            f"unknown key `{path[-1]}`{nearest(str(path[-1]), known)}",
            where,
            "a misspelt key would be ignored silently",
            f"known keys here: {', '.join(known)}" if known else "remove it",
        )
    if error["type"] == "missing":
        return Problem(f"`{dotted}` is missing", where, "it has no default", f"add `{path[-1]}:`")
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return Problem(f"`{dotted}` cannot be used", where, message, _fix(error))


def _fix(error: dict[str, Any]) -> str:
    value = error.get("input")
    if isinstance(value, (dict, list, BaseModel)):
        return "see `triton-repo schema` or docs/spec.md for what is allowed"
    return f"replace `{value}`; `triton-repo schema` and docs/spec.md say what is allowed"


def _known_keys(path: Path_) -> list[str]:
    """Keys that the spec's type allows at `path`, found by walking the JSON schema."""
    from repository_builder.spec.schema import json_schema

    schema = json_schema()
    here: Any = schema
    for part in path:
        here = _resolve(schema, here)
        here = here.get("properties", {}).get(part) or here.get("additionalProperties") or here.get("items") or {}
    return list(_resolve(schema, here).get("properties", {}))


def _resolve(schema: dict[str, Any], here: Any) -> dict[str, Any]:
    if not isinstance(here, dict):
        return {}
    for option in here.get("anyOf", []):
        if "$ref" in option:
            here = option
    found: dict[str, Any] = here
    if "$ref" in here:
        found = schema["$defs"][here["$ref"].rpartition("/")[2]]
    return found
