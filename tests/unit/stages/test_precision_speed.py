"""The fastest of the precisions that pass: the choice from times given as data, and what is tried with and without a GPU."""

from __future__ import annotations

import pytest

from repository_builder.console import silent
from repository_builder.errors import StageFailed
from repository_builder.machine import Gpu, Machine, this_machine
from repository_builder.shapes.profile import Profile
from repository_builder.spec.model import ModelSpec
from repository_builder.stages import precision_speed
from repository_builder.stages.precision_speed import Timed, fastest
from repository_builder.targets import TARGETS
from tests.unit.stages.engine_graphs import BUILDERS, mlp, profile


def timed(**times: float) -> Timed:
    return Timed(times)


@pytest.mark.parametrize(
    ("candidates", "chosen", "why"),
    [
        (
            {"int8": timed(a=0.4, b=2.0), "fp16": timed(a=0.2, b=1.0)},
            "fp16",
            "the fastest that passes: int8 0.8944 ms, fp16",
        ),
        ({"int8": timed(a=0.1), "fp16": timed(a=0.2), "fp32": timed(a=0.4)}, "int8", "fp32 0.4 ms"),
        ({"int8": timed(a=1.00), "fp16": timed(a=0.98)}, "int8", "int8 1 ms"),  # 2 % is noise: the user's order stands
        ({"int8": timed(a=0.1, b=9.0), "fp16": timed(a=0.3, b=2.0)}, "fp16", "geometric mean"),  # no profile outweighs
        ({"fp8": Timed({}, "no kernel"), "fp16": timed(a=1.0)}, "fp16", "not timed: fp8: no kernel"),
        (
            {"fp8": Timed({}, "no kernel"), "int8": Timed({}, "lost")},
            "fp8",
            "no engine could be timed (fp8: no kernel; int8",
        ),
    ],
)
def test_choice_and_its_reason(candidates, chosen, why):
    found = fastest(candidates)
    assert found[0] == chosen
    assert why in found[1]


SPEC = {
    "source": {"onnx": "net.onnx"},
    "target": "tensorrt_rtx",
    "precision": {"try": ["fp16", "fp32"], "calibration": "golden"},
    "golden": {"inputs": "samples.npz"},
    "tensorrt": {"compute_capabilities": ["8.9"]},
}
PACKAGES = {"onnxruntime": "1", "tensorrt-rtx": "1.7.1.116"}


def planned(monkeypatch, tmp_path, number: str, **changes) -> dict:
    """The parameters of the stage `precision` on a machine with such a GPU."""
    (tmp_path / "samples.npz").touch()
    monkeypatch.chdir(tmp_path)
    machine = Machine((Gpu("GPU", number, 1, "610"),), PACKAGES, "3.12", "Linux")
    spec = ModelSpec.model_validate(SPEC | changes)
    graph = TARGETS["tensorrt_rtx"]  # only passed on
    stages = TARGETS["tensorrt_rtx"].stages("net", spec, graph, graph, machine)  # type: ignore[arg-type]
    return dict(stages["precision"].params)


def test_engines_are_timed_only_where_a_gpu_runs_them_and_there_is_a_choice(monkeypatch, tmp_path):
    speed = planned(monkeypatch, tmp_path, "8.9")["speed"]
    assert (speed["package"], speed["gpu"], speed["compute_capabilities"]) == ("tensorrt_rtx", "GPU 8.9", ["8.9"])
    assert "speed" not in planned(monkeypatch, tmp_path, "9.0")
    only = {"try": ["fp16"], "calibration": "golden"}
    assert "speed" not in planned(monkeypatch, tmp_path, "8.9", precision=only)


@pytest.mark.parametrize("package", BUILDERS)
def test_engine_is_really_built_and_run_or_the_reason_told(tmp_path, fresh_cache, package):
    """Without a GPU the timing ends where the engine must run, and says so; with one there are times."""
    graph = mlp(tmp_path / "net")
    profiles = (Profile.from_json(profile("p", 1, 2, 4)),)
    params = {"package": package, "version": None}
    gpus = this_machine().gpus
    if package == "tensorrt_rtx" and not any(gpu.compute_capability in ("8.6", "8.9", "12.0") for gpu in gpus):
        with pytest.raises(StageFailed, match="could not be run on this machine's GPU"):
            precision_speed.measure(graph, tmp_path / "engine", params, profiles, silent)
        assert (tmp_path / "engine" / "model.plan").stat().st_size > 0
    else:
        assert precision_speed.measure(graph, tmp_path / "engine", params, profiles, silent)["p"] > 0
