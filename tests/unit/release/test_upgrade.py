"""`upgrade` with a real other version of TensorRT for RTX, fetched into an environment of its own."""

from __future__ import annotations

import json

import pytest

from repository_builder.cli import main
from repository_builder.machine import this_machine
from repository_builder.repository import manifest
from repository_builder.repository.baseline import FILENAME, Baseline
from tests.unit.repository.test_baseline import as_if_built_with_another_decoder
from tests.unit.stages.engine_graphs import mlp

pytestmark = pytest.mark.slow

PROFILES = {"small": {"x": {"min": [1, 4], "opt": [2, 4], "max": [8, 4]}}}


@pytest.fixture
def repository(tmp_path, fresh_cache):
    mlp(tmp_path / "net")
    spec = {"models": {"net": {"source": {"onnx": "net/model.onnx"}, "target": "tensorrt_rtx", "profiles": PROFILES}}}
    (tmp_path / "deploy.yaml").write_text(json.dumps(spec))
    assert main(["build", str(tmp_path / "deploy.yaml"), "--output", str(tmp_path / "repository"), "--json"]) == 0
    return tmp_path / "repository"


def test_one_component_is_changed_and_the_difference_shown(repository, tmp_path, capsys):
    before = manifest.read(repository)
    capsys.readouterr()
    command = [
        "upgrade",
        str(tmp_path / "deploy.yaml"),
        "--change",
        "tensorrt-rtx=1.6",
        "--repository",
        str(repository),
    ]
    assert main([*command, "--output", str(tmp_path / "other"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    builder = next(change for change in told["changes"] if change["what"] == "builder")
    assert builder["before"] != builder["after"]
    assert builder["after"].startswith("tensorrt_rtx 1.6.")
    assert told["configs"] == ""
    if not this_machine().gpus:
        assert told["latency"] == "not measured: there is no NVIDIA GPU (`nvidia-smi` shows none)"
    assert manifest.read(repository) == before
    after = manifest.read(tmp_path / "other")
    assert after is not None
    assert after.pipelines["net"].notes["engine"]["builder"]["version"].startswith("1.6.")
    same = {
        name for name, entry in after.pipelines["net"].stages.items() if entry == before.pipelines["net"].stages[name]
    }
    assert same == {"net/graph", "net/golden"}
    held_to_the_accuracy_of_the_old_repository(repository, tmp_path, command, capsys)


def held_to_the_accuracy_of_the_old_repository(repository, tmp_path, command, capsys):
    """Part of the test above, which has the other version installed. Answers are planted; what differs is not written."""
    as_if_built_with_another_decoder(repository, 0.5)
    before = (repository / "manifest.json").read_bytes()
    assert main([*command, "--output", str(tmp_path / "third")]) == 5
    assert "no longer gives the answers of the last build" in capsys.readouterr().err
    assert not (tmp_path / "third").exists()
    assert (repository / "manifest.json").read_bytes() == before
    Baseline({}, "NVIDIA L4", {"net/x": {"mean_ms": 1.0}}).write(repository / FILENAME)
    assert main([*command, "--output", str(tmp_path / "third"), "--set-baseline"]) == 0
    assert Baseline.read(tmp_path / "third" / FILENAME).gpu == "NVIDIA L4"  # latencies are compared with the old ones


@pytest.mark.parametrize("change", ["cuda=13", "tensorrt-rtx", "tensorrt-rtx="])
def test_unknown_component_is_refused(repository, tmp_path, capsys, change):
    arguments = ["upgrade", str(tmp_path / "deploy.yaml"), "--change", change, "--repository", str(repository)]
    assert main(arguments) == 2
    assert "what can be changed is tensorrt or tensorrt-rtx" in capsys.readouterr().err


def test_nothing_to_compare_with_is_refused(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    arguments = ["upgrade", "deploy.yaml", "--change", "tensorrt-rtx=1.6", "--repository", str(tmp_path / "empty")]
    assert main(arguments) == 8
    assert "an upgrade is shown as the difference" in capsys.readouterr().err
