"""The Python examples of docs/serving.md, run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT, Cli

pytestmark = pytest.mark.server


def test_the_python_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli, capsys) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    built = cli("build", "examples/digits/deploy.yaml")
    assert built.returncode == 0, built.stderr
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "serving.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("[[b'3'")
    assert [line.split()[0] for line in printed[1:]] == ["1", "4"]
