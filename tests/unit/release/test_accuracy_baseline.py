"""The accuracy of a build against that of the last one: really lowered, really less accurate."""

from __future__ import annotations

import shutil

import pytest
import yaml

from repository_builder.cli import main
from repository_builder.repository.baseline import FILENAME, Baseline
from tests.conftest import ROOT

pytestmark = pytest.mark.slow


def write(folder, **precision) -> str:
    spec = yaml.safe_load((ROOT / "examples" / "digits" / "tensorrt.yaml").read_text())
    gate = {"calibration": "calibration.npz", "metric": "cosine", "threshold": 0.5, "rescue": False}
    spec["models"]["digits"]["precision"] = gate | precision
    file = folder / "tensorrt.yaml"
    file.write_text(yaml.safe_dump(spec, sort_keys=False))
    return str(file)


def test_less_accurate_rebuild_is_refused_with_both_numbers_until_it_is_accepted(tmp_path, capsys):
    folder, repository = tmp_path / "digits", tmp_path / "repository"
    shutil.copytree(ROOT / "examples" / "digits", folder)
    assert main(["build", write(folder, **{"try": ["fp16"]}), "-o", str(repository)]) == 0
    kept = Baseline.read(repository / FILENAME).accuracy["digits/precision"]
    assert min(kept.scores.values()) > 0.999
    before = (repository / "manifest.json").read_bytes()
    again = ["build", write(folder, **{"try": ["int8"]}), "-o", str(repository)]
    assert main(again) == 5  # the gate of the spec is wide open, that of the last build is not
    said = " ".join(capsys.readouterr().err.split())
    assert "less accurate than the baseline: digits at all 256 samples" in said
    assert "(int8), the baseline has" in said
    assert (repository / "manifest.json").read_bytes() == before
    assert Baseline.read(repository / FILENAME).accuracy["digits/precision"] == kept
    assert main([*again, "--set-baseline"]) == 0
    assert Baseline.read(repository / FILENAME).accuracy["digits/precision"].precision == "int8"
    assert main(again) == 0
