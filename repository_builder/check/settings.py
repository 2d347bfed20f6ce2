"""`triton-repo.toml`: what a repository's owner has decided about the checker. A plain file, so no model to Triton.

    [check]
    image = "26.07"
    gpu = "h200"

    [check.ignore]
    SEC002 = "the volume is mounted read-only in production"

    [check.models.net.ignore]
    TRT009 = "profile 1 is for the nightly job, which uses its own repository"

It lies at the repository's root, or in the folder that holds the repository.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repository_builder.errors import Problem, SpecError, nearest

FILENAME = "triton-repo.toml"


@dataclass(frozen=True)
class Settings:
    """Decisions, with their reasons."""

    image: str = ""
    gpu: str = ""
    auto_complete: bool = True
    select: tuple[str, ...] = ()
    """Ids or families; empty: all rules."""
    ignore: Mapping[str, str] = field(default_factory=dict)
    """Id or family → reason."""
    models: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Model → id or family → reason."""
    source: str = ""

    def reason(self, rule: str, model: str) -> str | None:
        """Why a finding is ignored; None if it is not."""
        for table in (self.models.get(model, {}), self.ignore):
            for key, reason in table.items():
                if matches(rule, key):
                    return reason
        return None

    def keys(self) -> Iterable[str]:
        """Every id or family that is named."""
        yield from self.select
        yield from self.ignore
        for table in self.models.values():
            yield from table


def matches(rule: str, key: str) -> bool:
    """Does an id belong to an id or family?"""
    return rule == key or (key.isalpha() and rule.rstrip("0123456789") == key)


def find(repository: Path) -> Settings:
    """The settings of a repository; the defaults if there is no file. Raises SpecError."""
    for folder in (repository, repository.resolve().parent):
        if _exists(folder / FILENAME):
            return load(folder / FILENAME)
    return Settings()


def _exists(path: Path) -> bool:
    """A folder that may not be entered holds no settings; that it cannot be read is said by the runner."""
    try:
        return path.is_file()
    except OSError:
        return False


def load(path: Path) -> Settings:
    """Read a settings file; raises SpecError with all problems."""
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError("cannot read the checker's settings", where=path, why=str(error)) from error
    except tomllib.TOMLDecodeError as error:
        raise SpecError("the checker's settings are not TOML", where=path, why=str(error)) from error
    table = value.get("check", {})
    if problems := [*_problems(table, str(path))]:
        raise SpecError.many(problems)
    return Settings(
        image=table.get("image", ""),
        gpu=table.get("gpu", ""),
        auto_complete=table.get("auto_complete", True),
        select=tuple(table.get("select", ())),
        ignore=table.get("ignore", {}),
        models={name: entry.get("ignore", {}) for name, entry in table.get("models", {}).items()},
        source=str(path),
    )


def check_keys(keys: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise SpecError for ids and families that no rule has."""
    known = list(known)
    families = {id_.rstrip("0123456789") for id_ in known}
    wrong = [key for key in keys if key not in families and key not in known]
    if wrong:
        raise SpecError.many(
            Problem(f"there is no rule or family `{key}`{nearest(key, [*known, *families])}", where) for key in wrong
        )


_KINDS: dict[str, type] = {
    "image": str,
    "gpu": str,
    "auto_complete": bool,
    "select": list,
    "ignore": dict,
    "models": dict,
}


def _problems(table: Any, where: str) -> Iterable[Problem]:
    if not isinstance(table, dict):
        yield Problem("`check` is not a table", where)
        return
    for key, value in table.items():
        if key not in _KINDS:
            yield Problem(f"unknown setting `check.{key}`{nearest(key, _KINDS)}", where)
        elif not isinstance(value, _KINDS[key]):
            yield Problem(f"`check.{key}` is not a {_KINDS[key].__name__}", where)
    if isinstance(table.get("ignore", {}), dict):
        yield from _reasons(table.get("ignore", {}), "check.ignore", where)
    models = table.get("models", {})
    for name, entry in models.items() if isinstance(models, dict) else ():
        if not isinstance(entry, dict) or set(entry) - {"ignore"}:
            yield Problem(f"`check.models.{name}` holds only `ignore`", where)
        else:
            yield from _reasons(entry.get("ignore", {}), f"check.models.{name}.ignore", where)


def _reasons(table: Any, name: str, where: str) -> Iterable[Problem]:
    if not isinstance(table, dict):
        yield Problem(f"`{name}` is not a table", where)
        return
    for key, reason in table.items():
        if not isinstance(reason, str) or not reason.strip():
            yield Problem(f"`{name}.{key}` gives no reason", where, fix=f'{key} = "why this is no problem here"')
