"""What the TensorRT targets promise, beside what all targets do (test_targets)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from repository_builder import builder
from repository_builder.errors import GraphError, SpecError, TargetUnavailable
from repository_builder.machine import Gpu, Machine, this_machine
from repository_builder.repository.manifest import read
from repository_builder.repository.pbtxt import parse
from repository_builder.spec.model import ModelSpec, Spec
from repository_builder.targets import TARGETS, choose
from tests import graphs
from tests.conftest import ROOT
from tests.unit.stages.engine_graphs import mlp
from tests.unit.stages.precision_graphs import network, samples

BARE = Machine((), {}, "3.11.0", "Linux x86_64")
GPU = Gpu("NVIDIA L4", "8.9", 24000, "580.95.05")
PACKAGES = {"onnxruntime": "1.24.4", "onnx": "1.21.0", "tensorrt": "11.1.0.106", "tensorrt-rtx": "1.7.1.116"}
FULL = Machine((GPU,), PACKAGES, "3.11.0", "Linux x86_64")
HERE = [name for name, target in TARGETS.items() if not target.missing(this_machine())]
PROFILES = {"small": {"x": {"min": [1, 4], "opt": [2, 4], "max": [8, 4]}}}


class Quiet:
    """A reporter that shows nothing."""

    def stage(self, stage, event):
        pass

    def progress(self, stage):
        from repository_builder.console import silent

        return silent


def model(target: str, **fields) -> ModelSpec:
    return ModelSpec.model_validate({"source": {"onnx": "net.onnx"}, "target": target, **fields})


def spec_file(folder: Path, target: str) -> Path:
    mlp(folder)
    text = json.dumps({"models": {"net": {"source": {"onnx": "model.onnx"}, "target": target, "profiles": PROFILES}}})
    (folder / "deploy.yaml").write_text(text)
    return folder / "deploy.yaml"


@pytest.mark.parametrize("name", TARGETS)
def test_a_full_machine_misses_nothing(name):
    assert TARGETS[name].missing(FULL) == []
    assert name == choose("net", model(name), FULL).target.NAME


def test_auto_prefers_an_engine_where_there_is_a_gpu():
    assert choose("net", model("auto"), FULL).target.NAME == "tensorrt_plan"
    chosen = choose("net", model("auto"), Machine((), PACKAGES, "3.11.0", "Linux x86_64"))
    assert chosen.target.NAME == "onnxruntime_onnx"
    assert "no tensorrt_plan here" in chosen.why


@pytest.mark.parametrize(("version", "usable"), [("10.11.0.33", False), ("10.12.0.36", True), ("11.3.0.99", True)])
def test_old_tensorrt_is_refused(version, usable):
    machine = Machine((GPU,), PACKAGES | {"tensorrt": version}, "3.11.0", "Linux x86_64")
    reasons = TARGETS["tensorrt_plan"].missing(machine)
    assert reasons == ([] if usable else [f"TensorRT {version} is older than 10.12"])


@pytest.mark.parametrize("name", TARGETS)
def test_planning_is_pure_and_loads_nothing_heavy(name, tmp_path):
    """`make_graph` for a machine that is not this one, in a process of its own."""
    file = spec_file(tmp_path, name)
    code = f"""
import sys
from pathlib import Path
from repository_builder.machine import Gpu, Machine
from repository_builder.pipeline import make_graph
from repository_builder.spec.load import load
machine = Machine((Gpu("NVIDIA L4", "8.9", 24000, "580"),), {PACKAGES!r}, "3.11.0", "Linux x86_64")
graph = make_graph(load(Path({str(file)!r})), machine, "deploy.yaml")
keys = [stage.key for stage in graph.stages.values()]
heavy = [m for m in ("onnx", "onnxruntime", "tensorrt", "tensorrt_rtx", "torch", "tritonclient") if m in sys.modules]
print(len(keys), heavy)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("[]")
    assert sorted(tmp_path.iterdir()) == sorted(file.parent.iterdir())


@pytest.mark.parametrize("name", HERE)
def test_the_built_repository_is_complete_and_its_public_model_the_same(name, tmp_path, fresh_cache):
    repository = tmp_path / "repository"
    builder.build(spec_file(tmp_path / "spec", name), repository, Quiet(), warn=print)
    manifest = read(repository)
    assert manifest is not None
    assert manifest.models["net"].target == name
    config = parse((repository / "net" / "config.pbtxt").read_text(), "config.pbtxt").config
    file = config.default_model_filename
    assert (repository / "net" / "1" / file).is_file()
    assert config.max_batch_size == 8
    assert [(t.name, t.data_type, list(t.dims)) for t in (*config.input, *config.output)] == [
        ("x", 11, [4]),
        ("y", 11, [2]),
    ]


@pytest.mark.parametrize("name", HERE)
def test_a_second_build_does_no_work(name, tmp_path, fresh_cache):
    file = spec_file(tmp_path / "spec", name)
    builder.build(file, tmp_path / "repository", Quiet(), warn=print)
    _, steps = builder.plan(file, tmp_path / "repository")
    assert {step.action for step in steps} == {"cached"}


def test_precision_on_a_target_that_cannot_lower_it_is_refused():
    wanted = model("onnxruntime_onnx", precision={"try": ["fp16"]}, golden={"count": 1})
    with pytest.raises(TargetUnavailable, match="in another precision than its own"):
        TARGETS["onnxruntime_onnx"].stages("net", wanted, None, None, FULL)  # type: ignore[arg-type]


def test_a_plan_is_built_for_the_gpu_that_is_here():
    wanted = model("tensorrt_plan", tensorrt={"compute_capabilities": ["9.0"]})
    with pytest.raises(TargetUnavailable, match=r"compute capability 9\.0") as caught:
        TARGETS["tensorrt_plan"].stages("net", wanted, None, None, FULL)  # type: ignore[arg-type]
    assert "NVIDIA L4 (8.9)" in caught.value.problems[0].why


def test_a_plan_says_for_which_gpu_and_release_it_is_built():
    stages = TARGETS["tensorrt_plan"].stages("net", model("tensorrt_plan"), None, None, FULL)  # type: ignore[arg-type]
    params = stages["engine"].params
    assert params["built_for"] == ["8.9"]
    assert params["gpu"] == "NVIDIA L4 8.9"
    assert (params["package"], params["version"], params["container"]) == ("tensorrt", "11.1.0.106", None)
    assert stages["engine"].tools == {"tensorrt": "11.1.0.106"}


def test_gpus_of_different_kinds_need_hardware_compatibility():
    machine = Machine((GPU, Gpu("NVIDIA A10", "8.6", 24000, "580")), PACKAGES, "3.11.0", "Linux x86_64")
    with pytest.raises(TargetUnavailable, match="one plan of `net` for every GPU"):
        TARGETS["tensorrt_plan"].stages("net", model("tensorrt_plan"), None, None, machine)  # type: ignore[arg-type]


def test_lowering_precision_without_real_samples_is_refused():
    graph = Spec.model_validate(
        {"models": {"net": model("tensorrt_rtx", precision={"try": ["fp16"]}).model_dump(by_alias=True)}}
    )
    with pytest.raises(SpecError, match="no real samples"):
        TARGETS["tensorrt_rtx"].stages("net", graph.models["net"], None, None, FULL)  # type: ignore[arg-type]


def test_a_baked_batch_is_found_before_an_engine_is_built(tmp_path, fresh_cache):
    """The builder would take it, and requests of any batch but 8 would fail."""
    graphs.save(graphs.BAKED_BATCH, tmp_path / "baked.onnx")
    profiles = {"p": {"x": {"min": [1, 4], "opt": [8, 4], "max": [16, 4]}}}
    model = {"source": {"onnx": "baked.onnx"}, "target": "tensorrt_rtx", "max_batch_size": 16, "profiles": profiles}
    (tmp_path / "deploy.yaml").write_text(json.dumps({"models": {"baked": model}}))
    with pytest.raises(GraphError) as caught:
        builder.build(tmp_path / "deploy.yaml", tmp_path / "repository", Quiet(), warn=print)
    assert "its shape [8, 2, 2] is a constant with 8 in the first place" in str(caught.value)
    assert not (tmp_path / "repository").exists()
    assert not list(fresh_cache.rglob("model.plan"))


@pytest.mark.parametrize("precision", ["fp32", pytest.param("int8", marks=pytest.mark.slow)])
def test_external_data_goes_all_the_way(tmp_path, fresh_cache, monkeypatch, precision):
    """Graphs above 2 GB have their weights beside them; a small one takes the same way."""
    monkeypatch.delenv("TRITON_REPO_CACHE")
    model = onnx.load(network(tmp_path / "m"))
    onnx.save(model, tmp_path / "m" / "big.onnx", save_as_external_data=True, location="big.data", size_threshold=16)
    samples(tmp_path / "s.npz")
    wanted = {"try": [precision], "calibration": "s.npz", "threshold": 0.9}
    spec = {"source": {"onnx": "m/big.onnx"}, "target": "tensorrt_rtx", "max_batch_size": 8, "precision": wanted}
    (tmp_path / "deploy.yaml").write_text(json.dumps({"models": {"net": {**spec, "golden": {"inputs": "s.npz"}}}}))
    builder.build(tmp_path / "deploy.yaml", tmp_path / "repository", Quiet(), warn=pytest.fail)
    version = tmp_path / "repository" / "net" / "1"
    assert {path.name for path in version.iterdir()} == {"big.data", "model.onnx", "model.plan", "profiles.json"}
    facts = json.loads((version.parent / "engine.json").read_text())
    assert sum(facts["network"]["weights"].values()) >= 4 * 32 * 32


def test_failed_build_leaves_the_old_repository_as_it_is(tmp_path, fresh_cache):
    file = spec_file(tmp_path / "spec", "tensorrt_rtx")
    builder.build(file, tmp_path / "repository", Quiet(), warn=print)
    before = read(tmp_path / "repository")
    text = file.read_text().replace('"min": [1, 4]', '"min": [2, 4]')
    assert text != file.read_text()
    file.write_text(text)
    with pytest.raises(SpecError, match=r"no optimization profile fits x \[1, 4\]"):
        builder.build(file, tmp_path / "repository", Quiet(), warn=print)
    assert read(tmp_path / "repository") == before


@pytest.mark.parametrize("tag", ["26.10", "31.01"])
def test_container_whose_tensorrt_nobody_knows_is_refused_before_anything_runs(tag):
    with pytest.raises(SpecError, match="it is not known which TensorRT"):
        builder.in_container(tag)


def test_container_of_a_month_stands_for_its_tensorrt():
    machine = builder.in_container("26.07")
    assert machine.packages["tensorrt"] == "11.1.0.106"
    assert machine.packages["tensorrt-container"] == "nvcr.io/nvidia/tensorrt:26.07-py3"
    reasons = TARGETS["tensorrt_plan"].missing(machine)
    assert reasons == [] if machine.gpus else ["there is no NVIDIA GPU (`nvidia-smi` shows none)"]
