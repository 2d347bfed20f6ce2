"""Engine against reference: the questions, the comparison, and when the stage is part of a build. No GPU is here."""

from __future__ import annotations

import math

import numpy as np
import pytest

from repository_builder.build.stage import StageContext
from repository_builder.console import silent
from repository_builder.errors import CheckFailed, StageFailed
from repository_builder.machine import Gpu, Machine, this_machine
from repository_builder.shapes.profile import Profile, Range
from repository_builder.spec.model import ModelSpec
from repository_builder.stages import engine, parity
from repository_builder.targets import TARGETS
from repository_builder.tensor import Interface, Tensor
from tests.unit.stages.engine_graphs import BUILDERS, mlp, profile

IDS = Tensor("ids", "INT64", ("batch", "tokens"))
INTERFACE = Interface((IDS,), (Tensor("y", "FP32", ("batch", 2)),))
PROFILES = (Profile("p", {"ids": Range((1, 2), (4, 8), (6, 16))}),)
L4 = Gpu("NVIDIA L4", "8.9", 24000, "610.43.02")
PACKAGES = {"onnxruntime": "1", "tensorrt": "11.1.0.106", "tensorrt-rtx": "1.7.1.116"}


def test_questions_are_asked_at_every_corner_with_real_samples_where_they_fit():
    real = [{"ids": np.arange(3 * 8).reshape(3, 8)}]
    asked = dict(parity.questions(PROFILES, INTERFACE, real))
    assert {place: inputs["ids"].shape for place, inputs in asked.items()} == {
        "p.min": (1, 2),
        "p.opt": (4, 8),
        "p.max": (6, 16),
    }
    assert np.array_equal(asked["p.opt"]["ids"], real[0]["ids"][[0, 1, 2, 0]])


def test_right_answers_pass_and_wrong_ones_are_named_with_their_place():
    reference = {"y": np.array([[1.0, 2.0], [3.0, 1.0]])}
    right = {"p.min": parity.scores(reference, {"y": reference["y"] + 1e-6})}
    parity.require(right, 0.9999)
    swapped = parity.scores(reference, {"y": reference["y"][:, ::-1]})
    with pytest.raises(CheckFailed, match=r"the engine answers wrongly at p\.max") as caught:
        parity.require(right | {"p.max": swapped}, 0.99)
    assert len(caught.value.problems) == 1
    assert "cosine 0.6" in caught.value.problems[0].why


@pytest.mark.parametrize("answer", [np.array([[1.0, math.nan]]), np.array([[1.0, 2.0, 3.0]])])
def test_nan_and_other_shapes_never_pass(answer):
    found = parity.scores({"y": np.array([[1.0, 2.0]])}, {"y": answer})
    with pytest.raises(CheckFailed):
        parity.require({"p.min": found}, -1.0)


@pytest.mark.parametrize(
    ("target", "gpus", "expected"),
    [
        ("tensorrt_rtx", (), False),
        ("tensorrt_rtx", (L4,), True),
        ("tensorrt_rtx", (Gpu("NVIDIA H200", "9.0", 143771, "615.61"),), False),
        ("tensorrt_plan", (L4,), True),
    ],
)
def test_stage_is_part_of_a_build_only_where_a_gpu_can_run_the_engine(target, gpus, expected):
    machine = Machine(gpus, PACKAGES, "3.11.0", "Linux x86_64")
    spec = ModelSpec.model_validate({"source": {"onnx": "net.onnx"}, "target": target})
    stages = TARGETS[target].stages("net", spec, None, None, machine)  # type: ignore[arg-type]
    assert ("parity" in stages) is expected


def built(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_REPO_CACHE", str(tmp_path / "cache"))
    mlp(tmp_path / "graph")
    folders = {"graph": tmp_path / "graph", "engine": tmp_path / "engine"}
    params = {"package": BUILDERS[-1], "profiles": [profile("p", 1, 2, 4)], "bounds": {}, "max_batch_size": None}
    (tmp_path / "engine").mkdir()
    (tmp_path / "out").mkdir()
    engine.run(StageContext(folders["engine"], {"graph": folders["graph"]}, {}, params, silent))
    return StageContext(tmp_path / "out", folders, {}, {}, silent)


@pytest.mark.skipif(bool(this_machine().gpus), reason="there is a GPU")
def test_engine_that_cannot_be_run_fails_with_its_reason(tmp_path, monkeypatch):
    """Everything runs for real up to the GPU that is not here."""
    with pytest.raises(StageFailed, match="could not be run on this machine's GPU") as caught:
        parity.run(built(tmp_path, monkeypatch))
    assert ("compute capability" if this_machine().gpus else "CUDA") in caught.value.problems[0].why


@pytest.mark.gpu
def test_engine_gives_the_reference_answers(tmp_path, monkeypatch):
    context = built(tmp_path, monkeypatch)
    parity.run(context)
    assert (context.out / parity.REPORT).is_file()
