"""Every error a user can meet, and its exit code.

    RepositoryBuilderError            1
    ├── SpecError                     2   what the user wrote (spec, arguments) cannot be meant
    ├── TargetUnavailable             3   the named target cannot be built on this machine
    ├── StageFailed                   4   a build stage failed; its log is kept
    ├── CheckFailed                   5   the result (findings, gate, verification) is not acceptable
    ├── CacheError                    6   the build cache cannot be used
    ├── GraphError                    7   the ONNX graph cannot be used
    ├── RepositoryError               8   the model repository cannot be read or written
    ├── ServerError                   9   a Triton server did not start, died or refused
    └── ToolMissing                  10   a program, package or environment that is needed is not there

An error carries one or several `Problem`s. Loading and checking collect problems; building stops at the first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self


@dataclass(frozen=True)
class Problem:
    """What happened, where, why, and what the user should do about it: plain sentences without a final full stop."""

    what: str
    where: str = ""
    why: str = ""
    fix: str = ""

    def __str__(self) -> str:
        lines = [f"error: {self.what}"]
        lines += [f"  {label + ':':<7}{_indented(text)}" for label, text in self._details() if text]
        return "\n".join(lines)

    def _details(self) -> tuple[tuple[str, str], ...]:
        return ("where", self.where), ("why", self.why), ("fix", self.fix)

    def as_json(self) -> dict[str, str]:
        """The problem for `--json` output; absent parts are left out."""
        return {"what": self.what} | {label: text for label, text in self._details() if text}


class RepositoryBuilderError(Exception):
    """Base of all errors that are the user's or the world's doing; anything else is a bug of ours."""

    exit_code: ClassVar[int] = 1

    def __init__(
        self, what: str, *, where: str | Path = "", why: str = "", fix: str = "", log: Path | None = None
    ) -> None:
        self.problems: tuple[Problem, ...] = (Problem(what, str(where), why, fix),)
        self.log = log
        """Kept output of the tool that failed, if one did."""
        self.stage = ""
        """The build stage in which it happened, if in one."""
        super().__init__(what)

    @classmethod
    def many(cls, problems: Iterable[Problem]) -> Self:
        """One error for several problems that were collected."""
        problems = tuple(problems)
        error = cls(problems[0].what)
        error.problems = problems
        return error

    def __str__(self) -> str:
        text = "\n".join(map(str, self.problems))
        return f"{text}\n  log:   {self.log}" if self.log else text


class SpecError(RepositoryBuilderError):
    """The spec or the command line asks for something that cannot be meant."""

    exit_code = 2


class TargetUnavailable(RepositoryBuilderError):
    """The target that was named cannot be built on this machine."""

    exit_code = 3


class StageFailed(RepositoryBuilderError):
    """A build stage failed."""

    exit_code = 4


class CheckFailed(RepositoryBuilderError):
    """The result is not acceptable: findings, an accuracy gate, a verification."""

    exit_code = 5


class CacheError(RepositoryBuilderError):
    """The build cache cannot be used."""

    exit_code = 6


class GraphError(RepositoryBuilderError):
    """The ONNX graph cannot be used."""

    exit_code = 7


class RepositoryError(RepositoryBuilderError):
    """The model repository cannot be read or written."""

    exit_code = 8


class ServerError(RepositoryBuilderError):
    """A Triton server did not start, died or refused a request."""

    exit_code = 9


class ToolMissing(RepositoryBuilderError):
    """A program, package or environment that is needed is not there."""

    exit_code = 10


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint ` (did you mean `x`?)` if `name` resembles a known name, else an empty string."""
    import difflib

    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean `{matches[0]}`?)" if matches else ""


def _indented(text: str) -> str:
    return text.replace("\n", "\n         ")
