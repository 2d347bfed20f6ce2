"""Repositories made for TensorRT, rehearsed: Triton's core takes their configs, and the golden inputs come out right."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from repository_builder import builder
from repository_builder.errors import CheckFailed, ServerError
from repository_builder.machine import this_machine
from repository_builder.repository import manifest
from repository_builder.repository.pbtxt import parse
from repository_builder.serving.server import serve
from repository_builder.serving.verify import verify
from repository_builder.targets import tensorrt_plan
from tests.conftest import ROOT
from tests.unit.build.test_engine import Quiet

pytestmark = [pytest.mark.server, pytest.mark.slow]


TARGETS_HERE = ["tensorrt_rtx", *(["tensorrt_plan"] if not tensorrt_plan.missing(this_machine()) else [])]
"""The full TensorRT only where it and a GPU are."""


def example(name: str, folder: Path, **changes) -> Path:
    """A copy of an example with some fields of its TensorRT spec replaced."""
    if changes.get("target") == "tensorrt_plan":
        changes["tensorrt"] = {}  # it builds for the GPU that is here
    shutil.copytree(ROOT / "examples" / name, folder / name)
    file = folder / name / "tensorrt.yaml"
    spec = yaml.safe_load(file.read_text())
    spec["models"][name] |= changes
    file.write_text(yaml.safe_dump(spec, sort_keys=False))
    return file


def built(name: str, tmp_path: Path, **changes) -> tuple[Path, dict]:
    repository = tmp_path / "repository"
    builder.build(example(name, tmp_path, **changes), repository, Quiet(), warn=pytest.fail)
    record = manifest.read(repository)
    assert record is not None
    return repository, record.pipelines[name].notes


def rehearsed(repository: Path) -> None:
    with serve(repository, rehearse=True, graceful=False) as server:
        results = verify(server.grpc, repository)
    assert results
    assert all(result.passed for result in results)


@pytest.mark.parametrize("target", TARGETS_HERE)
@pytest.mark.parametrize(
    ("precision", "dtype"),
    [
        ({"try": ["fp32"]}, "FP32"),
        ({"try": ["fp16"], "calibration": "samples"}, "FP16"),
        ({"try": ["int8"], "calibration": "calibration.npz", "metric": "top1"}, "INT8"),
    ],
)
def test_digits_in_every_precision(tmp_path, precision, dtype, target):
    repository, notes = built("digits", tmp_path, precision=precision, target=target)
    engine = notes["engine"]
    assert engine["precision"] == dtype.lower()
    assert engine["compute_capabilities"] == (
        ["8.6", "8.9", "12.0"] if target == "tensorrt_rtx" else [this_machine().gpus[0].compute_capability]
    )
    assert engine["profiles_from"] in ("engine", "report")
    config = parse((repository / "digits_core" / "config.pbtxt").read_text(), "config.pbtxt").config
    assert config.max_batch_size == max(p["shapes"]["pixels"]["max"][0] for p in engine["profiles"])
    # Triton's core takes the list for its own TensorRT backend only
    assert list(config.instance_group[0].profile) == ([] if target == "tensorrt_rtx" else ["0", "1"])
    facts = json.loads((repository / "digits_core" / "engine.json").read_text())
    assert sum(layer["dtype"] == dtype for layer in facts["network"]["heavy"]) >= 2
    if dtype == "INT8":
        rehearsed(repository)


@pytest.mark.parametrize("target", TARGETS_HERE)
@pytest.mark.parametrize(
    ("precision", "dtype"),
    [
        ({"try": ["fp32"]}, "FP32"),
        ({"try": ["fp16"], "calibration": "golden", "count": 32, "threshold": 0.999}, "FP16"),
        ({"try": ["int8"], "calibration": "golden", "count": 16, "method": "max", "threshold": 0.3}, "INT8"),
    ],
)
def test_sentence_embedding_in_every_precision(tmp_path, precision, dtype, target):
    """INT8 of this network is built, and is not good: its gate is opened wide here, and would refuse it as it stands."""
    repository, notes = built("sentence_embedding", tmp_path, precision=precision, target=target)
    assert notes["engine"]["precision"] == dtype.lower()
    assert [p["name"] for p in notes["engine"]["profiles"]] == ["interactive", "bulk"]
    facts = json.loads((repository / "sentence_embedding_core" / "engine.json").read_text())
    heavy = facts["network"]["heavy"]
    assert sum(layer["dtype"] == dtype for layer in heavy) >= len(heavy) / 2
    if dtype == "FP16":
        rehearsed(repository)


def test_warm_up_with_golden_values_is_read_by_the_server(tmp_path):
    """The real server loads it, and refuses a data file that was cut: it does read them."""
    repository, _ = built("digits", tmp_path, precision={"try": ["fp32"]})
    text = (repository / "digits_core" / "config.pbtxt").read_text()
    warmup = parse(text, "config.pbtxt").config.model_warmup
    assert [sample.inputs["pixels"].input_data_file for sample in warmup] == ["0.interactive.pixels", "1.bulk.pixels"]
    data = repository / "digits_core" / "warmup" / "1.bulk.pixels"
    pixels = np.frombuffer(data.read_bytes(), np.float32)
    assert pixels.shape == (64,)
    assert pixels.any()
    rehearsed(repository)
    data.write_bytes(data.read_bytes()[:-4])
    with (
        pytest.raises(ServerError, match=r"pixels|warmup|bulk"),
        serve(repository, rehearse=True, graceful=False),
    ):
        pytest.fail("the server started with half a sample")


def test_plans_for_two_kinds_of_gpus_are_served_from_one_repository(tmp_path):
    """Triton's core takes the config with both plans; which one a GPU gets is Triton's, and no GPU is here."""
    ampere = builder.build(
        example("digits", tmp_path / "a", precision={"try": ["fp32"]}, tensorrt={"compute_capabilities": ["8.6"]}),
        tmp_path / "ampere", Quiet(), warn=pytest.fail,
    )  # fmt: skip
    assert ampere.changed
    builder.build(
        example("digits", tmp_path / "b", precision={"try": ["fp32"]}, tensorrt={"compute_capabilities": ["8.9"]}),
        tmp_path / "both", Quiet(), warn=pytest.fail, plans_from=[tmp_path / "ampere"],
    )  # fmt: skip
    config = parse((tmp_path / "both" / "digits_core" / "config.pbtxt").read_text(), "config.pbtxt").config
    assert dict(config.cc_model_filenames) == {"8.9": "model.plan", "8.6": "model.8.6.plan"}
    rehearsed(tmp_path / "both")


def test_calibration_with_noise_is_refused_by_the_gate(tmp_path):
    """Scales fit the noise, and the noise comes out right; the golden digits do not."""
    file = example("digits", tmp_path, precision={"try": ["int8"], "calibration": "noise.npz", "rescue": False})
    noise = np.random.default_rng(0).random((64, 1, 8, 8), dtype=np.float32) * 1e-3
    np.savez(file.parent / "noise.npz", pixels=noise)
    with pytest.raises(CheckFailed, match="no wanted precision is accurate enough") as caught:
        builder.build(file, tmp_path / "repository", Quiet(), warn=pytest.fail)
    assert "at golden: 12 samples" in caught.value.problems[0].why
    assert not (tmp_path / "repository").exists()
