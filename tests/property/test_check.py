"""Whatever a repository holds, the checker neither raises nor hangs, and says the same thing twice.

`FUZZ_CASES=100000 pytest tests/property/test_check.py` runs more cases than continuous integration does.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repository_builder.check import check, fixes
from repository_builder.check.host import GPUS, known_releases
from repository_builder.check.report import as_github, as_sarif, as_text
from tests.property.repositories import trees

CASES = int(os.environ.get("FUZZ_CASES", "150"))
LIMIT_S = 1.0


@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(
    trees(),
    st.sampled_from(("", "24.10", known_releases()[-1].name)),
    st.sampled_from(("", "none", next(iter(GPUS)))),
    st.booleans(),
)
def test_no_repository_makes_the_checker_raise_or_hang(tree, image, gpu, completes):
    root = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        write(tree, root)
        report, seconds = timed(root, image=image, gpu=gpu, auto_complete=completes)
        if seconds > LIMIT_S:  # a collection of Hypothesis's own garbage takes as long: it does not do so twice
            gc.collect()
            seconds = timed(root, image=image, gpu=gpu, auto_complete=completes)[1]
        assert seconds < LIMIT_S
        assert not report.problems
        text = as_text(report, show_skipped=True)
        assert as_text(check(root, image=image, gpu=gpu, auto_complete=completes), show_skipped=True) == text
        json.dumps([report.as_json(), as_sarif(report, "0")])
        as_github(report)
        fixes.diff(report.findings)
        fixes.apply(report.findings)
    finally:
        shutil.rmtree(root)


def timed(root, **options):
    start = time.process_time()
    report = check(root, **options)
    return report, time.process_time() - start


def write(tree, root):
    for name, content in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
