"""Find what would fail or silently hurt in a model repository, before a server starts.

examples:
  triton-repo check model_repository
  triton-repo check model_repository --image 26.07 --gpu h200
  triton-repo check model_repository --fix
  triton-repo check repo_a repo_b --format json
  triton-repo check model_repository --select ENS,VER --ignore SEC001
  triton-repo check model_repository/net/config.pbtxt      (its repository is checked)

Rules: docs/rules/, or `triton-repo explain ENS022`. Findings are ignored, with a reason, in triton-repo.toml.

exit codes: 0 clean, 1 findings, 2 could not run
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from repository_builder.console import note, print_json
from repository_builder.errors import RepositoryBuilderError, SpecError

if TYPE_CHECKING:
    from repository_builder.check import Report


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `check`."""
    parser.add_argument("repository", nargs="+", type=Path, help="a model repository, or a config.pbtxt in one")
    parser.add_argument("--image", default="", metavar="YY.MM", help="Triton container that serves it, like 26.07")
    parser.add_argument("--gpu", default="", metavar="NAME", help="GPU of the server, like h200, or `none`")
    parser.add_argument("--select", default="", metavar="RULES", help="only these rules or families, comma separated")
    parser.add_argument("--ignore", default="", metavar="RULES", help="not these rules or families, comma separated")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="settings, instead of the repository's triton-repo.toml"
    )
    parser.add_argument(
        "--disable-auto-complete-config", action="store_true", help="the server is started with the option of this name"
    )
    parser.add_argument("--format", choices=("text", "json", "sarif", "github"), default="text", help="how to report")
    parser.add_argument("--json", action="store_true", help="same as --format json")
    parser.add_argument("--fix", action="store_true", help="apply the fixes that are safe, and show a diff")
    parser.add_argument("--diff", action="store_true", help="show what --fix would do, and change nothing")
    parser.add_argument("--show-skipped", action="store_true", help="say which rules could not judge, and why")


def run(options: argparse.Namespace) -> int:
    """Check, report, and say by the exit code whether anything was found."""
    try:
        return _run(options)
    except RepositoryBuilderError as error:
        print(error, file=sys.stderr)
        if options.json or options.format == "json":
            print_json({"errors": [problem.as_json() for problem in error.problems]})
        return 2


def _run(options: argparse.Namespace) -> int:
    from repository_builder.check import check, fixes
    from repository_builder.check import settings as settings_module

    paths = _repositories(options.repository)
    settings = settings_module.load(options.config) if options.config else None

    def judge() -> Report:
        return check(
            paths,
            image=options.image,
            gpu=options.gpu,
            auto_complete=False if options.disable_auto_complete_config else None,
            select=_names(options.select),
            ignore=_names(options.ignore),
            settings=settings,
        )

    report = judge()
    if options.diff and not options.fix:
        _show(fixes.diff(report.findings))
    for _ in range(PASSES if options.fix else 0):
        _show(fixes.diff(report.findings))
        if not _fixed(report):
            break
        report = judge()
    _print(report, "json" if options.json else options.format, show_skipped=options.show_skipped)
    return report.exit_code


PASSES = 5
"""A mistake of syntax hides others: what is fixed may show more that can be."""


def _fixed(report: Report) -> int:
    """Apply the fixes; how many files were changed."""
    from repository_builder.check import fixes

    try:
        changed = fixes.apply(report.findings)
    except OSError as error:
        raise SpecError(
            "cannot apply the fixes", where=str(error.filename), why=error.strerror or str(error)
        ) from error
    if changed:
        note(f"changed {changed} file{'' if changed == 1 else 's'}")
    return changed


def _repositories(paths: Sequence[Path]) -> list[Path]:
    """Each repository once; a config.pbtxt, or the folder of one, stands for the repository around it."""
    found: dict[Path, None] = {}
    for path in paths:
        try:
            found[_repository(path)] = None
        except OSError:  # the checker says what is wrong with it
            found[path] = None
    return list(found)


def _repository(path: Path) -> Path:
    if path.name == "config.pbtxt" and path.is_file():
        return path.absolute().parent.parent
    if (path / "config.pbtxt").is_file() and not any((each / "config.pbtxt").is_file() for each in path.iterdir()):
        note(f"{path} is a model; checking the repository around it")
        return path.absolute().parent
    return path


def _names(text: str) -> list[str]:
    return [name.strip().upper() for name in text.split(",") if name.strip()]


def _print(report: Report, style: str, *, show_skipped: bool) -> None:
    from repository_builder import __version__
    from repository_builder.check import report as report_module

    match style:
        case "json":
            print_json(report.as_json())
        case "sarif":
            print(json.dumps(report_module.as_sarif(report, __version__), indent=2))
        case "github":
            _show(report_module.as_github(report))
        case _:
            _show(report_module.as_text(report, show_skipped=show_skipped))


def _show(text: str) -> None:
    """Print what may hold bytes that are no text."""
    if text:
        print(text.encode("utf-8", "backslashreplace").decode().rstrip("\n"))
