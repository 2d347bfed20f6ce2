"""The CMake build: configures without TensorRT and says so, and builds a plugin and its host library."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from repository_builder.plugins.toolchain import find_nvcc
from tests import plugin_kit as kit
from tests.conftest import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture
def cmake() -> str:
    program = shutil.which("cmake")
    assert program, "CMake is needed: apt install cmake, or pip install cmake"
    return program


def configure(cmake: str, folder: Path, *definitions: str) -> subprocess.CompletedProcess[str]:
    nvcc = f"-DCMAKE_CUDA_COMPILER={find_nvcc().program}"
    command = [cmake, "-S", str(ROOT), "-B", str(folder), "-DTRB_ARCHITECTURES=75", nvcc, *definitions]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def ccache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with the commands that went through a stand-in for ccache, which runs them."""
    calls, stand_in = tmp_path / "calls", tmp_path / "bin" / "ccache"
    stand_in.parent.mkdir()
    stand_in.write_text(f'#!/bin/sh\necho "$@" >> {calls}\nexec "$@"\n')
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stand_in.parent}:{os.environ['PATH']}")
    return calls


def test_kernels_build_without_tensorrt_and_behind_ccache(cmake: str, tmp_path: Path, ccache: Path) -> None:
    said = configure(cmake, tmp_path)
    assert said.returncode == 0, said.stderr
    if "TensorRT headers: none" in said.stdout:
        assert "shells are NOT built" in said.stdout
        assert "TRB_FETCH_TENSORRT" in said.stdout
    build = [cmake, "--build", str(tmp_path), "--target", "trb_det", "trb_det_host"]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert {"libtrb_det.so", "libtrb_det_host.so"} <= {path.name for path in tmp_path.iterdir()}
    compiled = ccache.read_text()
    assert all(source in compiled for source in ("det/det.cu", "det/det_plugin.cpp", "common/host.cpp"))


def test_a_wrong_tensorrt_root_is_an_error(cmake: str, tmp_path: Path) -> None:
    said = configure(cmake, tmp_path / "build", f"-DTENSORRT_ROOT={tmp_path}")
    assert said.returncode != 0
    assert "NvInferRuntime.h is not there" in said.stderr


def test_the_shell_and_the_harness_build_with_headers(cmake: str, tmp_path: Path) -> None:
    headers = kit.require_headers()
    said = configure(cmake, tmp_path, f"-DTENSORRT_ROOT={headers.folder}")
    assert said.returncode == 0, said.stderr
    build = [cmake, "--build", str(tmp_path), "--target", "trb_det", "trb_harness"]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    symbols = subprocess.run(
        ["nm", "-D", "--defined-only", tmp_path / "libtrb_det.so"], capture_output=True, text=True, check=True
    )
    assert "getCreators" in symbols.stdout
