"""The doctor: machine, repository and container, and planted faults between them."""

from __future__ import annotations

import json

import pytest

from repository_builder.machine import Gpu, Machine
from repository_builder.release.doctor import diagnose
from repository_builder.repository import releases
from repository_builder.repository.manifest import Manifest

MACHINE = Machine(
    (Gpu("NVIDIA L4", "8.9", 24000, "610.43.02"),),
    {"tensorrt": "11.1.0.106", "onnxruntime": "1.27.0"},
    "3.12.3",
    "Linux",
)
ENGINE = {
    "builder": {"package": "tensorrt", "version": "11.1.0.106"},
    "compute_capabilities": ["8.9"],
    "flags": ["TF32"],
    "hardware_compatibility": "NONE",
}


class Pipeline:
    """As much of a pipeline entry as the doctor reads."""

    def __init__(self, **engine):
        self.notes = {"engine": {**ENGINE, **engine}}


def repository(image="nvcr.io/nvidia/tritonserver:26.07-py3", **engine) -> Manifest:
    container = {"image": image, "why": "the plans need it"}
    machine = {"packages": {"onnxruntime": "1.27.0"}, "python": "3.12.3"}
    return Manifest("triton-repo", container, machine, {"net": Pipeline(**engine)}, {}, {})  # type: ignore[dict-item]


def verdicts(manifest=None, tag="26.07", machine=MACHINE):
    found = diagnose(machine, manifest or repository(), releases.by_tag(tag))
    return [(verdict.severity, f"{verdict.what}: {verdict.why}; {verdict.fix}") for verdict in found.verdicts]


def test_matching_parts_have_nothing_against_them():
    assert verdicts() == []


def test_plan_of_another_tensorrt_does_not_load_and_the_right_tag_is_named():
    ((severity, text),) = [v for v in verdicts(tag="26.08") if v[0] == "error"]
    assert severity == "error"
    assert "`net` does not load" in text
    assert "serve it with nvcr.io/nvidia/tritonserver:26.07-py3" in text


@pytest.mark.parametrize(
    ("version", "tag", "loads"),
    [
        ("11.1.0.106", "26.08", True),
        ("10.16.0.72", "26.07", True),
        ("11.1.0.106", "26.05", False),
        ("11.2.1.2", "26.07", False),
    ],
)
def test_version_compatible_plans_load_in_newer_releases_only(version, tag, loads):
    manifest = repository(builder={"package": "tensorrt", "version": version}, flags=["VERSION_COMPATIBLE"])
    found = verdicts(manifest, tag, Machine((), {}, "3.12", "Linux"))
    assert any("does not load" in text for severity, text in found if severity == "error") is not loads
    assert any("carries code" in text for _, text in found)


def test_unpublished_version_is_a_warning_not_a_guess():
    found = verdicts(tag="26.10")
    assert any(severity == "warning" and "nobody knows whether" in text for severity, text in found)


@pytest.mark.parametrize("flag", ["STRIP_PLAN", "EXCLUDE_LEAN_RUNTIME"])
def test_plans_that_triton_cannot_serve_are_refused(flag):
    assert any(s == "error" and "Triton cannot serve" in text for s, text in verdicts(repository(flags=[flag])))


def test_wrong_gpu_is_named_with_both_numbers():
    ((_, text),) = verdicts(repository(compute_capabilities=["9.0"]))
    assert "compute capability 9.0, here is NVIDIA L4 (8.9)" in text
    assert verdicts(repository(compute_capabilities=["8.0"], hardware_compatibility="AMPERE_PLUS")) == []


@pytest.mark.parametrize(("driver", "severity"), [("550.90", "error"), ("580.95.05", "warning"), ("615.61", None)])
def test_driver_is_compared_with_what_the_cuda_needs(driver, severity):
    machine = Machine((Gpu("NVIDIA L4", "8.9", 24000, driver),), {}, "3.12", "Linux")
    assert [found for found, _ in verdicts(machine=machine)] == ([severity] if severity else [])


def test_gpu_that_the_container_has_dropped():
    machine = Machine((Gpu("Tesla P4", "6.1", 8000, "610.43.02"),), {}, "3.12", "Linux")
    assert any("does not support Tesla P4" in text for _, text in verdicts(machine=machine))


def test_compute_capabilities_are_listed_as_numbers():
    rows = diagnose(MACHINE, repository(compute_capabilities=["12.0", "8.9", "8.6"]), None).rows
    (row,) = [row for row in rows if row.component == "compute capability"]
    assert (row.machine, row.manifest) == ("8.9", "8.6, 8.9, 12.0")


def test_diagnosis_is_json_and_shows_the_confidence():
    found = json.loads(json.dumps(diagnose(MACHINE, repository(), releases.by_tag("26.07")).as_json()))
    assert found["confidence"].startswith("third-party")
    tensorrt = next(row for row in found["components"] if row["component"] == "TensorRT")
    assert tensorrt == {
        "component": "TensorRT",
        "machine": "11.1.0.106",
        "manifest": "11.1.0.106",
        "container": "11.1.0.106",
    }
