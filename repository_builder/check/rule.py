"""What a rule is: one generator function, its identity and its documentation."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

PAGES = "docs/rules"
"""Where the pages of the rules are: a folder of this project, or the address under which it is published."""


class Severity(StrEnum):
    """What a finding means for the running server; both are proven against the real one."""

    ERROR = "error"
    """The server refuses the repository, or answers wrongly."""
    WARNING = "warning"
    """It loads, but is slow, fragile, unsafe or deprecated."""


@dataclass(frozen=True)
class Edit:
    """A change of a text file: the characters from `start` to `end` become `text`."""

    path: Path
    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Create:
    """A new file (with its folder), empty unless `text` says otherwise."""

    path: Path
    text: str = ""


@dataclass(frozen=True)
class Mode:
    """New permission bits of a file or folder."""

    path: Path
    mode: int


Change = Edit | Create | Mode


@dataclass(frozen=True)
class Found:
    """What a rule yields: what is wrong, where, and what to do."""

    path: Path
    """The file or folder concerned."""
    line: int
    column: int
    field: str
    """Field path in config.pbtxt, like `input[0].dims`; empty where no field is concerned."""
    message: str
    fix: str
    model: str = ""
    changes: tuple[Change, ...] = ()
    """The same fix as changes that cannot alter what the author meant; empty if there is no safe one."""


class Skip(Exception):
    """A rule cannot judge: knowledge is missing. Raised by inputs, reported by the runner, never a finding."""


Check = Callable[..., Iterator[Found]]


@dataclass(frozen=True)
class Rule:
    """A rule of the catalogue."""

    id: str
    name: str
    """Says the fault, in kebab case; reads well after "allow"."""
    severity: Severity
    check: Check
    requires: tuple[str, ...] = ()
    """Rules whose finding (in the same model) makes this one a mere consequence, so that it stays silent."""
    triton: str = ""
    """What the real server says; `…` stands for what varies. Empty where it says nothing."""
    needs_config: bool = True
    """Whether config.pbtxt must be readable for this rule (model scope)."""
    documentation: str = field(repr=False, default="")

    @cached_property
    def scope(self) -> str:
        """`repository`, `model` or `version`: the name of the first parameter."""
        return next(iter(inspect.signature(self.check).parameters))

    @cached_property
    def family(self) -> str:
        """Letters of the id."""
        return self.id.rstrip("0123456789")

    @property
    def url(self) -> str:
        """The rule's page."""
        return f"{PAGES}/{self.id}.md"

    @cached_property
    def sections(self) -> dict[str, str]:
        """The documentation's sections by heading."""
        parts = re.split(r"^## (.+)$", self.documentation, flags=re.MULTILINE)
        return {title.strip(): text.strip() for title, text in zip(parts[1::2], parts[2::2], strict=True)}

    @property
    def why(self) -> str:
        """The first paragraph of "Why is this bad?" in one line."""
        return " ".join(self.sections["Why is this bad?"].split("\n\n")[0].split())


_REGISTRY: dict[str, Rule] = {}


def rule(
    id: str,  # noqa: A002  (the word that everybody uses)
    name: str,
    severity: Severity,
    *,
    requires: tuple[str, ...] = (),
    triton: str = "",
    needs_config: bool = True,
) -> Callable[[Check], Check]:
    """Register a rule. Its docstring has the sections "What it does", "Why is this bad?" and "Example"."""

    def register(check: Check) -> Check:
        if id in _REGISTRY:
            raise ValueError(f"rule {id} exists twice")
        text = inspect.cleandoc(check.__doc__ or "")
        _REGISTRY[id] = Rule(id, name, severity, check, requires, triton, needs_config, text)
        return check

    return register


def all_rules() -> dict[str, Rule]:
    """Id → rule, sorted by id."""
    from repository_builder.check import rules

    rules.load()
    return dict(sorted(_REGISTRY.items()))


def as_json(change: Change) -> dict[str, Any]:
    """A change for machines."""
    kind = type(change).__name__.lower()
    return {"kind": kind} | {name: str(v) if isinstance(v, Path) else v for name, v in vars(change).items()}
