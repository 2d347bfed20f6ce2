"""The built wheel, in an empty environment and far from the checkout, builds an example."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(out.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_carries_its_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    models = {p.name for p in (ROOT / "python_backends").glob("*.py")}
    assert {f"repository_builder/_data/python_backends/{name}" for name in models} <= names
    assert "repository_builder/_data/python_backends/backends/onnxruntime/model.py" in names
    assert "repository_builder/_data/CMakeLists.txt" in names
    assert {f"repository_builder/sweep/assets/{name}" for name in ("report.html", "report.css", "report.js")} <= names
    assert any(name.startswith("repository_builder/_data/plugins_cuda/") for name in names)
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests/")]


@pytest.mark.slow
def test_an_example_builds_from_the_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv/bin/python"
    pip = [python, "-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "requirements.lock"), str(wheel)]
    subprocess.run(pip, check=True)
    shutil.copytree(ROOT / "examples/digits", tmp_path / "digits")
    answer = subprocess.run(
        [tmp_path / "venv/bin/triton-repo", "build", "digits/deploy.yaml"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "TRITON_REPO_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert (tmp_path / "model_repository/digits_core/1/model.onnx").is_file()
    assert (tmp_path / "model_repository/digits_preprocess/1/_image.py").is_file()
