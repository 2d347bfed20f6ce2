"""The result of a check: findings, what was ignored and why, and what could not be judged and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repository_builder.check.rule import Found, Rule, Severity, as_json
from repository_builder.errors import Problem


@dataclass(frozen=True)
class Finding:
    """What a rule found."""

    rule: Rule
    found: Found
    path: str
    """As shown: relative to the working directory where that is shorter."""

    @property
    def id(self) -> str:
        """The rule's id."""
        return self.rule.id

    @property
    def severity(self) -> Severity:
        """The rule's severity."""
        return self.rule.severity

    @property
    def where(self) -> str:
        """`path:line:column`."""
        return f"{self.path}:{self.found.line}:{self.found.column}"

    def as_json(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        found = self.found
        return {
            "rule": self.id,
            "name": self.rule.name,
            "severity": str(self.severity),
            "model": found.model,
            "path": self.path,
            "line": found.line,
            "column": found.column,
            "field": found.field,
            "message": found.message,
            "why": self.rule.why,
            "fix": found.fix,
            "url": self.rule.url,
            "changes": [as_json(change) for change in found.changes],
        }


@dataclass(frozen=True)
class Ignored:
    """A finding that the configuration ignores."""

    finding: Finding
    reason: str


@dataclass(frozen=True)
class Skipped:
    """A rule that could not judge."""

    rule: str
    subject: str
    """Model or version."""
    reason: str


@dataclass(frozen=True)
class RepositoryReport:
    """The verdict on one repository."""

    path: str
    models: int
    findings: tuple[Finding, ...] = ()
    ignored: tuple[Ignored, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    """Why the repository could not be judged at all; empty if it was."""
    seconds: float = 0.0

    def count(self, severity: Severity) -> int:
        """Findings of one severity."""
        return sum(finding.severity is severity for finding in self.findings)

    @property
    def errors(self) -> int:
        """Number of errors."""
        return self.count(Severity.ERROR)

    @property
    def warnings(self) -> int:
        """Number of warnings."""
        return self.count(Severity.WARNING)

    def as_json(self) -> dict[str, Any]:
        """The record of one repository."""
        return {
            "repository": self.path,
            "models": self.models,
            "errors": self.errors,
            "warnings": self.warnings,
            "findings": [finding.as_json() for finding in self.findings],
            "ignored": [{"reason": each.reason} | each.finding.as_json() for each in self.ignored],
            "skipped": [vars(each) for each in self.skipped],
            "notes": list(self.notes),
            "problems": [problem.as_json() for problem in self.problems],
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class Report:
    """The verdicts on all repositories of one call, each judged by itself."""

    repositories: tuple[RepositoryReport, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings that are not ignored."""
        return tuple(finding for repository in self.repositories for finding in repository.findings)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Why repositories could not be judged."""
        return tuple(problem for repository in self.repositories for problem in repository.problems)

    @property
    def exit_code(self) -> int:
        """0 clean, 1 findings, 2 a repository could not be judged."""
        return 2 if self.problems else 1 if self.findings else 0

    def as_json(self) -> dict[str, Any]:
        """The whole report."""
        return {"format": 1, "repositories": [repository.as_json() for repository in self.repositories]}


def as_text(report: Report, *, show_skipped: bool = False) -> str:
    """For people."""
    return "\n".join(line for repository in report.repositories for line in _text(repository, show_skipped))


def as_github(report: Report) -> str:
    """Workflow commands: GitHub shows each finding at its line of the pull request."""
    return "\n".join(_github(finding) for finding in report.findings)


def as_sarif(report: Report, version: str) -> dict[str, Any]:
    """SARIF 2.1.0, for code-scanning services."""
    rules = {finding.id: finding.rule for finding in report.findings}
    ids = sorted(rules)
    driver = {
        "name": "triton-repo check",
        "version": version,
        "rules": [_sarif_rule(rules[id_]) for id_ in ids],
    }
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "results": [_sarif_result(each, ids.index(each.id)) for each in report.findings],
            }
        ],
    }


def _text(repository: RepositoryReport, show_skipped: bool) -> Iterator[str]:
    yield from (str(problem) for problem in repository.problems)
    for finding in repository.findings:
        found = finding.found
        field = f" {found.field}:" if found.field else ""
        yield f"{finding.where}: {finding.severity} {finding.id}{field} {found.message} [{finding.rule.name}]"
        yield f"    why: {finding.rule.why}"
        yield f"    fix: {found.fix}{' (--fix does it)' if found.changes else ''}"
        yield f"    see: {_page(finding.rule)}"
    for ignored in repository.ignored:
        finding = ignored.finding
        yield f"{finding.where}: ignored {finding.id} {finding.found.message} (reason: {ignored.reason})"
    yield from (f"note: {note}" for note in repository.notes)
    if show_skipped:
        for reason, rules in _by_reason(repository.skipped):
            yield f"skipped {', '.join(rules)}: {reason}"
    if not repository.problems:
        yield _summary(repository)


def _page(rule: Rule) -> str:
    """Where the rule's page is: the command works everywhere, the path in a checkout of this project."""
    return f"`triton-repo explain {rule.id}` ({rule.url})"


def _summary(repository: RepositoryReport) -> str:
    counts = [_plural(repository.errors, "error"), _plural(repository.warnings, "warning")]
    found = " and ".join(each for each in counts if not each.startswith("0 ")) or "no findings"
    text = f"{repository.path}: {found} in {_plural(repository.models, 'model')}"
    if repository.ignored:
        text += f"; {len(repository.ignored)} ignored"
    if repository.skipped:
        rules = len({each.rule for each in repository.skipped})
        text += f"; {_plural(rules, 'rule')} could not judge everything (--show-skipped says why)"
    return text


def _by_reason(skipped: Sequence[Skipped]) -> list[tuple[str, list[str]]]:
    table: dict[str, dict[str, None]] = {}
    for each in skipped:
        table.setdefault(each.reason, {})[each.rule] = None
    return [(reason, sorted(rules)) for reason, rules in sorted(table.items())]


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _github(finding: Finding) -> str:
    found = finding.found
    place = f"file={_property(finding.path)},line={found.line},col={found.column}"
    title = _property(f"{finding.id} {finding.rule.name}")
    body = f"{found.message}\nwhy: {finding.rule.why}\nfix: {found.fix}\nsee: {_page(finding.rule)}"
    return f"::{finding.severity} {place},title={title}::{_data(body)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _sarif_rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "name": "".join(word.capitalize() for word in rule.name.split("-")),
        "shortDescription": {"text": " ".join(rule.sections["What it does"].split())},
        "fullDescription": {"text": rule.why},
        "helpUri": rule.url,
        "help": {"text": rule.documentation, "markdown": rule.documentation},
        "defaultConfiguration": {"level": str(rule.severity)},
    }


def _sarif_result(finding: Finding, index: int) -> dict[str, Any]:
    found = finding.found
    return {
        "ruleId": finding.id,
        "ruleIndex": index,
        "level": str(finding.severity),
        "message": {"text": f"{found.message}. Fix: {found.fix}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": Path(finding.path).as_posix()},
                    "region": {"startLine": found.line, "startColumn": found.column},
                },
                "logicalLocations": [
                    {"fullyQualifiedName": f"{found.model}:{found.field}" if found.field else found.model}
                ],
            }
        ],
    }
