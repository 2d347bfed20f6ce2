"""Small repositories for the tests of the checker."""

from __future__ import annotations

from pathlib import Path

from tests.rules import pages

_PAGE = pages.read_all()["ENS022"]


def good(root: Path) -> Path:
    """An ensemble `e` of one Python model `m`, without a finding."""
    pages.write(_PAGE.good, root)
    return root


def bad(root: Path) -> Path:
    """The same with one error that --fix can take away: ENS022 in line 7 of e/config.pbtxt."""
    pages.write(_PAGE.bad, root)
    return root
