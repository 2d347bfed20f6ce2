"""Every page: its bad repository gives exactly the findings that it names, its good one none."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from repository_builder.check import RepositoryReport, check, fixes
from repository_builder.check.rule import Change
from repository_builder.commands import check as command
from tests.rules import pages

PAGES = pages.read_all()


def judge(root: Path, options: tuple[str, ...]) -> RepositoryReport:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    chosen = parser.parse_args([str(root), *options])
    (report,) = check(
        root,
        image=chosen.image,
        gpu=chosen.gpu,
        auto_complete=not chosen.disable_auto_complete_config,
        select=command._names(chosen.select),
    ).repositories
    return report


@pytest.mark.parametrize("id_", PAGES)
def test_the_bad_repository_gives_exactly_the_planted_findings(id_: str, tmp_path: Path) -> None:
    page = PAGES[id_]
    pages.write(page.bad, tmp_path / "bad")
    report = judge(tmp_path / "bad", page.options)
    assert {finding.id for finding in report.findings} == {id_}, report.findings
    found = [(f"{f.found.path.relative_to(tmp_path / 'bad')}:{f.found.line}", f.found.field) for f in report.findings]
    assert found == list(page.finds)
    assert page.finds


@pytest.mark.parametrize("id_", PAGES)
def test_the_good_repository_gives_none(id_: str, tmp_path: Path) -> None:
    page = PAGES[id_]
    pages.write(page.good, tmp_path / "good")
    report = judge(tmp_path / "good", page.options)
    assert not report.findings


@pytest.mark.parametrize("id_", PAGES)
def test_what_fix_changes_is_right_afterwards(id_: str, tmp_path: Path) -> None:
    page = PAGES[id_]
    pages.write(page.bad, tmp_path / "bad")
    report = judge(tmp_path / "bad", page.options)
    offered: list[Change] = [change for finding in report.findings for change in finding.found.changes]
    if not offered:
        return
    whole = all(finding.found.changes for finding in report.findings)
    assert fixes.diff(report.findings)
    assert fixes.apply(report.findings)
    left = judge(tmp_path / "bad", page.options).findings
    assert not left if whole else len(left) < len(report.findings)
