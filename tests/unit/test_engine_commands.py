"""The commands `doctor` and `profiles`, as a user calls them."""

from __future__ import annotations

import json

import pytest
import yaml

from repository_builder.cli import main
from repository_builder.machine import this_machine
from tests.unit.stages.engine_graphs import BUILDERS, mlp


@pytest.fixture
def recorded(tmp_path):
    graph = mlp(tmp_path / "net")
    requests = tmp_path / "requests.jsonl"
    lines = [json.dumps({"x": [1, 4]})] * 90 + [json.dumps({"shapes": {"x": [32, 4]}, "count": 10})]
    requests.write_text("\n".join(lines))
    return graph, requests


def test_suggested_profiles_are_a_piece_of_a_spec(recorded, capsys):
    graph, requests = recorded
    assert main(["profiles", "suggest", str(graph), "--from", str(requests), "--yaml"]) == 0
    profiles = yaml.safe_load(capsys.readouterr().out)["profiles"]
    assert profiles == {
        "batch_1": {"x": {"min": [1, 4], "opt": [1, 4], "max": [1, 4]}},
        "batch_32": {"x": {"min": [2, 4], "opt": [32, 4], "max": [32, 4]}},
    }


def test_waste_is_shown_before_and_after_with_a_plot(recorded, tmp_path, capsys):
    graph, requests = recorded
    plot = tmp_path / "waste.html"
    assert main(["profiles", "suggest", str(graph), "--from", str(requests), "--plot", str(plot)]) == 0
    out = capsys.readouterr().out
    assert "padded work: 87.2% with one profile, 0.0% with 2" in out
    page = plot.read_text()
    assert page.startswith("<!doctype html>")
    assert "<svg" in page
    assert "http" not in page


def test_json_has_both_suggestions(recorded, capsys):
    graph, requests = recorded
    assert main(["profiles", "suggest", str(graph), "--from", str(requests), "--count", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["before"] == told["after"]
    assert told["requests"] == 100


@pytest.mark.parametrize("count", ["0", "-1"])
def test_impossible_count_is_refused(recorded, capsys, count):
    graph, requests = recorded
    assert main(["profiles", "suggest", str(graph), "--from", str(requests), "--count", count]) == 2


def test_doctor_knows_this_machine_and_the_default_container(capsys):
    assert main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["image"] == "nvcr.io/nvidia/tritonserver:26.07-py3"
    assert {row["component"] for row in told["components"]} >= {"TensorRT", "CUDA", "driver", "ONNX Runtime", "Python"}


def test_doctor_refuses_a_tag_that_nobody_knows(capsys):
    assert main(["doctor", "--image", "31.02"]) == 2
    assert "it holds 24.10 … 26.10" in capsys.readouterr().err


def test_doctor_refuses_a_folder_that_is_not_ours(tmp_path, capsys):
    assert main(["doctor", str(tmp_path)]) == 8
    assert "was not built by triton-repo" in capsys.readouterr().err


def test_container_line_is_printed_from_the_manifest_alone(tmp_path, capsys, fresh_cache):
    graph = mlp(tmp_path / "net")
    repository = tmp_path / "repository"
    spec = {"models": {"net": {"source": {"onnx": str(graph)}, "target": "tensorrt_rtx"}}}
    (tmp_path / "deploy.yaml").write_text(json.dumps(spec))
    assert main(["build", str(tmp_path / "deploy.yaml"), "--output", str(repository), "--json"]) == 0
    capsys.readouterr()
    assert main(["serve", str(repository), "--container", "--dry-run", "--json"]) == 0
    *_, line = json.loads(capsys.readouterr().out)
    assert line[:2] == ["docker", "run"]
    assert f"{repository}:/models:ro" in line
    assert line[line.index("--gpus") + 1] == "all"
    assert (repository / "run.sh").read_text().splitlines()[-1].startswith("exec docker run --rm --init --gpus all")


def test_container_needs_a_repository_of_ours_and_docker(tmp_path, capsys, monkeypatch):
    assert main(["serve", str(tmp_path), "--container", "--dry-run"]) == 8
    assert main(["serve", str(tmp_path), "--dry-run"]) == 2
    assert "it was not made by triton-repo" in capsys.readouterr().err


@pytest.fixture
def engine(tmp_path, fresh_cache, capsys):
    graph = mlp(tmp_path / "net")
    target = "tensorrt_plan" if BUILDERS[-1] == "tensorrt" else "tensorrt_rtx"
    spec = {"models": {"net": {"source": {"onnx": str(graph)}, "target": target, "max_batch_size": 8}}}
    (tmp_path / "deploy.yaml").write_text(json.dumps(spec))
    assert main(["build", str(tmp_path / "deploy.yaml"), "--output", str(tmp_path / "repository"), "--json"]) == 0
    capsys.readouterr()
    return tmp_path / "repository"


def test_profile_shows_what_it_would_measure(engine, capsys):
    assert main(["profile", str(engine), "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["shapes"] == [f"net/default/x:{batch}x4" for batch in (1, 8, 2, 4)]
    assert told["nsight"].startswith("nsys profile")


def test_profile_without_a_gpu_or_an_engine_is_refused(engine, tmp_path, capsys):
    if not this_machine().gpus:
        assert main(["profile", str(engine)]) == 3
        assert "there is no NVIDIA GPU" in capsys.readouterr().err
    assert main(["profile", str(tmp_path)]) == 8
    assert main(["profile", str(engine), "--model", "other", "--dry-run"]) == 8


@pytest.mark.gpu
def test_profile_measures_on_a_gpu(engine, capsys):
    assert main(["profile", str(engine), "--set-baseline", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["points"]) == {f"net/default/x:{b}x4" for b in (1, 2, 4, 8)}


def test_runner_says_why_an_engine_cannot_be_measured(engine):
    """The measuring process is really started; here it finds no GPU."""
    from repository_builder.console import silent
    from repository_builder.errors import StageFailed
    from repository_builder.release.measuring import engines, measure

    (found,) = engines(engine, None)
    if not this_machine().gpus:
        with pytest.raises(StageFailed, match="CUDA"):
            measure(found, tool="python", runs=1, progress=silent)
