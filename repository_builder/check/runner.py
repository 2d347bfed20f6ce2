"""Runs the rules over a repository: in order of their `requires`, each model by itself."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from repository_builder.check import settings as settings_module
from repository_builder.check.host import Host
from repository_builder.check.inputs import Model, Repository, Version
from repository_builder.check.report import Finding, Ignored, RepositoryReport, Skipped
from repository_builder.check.rule import Found, Rule, Skip, all_rules
from repository_builder.check.settings import Settings, matches
from repository_builder.errors import RepositoryBuilderError, RepositoryError


def run(
    path: Path, host: Host, settings: Settings, *, select: Sequence[str] = (), ignore: Sequence[str] = ()
) -> RepositoryReport:
    """Judge one repository. Raises RepositoryError if there is none, SpecError for unknown rule names."""
    start = time.perf_counter()
    _readable(path)
    catalogue = all_rules()
    settings_module.check_keys([*select, *ignore], catalogue, "--select/--ignore")
    settings_module.check_keys(settings.keys(), catalogue, settings.source)
    wanted = [rule for rule in _ordered(catalogue) if _wanted(rule.id, select or settings.select, ignore)]
    repository = Repository(path, host)
    run_ = _Run(settings)
    run_.scope([rule for rule in wanted if rule.scope == "repository"], repository, "")
    by_model = [rule for rule in wanted if rule.scope in ("model", "version")]
    for model in repository.models.values():
        run_.model(by_model, model)
    return RepositoryReport(
        path=shown(path),
        models=len(repository.models),
        findings=tuple(sorted(run_.findings, key=_order)),
        ignored=tuple(run_.ignored),
        skipped=tuple(run_.skipped),
        notes=tuple(run_.notes(wanted)),
        seconds=time.perf_counter() - start,
    )


def shown(path: Path) -> str:
    """A path for people: relative to the working directory if it lies inside."""
    absolute = os.path.abspath(path)  # noqa: PTH100  (links stay as they are)
    inside = os.path.relpath(absolute)
    return inside if not inside.startswith("..") else absolute


CONCERNS: dict[str, Callable[[Model], bool]] = {
    "ENS": lambda model: model.is_ensemble,
    "ONX": lambda model: model.backend == "onnxruntime" and not model.is_ensemble,
    "PYB": lambda model: model.backend == "python" and not model.is_ensemble,
    "SEQ": lambda model: bool(model.config.HasField("sequence_batching")),
    "TRT": lambda model: model.backend == "tensorrt" and not model.is_ensemble,
    "WRM": lambda model: bool(model.config.model_warmup),
}
"""Family → the models that its rules are about; for the others they are not even called."""


@dataclass
class _Run:
    settings: Settings
    findings: list[Finding] = field(default_factory=list)
    ignored: list[Ignored] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    used: set[tuple[str, str]] = field(default_factory=set)

    def model(self, rules: Iterable[Rule], model: Model) -> None:
        hit: set[str] = set()
        idle = {family for family, concerns in CONCERNS.items() if not concerns(model)}
        for rule in rules:
            if rule.family in idle or (rule.needs_config and not model.is_readable) or hit.intersection(rule.requires):
                continue
            subjects: Iterable[Model | Version] = (model,) if rule.scope == "model" else model.served
            for subject in subjects:
                if self.one(rule, subject, model.name):
                    hit.add(rule.id)

    def scope(self, rules: Iterable[Rule], repository: Repository, model: str) -> None:
        hit: set[str] = set()
        for rule in rules:
            if not hit.intersection(rule.requires) and self.one(rule, repository, model):
                hit.add(rule.id)

    def one(self, rule: Rule, subject: Repository | Model | Version, model: str) -> bool:
        """Apply a rule; says whether it found anything, ignored or not."""
        found_any = False
        try:
            for found in rule.check(subject):
                found_any = True
                self.add(rule, found)
        except Skip as skip:
            self.skipped.append(Skipped(rule.id, getattr(subject, "name", model), str(skip)))
        except OSError as error:  # a folder that may not be entered
            reason = f"{error.filename} cannot be read: {error.strerror}"
            self.skipped.append(Skipped(rule.id, getattr(subject, "name", model), reason))
        except RepositoryBuilderError as error:  # a file that another rule reports
            self.skipped.append(Skipped(rule.id, getattr(subject, "name", model), error.problems[0].what))
        return found_any

    def add(self, rule: Rule, found: Found) -> None:
        finding = Finding(rule, found, shown(found.path))
        reason = self.settings.reason(rule.id, found.model)
        if reason is None:
            self.findings.append(finding)
        else:
            self.ignored.append(Ignored(finding, reason))

    def notes(self, wanted: Sequence[Rule]) -> Iterable[str]:
        used = {each.finding.id for each in self.ignored}
        ran = {rule.id for rule in wanted}
        for key in self.settings.ignore:
            if not any(matches(id_, key) for id_ in used) and any(matches(id_, key) for id_ in ran):
                yield f"{self.settings.source} ignores {key}, but nothing of the kind was found: the entry can go"


def _order(finding: Finding) -> tuple[str, int, int, str]:
    return finding.path, finding.found.line, finding.found.column, finding.id


def _wanted(id_: str, select: Sequence[str], ignore: Sequence[str]) -> bool:
    chosen = not select or any(matches(id_, key) for key in select)
    return chosen and not any(matches(id_, key) for key in ignore)


def _ordered(catalogue: dict[str, Rule]) -> list[Rule]:
    """Rules after those that they require."""
    done: dict[str, Rule] = {}

    def visit(rule: Rule) -> None:
        for needed in rule.requires:
            if needed not in done:
                visit(catalogue[needed])
        done.setdefault(rule.id, rule)

    for rule in catalogue.values():
        visit(rule)
    return list(done.values())


def _readable(path: Path) -> None:
    what = "cannot check the model repository"
    try:
        with os.scandir(path):
            return
    except FileNotFoundError as error:
        why, cause = "there is no such folder", error
    except NotADirectoryError as error:
        why, cause = "it is not a folder", error  # type: ignore[assignment]
    except OSError as error:
        why, cause = error.strerror or str(error), error  # type: ignore[assignment]
    raise RepositoryError(what, where=path, why=why, fix="give the folder that holds the models' folders") from cause
