"""A Python model's source, looked at and never run."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from repository_builder.check.rule import Skip

CLASS = "TritonPythonModel"
SIZE_LIMIT = 5_000_000
"""Bytes; a longer source is data, not code."""


@dataclass(frozen=True)
class PythonSource:
    """The parsed source of a `model.py`."""

    path: Path
    tree: ast.Module | None
    error: SyntaxError | None
    """Why it does not parse."""

    @cached_property
    def module(self) -> ast.Module:
        """The syntax tree; raises Skip if it does not parse."""
        if self.tree is None:
            raise Skip(f"{self.path} does not parse")
        return self.tree

    @cached_property
    def model_class(self) -> ast.ClassDef | None:
        """The class `TritonPythonModel`, if the file itself defines it."""
        found = [node for node in ast.walk(self.module) if isinstance(node, ast.ClassDef) and node.name == CLASS]
        return found[-1] if found else None

    @cached_property
    def brings_class(self) -> bool:
        """Could the name come from elsewhere: an import (also with a star) or an assignment?"""
        for node in ast.walk(self.module):
            if isinstance(node, ast.ImportFrom | ast.Import):
                names = {alias.asname or alias.name for alias in node.names}
                if names & {CLASS, "*"}:
                    return True
            elif isinstance(node, ast.Assign):
                if any(isinstance(target, ast.Name) and target.id == CLASS for target in node.targets):
                    return True
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("exec", "globals"):
                return True
        return False

    @cached_property
    def inherits_foreign(self) -> bool:
        """Does the class come, or inherit, from a package that is not part of the model?"""
        foreign = {"*"} if self.model_class is None else set()
        for node in ast.walk(self.module):
            if (isinstance(node, ast.ImportFrom) and node.level == 0) or isinstance(node, ast.Import):
                foreign |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        if self.model_class is None:
            return bool(foreign & {CLASS, "*"})
        roots = {name.id for base in self.model_class.bases for name in ast.walk(base) if isinstance(name, ast.Name)}
        return bool(roots & foreign)

    @cached_property
    def is_plain(self) -> bool:
        """Does the class stand alone, so that what it lacks is lacking (no bases, no decorators, no metaclass)?"""
        found = self.model_class
        plain_bases = found is not None and all(
            isinstance(base, ast.Name) and base.id == "object" for base in found.bases
        )
        return found is not None and plain_bases and not found.keywords and not found.decorator_list

    def method(self, name: str) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
        """A method of the class, as defined in its body."""
        if self.model_class is None:
            return None
        for node in ast.walk(self.model_class):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
                return node
        return None

    def assigns(self, name: str) -> bool:
        """Is the name bound in the class body in any other way?"""
        if self.model_class is None:
            return False
        return any(
            isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store)
            for node in ast.walk(self.model_class)
        )

    @cached_property
    def imports(self) -> dict[str, int]:
        """Top-level package → line, of absolute imports that always run when the file is imported."""
        found: dict[str, int] = {}
        for node in _always(self.module.body):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    found.setdefault(alias.name.partition(".")[0], node.lineno)
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.setdefault(node.module.partition(".")[0], node.lineno)
        return found

    @cached_property
    def relative_imports(self) -> dict[str, int]:
        """Dotted module → line, of imports with one leading dot that always run."""
        found: dict[str, int] = {}
        for node in _always(self.module.body):
            if isinstance(node, ast.ImportFrom) and node.level == 1:
                names = [node.module] if node.module else [alias.name for alias in node.names]
                for name in names:
                    found.setdefault(name, node.lineno)
        return found


def read(path: Path) -> PythonSource:
    """Parse a source. Raises Skip if it cannot be read or is of a size that no source has."""
    try:
        if path.stat().st_size > SIZE_LIMIT:
            raise Skip(f"{path} is larger than {SIZE_LIMIT} bytes")
        content = path.read_bytes()
    except OSError as error:
        raise Skip(f"{path} cannot be read: {error.strerror}") from error
    try:
        return PythonSource(path, ast.parse(content, filename=str(path)), None)
    except SyntaxError as error:
        return PythonSource(path, None, error)
    except ValueError as error:  # a NUL byte
        return PythonSource(path, None, SyntaxError(str(error)))
    except (RecursionError, MemoryError) as error:
        raise Skip(f"{path} nests too deeply to be parsed") from error


def _always(body: list[ast.stmt]) -> list[ast.stmt]:
    """Statements at the top that run on import: not those under `if`, `try` or `def`."""
    return list(body)
