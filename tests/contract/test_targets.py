"""What every target must keep: the protocol, pure planning, a config that Triton's own message takes, the public interface."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from repository_builder import builder
from repository_builder.errors import TargetUnavailable
from repository_builder.machine import Gpu, Machine, this_machine
from repository_builder.pipeline import make_graph
from repository_builder.repository import manifest
from repository_builder.repository.pbtxt import parse
from repository_builder.spec.load import load
from repository_builder.spec.model import TARGET_NAMES
from repository_builder.targets import TARGETS, choose
from tests import graphs
from tests.conftest import ROOT
from tests.unit.build.test_engine import Quiet

HERE = this_machine()
USABLE = [name for name, target in TARGETS.items() if not target.missing(HERE)]
BARE = Machine((), {}, "3.11.0", "Linux x86_64")
GPU = Gpu("NVIDIA H200", "9.0", 143771, "615.61")


def spec(folder: Path, target: str) -> Path:
    graphs.save(graphs.DIGITS, folder / "digits.onnx")
    (folder / "deploy.yaml").write_text(
        f"models: {{digits: {{source: {{onnx: digits.onnx}}, target: {target}, max_batch_size: 4, "
        "preprocess: {image_decode: {}}, postprocess: {top_k: {k: 2}}}}"
    )
    return folder / "deploy.yaml"


def test_the_spec_names_every_target() -> None:
    assert set(TARGETS) <= set(TARGET_NAMES)
    assert USABLE


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_missing_is_said_in_words(name: str) -> None:
    reasons = TARGETS[name].missing(BARE)
    assert reasons
    assert all(" " in reason for reason in reasons)
    assert TARGETS[name].missing(BARE) == reasons


@pytest.mark.parametrize("name", TARGETS)
def test_a_named_target_that_is_missing_is_an_error(name: str, tmp_path: Path) -> None:
    model = load(spec(tmp_path, name)).models["digits"]
    with pytest.raises(TargetUnavailable, match=name):
        choose("digits", model, BARE)


def test_auto_takes_onnx_runtime_without_a_gpu_and_says_why(tmp_path: Path) -> None:
    model = load(spec(tmp_path, "auto")).models["digits"]
    choice = choose("digits", model, Machine((), {"onnxruntime": "1.31.1"}, "3.11.0", "Linux x86_64"))
    assert choice.target.NAME == "onnxruntime_onnx"
    assert choice.why.startswith("auto: ")


@pytest.mark.parametrize("name", USABLE)
def test_planning_loads_nothing_heavy(name: str, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from repository_builder import builder;"
        f"graph, steps = builder.plan(Path({str(spec(tmp_path, name))!r}), Path('none'));"
        "print(sorted({'onnx', 'onnxruntime', 'numpy', 'torch', 'tensorrt', 'tensorrt_rtx'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.stdout.strip() == "[]", answer.stderr


@pytest.mark.parametrize("name", USABLE)
def test_the_public_model_is_the_same_on_every_target(name: str, tmp_path: Path, fresh_cache: Path) -> None:
    file, output = spec(tmp_path, name), tmp_path / "repository"
    built = builder.build(file, output, Quiet(), warn=pytest.fail)
    assert built.changed
    public = parse((output / "digits/config.pbtxt").read_text(), "digits").config
    assert [(i.name, list(i.dims)) for i in public.input] == [("image", [1])]
    assert [(o.name, list(o.dims)) for o in public.output] == [("label", [2]), ("score", [2]), ("class_id", [2])]
    assert public.max_batch_size == 4
    entries = manifest.read(output)
    assert entries is not None
    assert entries.pipelines["digits"].target == name
    core = parse((output / "digits_core/config.pbtxt").read_text(), "digits_core").config
    assert (output / "digits_core/1" / core.default_model_filename).is_file()
    assert core.instance_group


@pytest.mark.parametrize("name", USABLE)
def test_the_graph_of_stages_is_pure(name: str, tmp_path: Path) -> None:
    parsed = load(spec(tmp_path, name))
    one, other = (make_graph(parsed, HERE, "x").stages for _ in range(2))
    assert {n: s.key for n, s in one.items()} == {n: s.key for n, s in other.items()}
