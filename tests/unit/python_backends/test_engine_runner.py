"""The runner of engines, as far as it can be tried without a GPU: the choice of the profile, and what it says there."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from repository_builder.machine import this_machine
from repository_builder.resources import data_folder

FOLDER = data_folder("python_backends") / "backends" / "tensorrt_rtx"


def run(code: str) -> subprocess.CompletedProcess[str]:
    """In the backend's own folder, as Triton imports it."""
    return subprocess.run([sys.executable, "-c", code], cwd=FOLDER, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("shape", "expected"), [((1, 4), 0), ((8, 4), 0), ((9, 4), 1), ((65, 4), None), ((1, 5), None), ((4,), None)]
)
def test_profile_is_chosen_by_shape(shape, expected):
    code = f"""
import json
from engine_runner import fitting
profiles = [{{"x": ((1, 4), (8, 4))}}, {{"x": ((9, 4), (64, 4))}}]
print(json.dumps(fitting(profiles, {{"x": {shape!r}}})))
"""
    done = run(code)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected


@pytest.mark.skipif(bool(this_machine().gpus), reason="there is a GPU")
def test_without_a_gpu_it_says_so(tmp_path):
    (tmp_path / "model.plan").write_bytes(b"no engine")
    code = f"""
from pathlib import Path
from engine_runner import EngineRunner
from run_types import RunFailed
try:
    EngineRunner("tensorrt_rtx", Path({str(tmp_path / "model.plan")!r}))
except RunFailed as failed:
    print(failed)
"""
    done = run(code)
    assert "CUDA" in done.stdout, done.stderr
