"""The checker: judges any model repository, hand-written ones too, without starting a server.

from repository_builder import check

report = check.check(Path("model_repository"), image="26.07", gpu="h200")
for finding in report.findings: ...
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from repository_builder.check import runner
from repository_builder.check import settings as settings_module
from repository_builder.check.host import Host
from repository_builder.check.report import Finding, Report, RepositoryReport
from repository_builder.check.rule import Rule, Severity, all_rules
from repository_builder.check.settings import Settings
from repository_builder.errors import RepositoryError

__all__ = ["Finding", "Report", "RepositoryReport", "Rule", "Severity", "all_rules", "check"]


def check(
    path: Path | Sequence[Path],
    *,
    image: str = "",
    gpu: str = "",
    auto_complete: bool | None = None,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    settings: Settings | None = None,
) -> Report:
    """Judge one or several repositories, each by itself.

    `image` is a container release like 26.07, `gpu` a name of `host.GPUS` or `none`; what is not given is taken from the
    repository's `triton-repo.toml` (or from `settings`), else it is unknown, and rules that need it are skipped. A
    repository that cannot be read is reported in its record's `problems`. Raises SpecError for wrong arguments.
    """
    paths = [path] if isinstance(path, Path) else list(path)
    reports = []
    for each in paths:
        chosen = settings_module.find(each) if settings is None else settings
        completes = chosen.auto_complete if auto_complete is None else auto_complete
        host = Host(image or chosen.image, gpu or chosen.gpu, completes)
        reports.append(_one(each, host, chosen, select, ignore))
    return Report(tuple(reports))


def _one(path: Path, host: Host, settings: Settings, select: Sequence[str], ignore: Sequence[str]) -> RepositoryReport:
    try:
        return runner.run(path, host, settings, select=select, ignore=ignore)
    except RepositoryError as error:
        return RepositoryReport(runner.shown(path), 0, problems=error.problems)
