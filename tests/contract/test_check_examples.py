"""What `build` makes of the examples has no finding; a copy with a planted fault has exactly that one."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from repository_builder.check import check
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

EXAMPLES = {
    "digits": "digits/deploy.yaml",
    "digits for TensorRT-RTX": "digits/tensorrt.yaml",
    "sentence embedding": "sentence_embedding/deploy.yaml",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Builds an example once."""
    folder = tmp_path_factory.mktemp("built")
    made: dict[str, Path] = {}

    def build(name: str) -> Path:
        if name not in made:
            made[name] = folder / name.replace(" ", "_")
            command = ["build", str(ROOT / "examples" / EXAMPLES[name]), "--output", str(made[name])]
            answer = subprocess.run(
                [sys.executable, "-m", "repository_builder", *command], capture_output=True, text=True, check=False
            )
            assert answer.returncode == 0, answer.stderr
        return made[name]

    return build


def replaced(file: str, old: str, new: str) -> Callable[[Path], None]:
    """Plant a fault by changing the first match of a pattern."""

    def plant(root: Path) -> None:
        text = (root / file).read_text()
        changed = re.sub(old, new, text, count=1, flags=re.DOTALL)
        assert changed != text
        (root / file).write_text(changed)

    return plant


def _stray(root: Path) -> None:
    (root / ".git").mkdir()


def _without_version(root: Path) -> None:
    shutil.rmtree(root / "digits" / "1")


def _without_labels(root: Path) -> None:
    (root / "digits_postprocess" / "1" / "_classes.py").unlink()


def _world_writable(root: Path) -> None:
    (root / "digits_preprocess" / "1" / "model.py").chmod(0o666)


def _cut_graph(root: Path) -> None:
    path = root / "digits_core" / "1" / "model.onnx"
    path.write_bytes(path.read_bytes()[:-100])


CORE, ENSEMBLE, PRE = "digits_core/config.pbtxt", "digits/config.pbtxt", "digits_preprocess/config.pbtxt"

FAULTS: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "a misspelt field": (replaced(CORE, "max_batch_size", "max_batchsize"), {"CFG002"}),
    "a trailing comma": (replaced(CORE, r"8, 8 \]", "8, 8, ]"), {"CFG001"}),
    "another name": (replaced(CORE, 'name: "digits_core"', 'name: "digits"'), {"CFG020"}),
    "the batch in dims": (replaced(CORE, r"dims: \[ 1, 8, 8 \]", "dims: [ -1, 1, 8, 8 ]"), {"ONX014", "ENS034"}),
    "another type": (replaced(CORE, "TYPE_FP32", "TYPE_FP16"), {"ONX012", "ENS033"}),
    "another tensor": (replaced(CORE, 'name: "pixels"', 'name: "pixel"'), {"ONX010", "ENS030"}),
    "a version that is not there": (replaced(ENSEMBLE, "model_version: -1", "model_version: 7"), {"ENS023"}),
    "no version": (replaced(ENSEMBLE, "model_version: -1", ""), {"ENS022"}),
    "a step that is not there": (replaced(ENSEMBLE, '"digits_core"', '"digits_cor"'), {"ENS020"}),
    "a loose end": (replaced(ENSEMBLE, 'value: "core_logits"', 'value: "logits"'), {"ENS012"}),
    "a batch above the steps": (replaced(ENSEMBLE, "max_batch_size: 64", "max_batch_size: 512"), {"ENS024"}),
    "a kind for an ensemble": (replaced(ENSEMBLE, r"\Z", "instance_group [ { kind: KIND_CPU } ]\n"), {"ENS003"}),
    "GPUs on the CPU": (replaced(PRE, "kind: KIND_CPU", "kind: KIND_CPU gpus: [ 0 ]"), {"INS001"}),
    "a syntax error": (replaced("digits_preprocess/1/model.py", "class TritonPythonModel", "class class"), {"PYB001"}),
    "another class": (replaced("digits_preprocess/1/model.py", "TritonPythonModel", "Model"), {"PYB002"}),
    "a stray folder": (_stray, {"REPO001"}),
    "no version folder": (_without_version, {"VER001"}),
    "no sibling": (_without_labels, {"PYB006"}),
    "a file that all may write": (_world_writable, {"SEC001"}),
    "a graph cut off": (_cut_graph, {"ONX001"}),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_built_example_has_no_finding(name: str, built: Callable[[str], Path]) -> None:
    (report,) = check(built(name)).repositories
    assert not report.findings
    assert report.models


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_alone(fault: str, built: Callable[[str], Path], tmp_path: Path) -> None:
    plant, wanted = FAULTS[fault]
    shutil.copytree(built("digits"), tmp_path / "broken")
    plant(tmp_path / "broken")
    assert {finding.id for finding in check(tmp_path / "broken").findings} == wanted
