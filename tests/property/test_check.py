"""Whatever a repository holds, the checker neither raises nor hangs, and says the same thing twice.

`FUZZ_CASES=100000 pytest tests/property/test_check.py -k config` runs more cases than continuous integration does.
"""

from __future__ import annotations

import gc
import json
import os
import random
import re
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repository_builder.check import check, fixes
from repository_builder.check.host import GPUS, known_releases
from repository_builder.check.report import as_github, as_sarif, as_text
from tests.property.repositories import trees
from tests.rules import pages
from tests.server.random_repositories import repository

TREES = int(os.environ.get("FUZZ_CASES", "80"))
CONFIGS = int(os.environ.get("FUZZ_CASES", "800"))
LIMIT_S = 1.0


@settings(max_examples=TREES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
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


@settings(max_examples=CONFIGS, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(st.integers(0, 2**63))
def test_no_config_makes_the_checker_raise_or_hang(fuzzed, seed):
    """Likely configurations, torn and patched at random; cheap enough for very many."""
    source = random.Random(seed)
    entries = repository(source)
    for path, entry in entries.items():
        if path.endswith("config.pbtxt"):
            (fuzzed / path).write_bytes(torn(entry.text, source).encode("utf-8", "surrogatepass"))
    report, seconds = timed(fuzzed)
    if seconds > LIMIT_S:
        gc.collect()
        seconds = timed(fuzzed)[1]
    assert seconds < LIMIT_S
    assert not report.problems
    json.dumps(report.as_json())


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    root = tmp_path_factory.mktemp("fuzzed")
    for name in "men":
        (root / name / "1").mkdir(parents=True)
        shutil.copyfile(pages.STOCK / "model.py", root / name / "1" / "model.py")
    return root


_WORDS = """
{ } < > [ ] : , ; - # ' " = / // true TRUE T 1 0 00 08 0x1F 1.5 1e3 -1 .5 99999999999999999999 inf nan TYPE_FP32 "x" 'y'
name dims input max_batch_size dynamic_batching sequence_batching parameters kind key model_name step "\\400" "\\xff"
"""
WORDS = [*_WORDS.split(), "\n", "\\", "\0", "\u00a0", "\ufeff", "\ud800"]


def torn(text, source):
    """The text with some pieces removed, doubled, replaced or inserted; a few are cut off, a few are nonsense."""
    if source.random() < 0.02:
        return "".join(chr(source.randrange(0x250)) for _ in range(source.randrange(60)))
    pieces = re.findall(r"\s+|\w+|.", text)
    for _ in range(source.choice((0, 1, 1, 2, 3, 8))):
        at = source.randrange(len(pieces) + 1)
        how = source.choice(("cut", "double", "replace", "insert", "move"))
        if how == "insert":
            pieces.insert(at, source.choice(WORDS))
        elif how == "move":
            pieces.insert(at, pieces.pop(source.randrange(len(pieces))))
        elif at < len(pieces):
            pieces[at : at + 1] = {"cut": [], "double": [pieces[at]] * 2, "replace": [source.choice(WORDS)]}[how]
    whole = "".join(pieces)
    return whole[: source.randrange(len(whole) + 1)] if source.random() < 0.05 else whole


def timed(root, **options):
    start = time.process_time()
    report = check(root, **options)
    return report, time.process_time() - start


def write(tree, root):
    for name, content in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
