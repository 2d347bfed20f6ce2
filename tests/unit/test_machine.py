"""Which GPU runs an engine, and what is said where none does: never "no GPU" where there is one."""

from __future__ import annotations

import json
import os

import pytest

from repository_builder.cli import main
from repository_builder.errors import TargetUnavailable
from repository_builder.machine import Gpu, Machine, Obstacle, able, known_to_rtx, this_machine
from repository_builder.release.doctor import diagnose
from repository_builder.spec.model import ModelSpec
from repository_builder.targets import TARGETS
from tests.unit.stages.engine_graphs import mlp

L4 = Gpu("NVIDIA L4", "8.9", 24000, "610.43.02")
H200 = Gpu("NVIDIA H200", "9.0", 143771, "580.159.04")
NEXT = Gpu("NVIDIA RTX 6090", "13.0", 48000, "700.1")


def machine(*gpus: Gpu, trouble: str = "") -> Machine:
    packages = {"onnxruntime": "1.27.0", "tensorrt-rtx": "1.7.1.116", "tensorrt": "11.1.0.106"}
    return Machine(gpus, packages, "3.12", "Linux x86_64", trouble)


@pytest.mark.parametrize(
    ("number", "known"), [("8.9", True), ("9.0", False), ("10.3", False), ("12.1", True), ("13.0", True)]
)
def test_rtx_has_no_data_centre_gpus(number, known):
    assert known_to_rtx(number) is known


@pytest.mark.parametrize(
    ("package", "capabilities", "gpus", "runs_on"),
    [
        ("tensorrt_rtx", ("8.6", "8.9"), (H200, L4), L4),
        ("tensorrt_rtx", (), (H200, NEXT), NEXT),
        ("tensorrt", ("9.0",), (H200,), H200),
        ("tensorrt", (), (H200,), H200),
    ],
)
def test_first_gpu_that_fits(package, capabilities, gpus, runs_on):
    assert able(package, capabilities, machine(*gpus)) == runs_on


@pytest.mark.parametrize(
    ("package", "capabilities", "here", "why", "fix"),
    [
        (
            "tensorrt_rtx",
            ("8.9",),
            machine(H200),
            "TensorRT for RTX does not support NVIDIA H200 (9.0)",
            "tensorrt_plan",
        ),
        ("tensorrt_rtx", (), machine(H200), "no data-centre Hopper", "--in-container"),
        (
            "tensorrt_rtx",
            ("8.6",),
            machine(L4),
            "is for compute capability 8.6, here is NVIDIA L4 (8.9)",
            '["8.6", "8.9"]',
        ),
        ("tensorrt_rtx", ("8.6",), machine(NEXT), "is for compute capability 8.6", '"13.0"'),
        ("tensorrt", ("8.9",), machine(H200), "here is NVIDIA H200 (9.0)", "build it again on this machine"),
        ("tensorrt", (), machine(), "there is no NVIDIA GPU", "the machine that serves"),
        (
            "tensorrt",
            (),
            machine(trouble="version mismatch"),
            "fails, so no GPU can be used (version mismatch)",
            "driver",
        ),
    ],
)
def test_obstacle_says_what_is_here_and_what_helps(package, capabilities, here, why, fix):
    found = able(package, capabilities, here)
    assert isinstance(found, Obstacle)
    assert why in found.why
    assert fix in found.fix


@pytest.mark.parametrize("number", ["9.0", "10.0"])
def test_capability_that_rtx_lacks_is_refused_before_anything_is_built(number):
    options = {
        "source": {"onnx": "x.onnx"},
        "target": "tensorrt_rtx",
        "tensorrt": {"compute_capabilities": ["8.9", number]},
    }
    spec = ModelSpec.model_validate(options)
    with pytest.raises(TargetUnavailable, match=f"for compute capability {number} with tensorrt_rtx") as caught:
        TARGETS["tensorrt_rtx"].stages("net", spec, None, None, machine(H200))  # type: ignore[arg-type]
    assert "use the target tensorrt_plan" in caught.value.problems[0].fix


def test_doctor_says_that_what_is_built_here_does_not_run_here():
    (verdict,) = diagnose(machine(H200), None, None).verdicts
    assert verdict.severity == "warning"
    assert verdict.what == "the target tensorrt_rtx builds here, but its engines do not run here"
    assert diagnose(machine(L4), None, None).verdicts == ()
    (verdict,) = diagnose(machine(trouble="Driver/library version mismatch"), None, None).verdicts
    assert "Driver/library version mismatch" in verdict.why


NVIDIA_SMI = """#!/bin/sh
{}
"""


def with_nvidia_smi(folder, monkeypatch, text: str) -> None:
    """A program of that name comes first on the PATH."""
    program = folder / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(NVIDIA_SMI.format(text))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("text", "gpus", "trouble"),
    [
        ('echo "NVIDIA H200, 9.0, 143771, 580.159.04"', (H200,), ""),
        ('echo "Failed to initialize NVML: Driver/library version mismatch"; exit 18', (), "Failed to initialize NVML"),
        ("exit 9", (), "exit code 9"),
        ('echo "No devices were found"; exit 6', (), ""),
    ],
)
def test_driver_that_fails_is_not_called_a_machine_without_gpu(tmp_path, monkeypatch, text, gpus, trouble):
    with_nvidia_smi(tmp_path, monkeypatch, text)
    found = this_machine()
    assert found.gpus == gpus
    assert found.driver_trouble.startswith(trouble)
    assert bool(found.driver_trouble) is bool(trouble)


def test_engine_that_this_gpu_does_not_run_is_built_and_everything_says_so(tmp_path, monkeypatch, fresh_cache, capsys):
    mlp(tmp_path / "net")
    spec = {"models": {"net": {"source": {"onnx": "net/model.onnx"}, "target": "tensorrt_rtx", "max_batch_size": 4}}}
    (tmp_path / "deploy.yaml").write_text(json.dumps(spec))
    repository = tmp_path / "repository"
    with_nvidia_smi(tmp_path, monkeypatch, 'echo "NVIDIA H200, 9.0, 143771, 580.159.04"')
    why = "TensorRT for RTX does not support NVIDIA H200 (9.0): it has no data-centre Hopper or Blackwell"
    assert main(["build", str(tmp_path / "deploy.yaml"), "--output", str(repository)]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert f"note: the engine of `net` was built, but not run here against the reference: {why}" in said
    notes = json.loads((repository / "manifest.json").read_text())["pipelines"]["net"]["notes"]
    assert notes["parity"] == {"not looked at": why}
    assert notes["engine"]["profiles_from"] == "report"
    for command, code in ((["doctor", str(repository)], 5), (["profile", str(repository)], 3)):
        assert main(command) == code
        said = " ".join(capsys.readouterr().err.split())
        assert why in said
        assert "no NVIDIA GPU" not in said
