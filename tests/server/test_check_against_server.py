"""Random repositories: the checker finds an error exactly where the server refuses.

`CASES=1000 pytest tests/server/test_check_against_server.py` compares more than continuous integration does.
"""

from __future__ import annotations

import os
import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from repository_builder.check import check
from tests.rules import pages
from tests.server.random_repositories import repository
from tests.server.test_rules import LastingProver, Start, _nothing_left_behind, backends, start  # noqa: F401  (fixtures)

pytestmark = [pytest.mark.server, pytest.mark.slow]

CASES = int(os.environ.get("CASES", "90"))
NOT_SHOWN = {"TRT", "ONX", "FILE"}
"""Families of rules of backends that have a stand-in here."""


def verdicts(prover: LastingProver, number: int, folder: Path) -> tuple[list[str], str, dict[str, pages.Entry]]:
    """The checker's errors, the server's refusal, and the repository."""
    entries = repository(random.Random(number))
    root = folder / str(number)
    pages.write(entries, root)
    (report,) = check(root, gpu="none", auto_complete=False).repositories
    errors = [f"{f.id} {f.found.field}: {f.found.message}" for f in report.findings if f.severity == "error"]
    errors = [each for each in errors if each.split()[0].rstrip("0123456789") not in NOT_SHOWN]
    return errors, prover.prove(f"case{number}_", entries).refusal, entries


@pytest.mark.usefixtures("_nothing_left_behind")
def test_the_checker_and_the_server_agree(tmp_path: Path, start: Start, lost_servers: list[str]) -> None:  # noqa: F811
    with closing(LastingProver(partial(start, False), lost_servers)) as prover, ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda number: verdicts(prover, number, tmp_path / "cases"), range(CASES)))
    wrong = [
        (errors, refusal, {path: entry.text for path, entry in entries.items() if entry.kind == "text"})
        for errors, refusal, entries in results
        if bool(errors) != bool(refusal)
    ]
    assert not wrong, wrong[0]
    assert 0.2 < sum(bool(errors) for errors, *_ in results) / CASES < 0.9
