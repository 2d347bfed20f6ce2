"""A rebuild must not fall behind: what counts as a loss, what is compared at all, and what becomes the new baseline."""

from __future__ import annotations

import hashlib
import json
import math

import numpy as np
import pytest

from repository_builder.cli import main
from repository_builder.errors import CheckFailed, RepositoryError
from repository_builder.repository import baseline, golden, manifest
from repository_builder.repository.baseline import Accuracy, Baseline, least, renewed, require
from tests.unit.stages.engine_graphs import mlp

ASKED = {"samples": "abc", "output": "y"}


def measured(value: float, *, metric: str = "cosine", precision: str = "fp16", rows: int = 0, **asked: str) -> Accuracy:
    return Accuracy(metric, ASKED | asked, precision, {"all": value}, {"all": rows} if rows else {})


@pytest.mark.parametrize(
    ("metric", "before", "rows", "expected"),
    [
        ("cosine", 0.9996, 0, 0.99949),
        ("top1", 0.99, 1000, 0.9825),
        ("top1", 1.0, 32, 1 - 1 / 32),  # one sample more on the other side of a boundary is no loss
        ("max_abs", -0.01, 0, -0.01251),
        ("snr_db", 40.0, 0, 39.0),
        ("mine.py:score", 50.0, 0, 49.5),
        ("mine.py:score", -50.0, 0, -50.5),
    ],
)
def test_smallest_score_that_is_no_loss(metric, before, rows, expected):
    assert least(metric, before, rows) == pytest.approx(expected)


@pytest.mark.parametrize("value", [0.9994, -1.0, math.nan])
def test_less_accurate_rebuild_fails_with_both_numbers(value):
    known = Baseline({"net/precision": measured(0.9996)})
    with pytest.raises(CheckFailed, match="less accurate than the baseline: net at all") as caught:
        require(known, {"net/precision": measured(value, precision="int8")})
    (problem,) = caught.value.problems
    assert problem.why == f"cosine {value:.6g} (int8), the baseline has 0.9996 (fp16); 0.99949 would do"
    assert "--set-baseline" in problem.fix


def test_rounding_is_no_loss_and_small_steps_down_are_not_missed():
    known = Baseline({"net/precision": measured(0.9996)})
    for step in (0.99957, 0.99954, 0.99951):
        now = {"net/precision": measured(step)}
        assert require(known, now) == []
        known = renewed(known, now)
    assert known.accuracy["net/precision"].scores == {"all": 0.9996}
    with pytest.raises(CheckFailed):
        require(known, {"net/precision": measured(0.99948)})


def test_better_build_raises_the_baseline_and_an_accepted_one_lowers_it():
    known = renewed(Baseline(), {"net/precision": measured(0.999)})
    better = renewed(known, {"net/precision": measured(0.9999)})
    assert better.accuracy["net/precision"].scores == {"all": 0.9999}
    worse = {"net/precision": measured(0.99)}
    assert require(better, worse, accepted=True) == [
        "accepted: less accurate than the baseline: net at all "
        "(cosine 0.99 (fp16), the baseline has 0.9999 (fp16); 0.999865 would do)"
    ]
    assert renewed(better, worse, accepted=True).accuracy["net/precision"].scores == {"all": 0.99}


def test_numbers_that_answer_another_question_are_not_compared_but_named():
    known = Baseline({"net/precision": measured(0.999)})
    now = {"net/precision": measured(0.1, samples="other", metric="top1")}
    (note,) = require(known, now)
    assert "accuracy of net/precision is not compared with the last build (another metric, samples)" in note
    assert renewed(known, now).accuracy["net/precision"].scores == {"all": 0.1}


def test_file_is_read_back_and_garbage_is_refused(tmp_path):
    file = tmp_path / baseline.FILENAME
    assert Baseline.read(file) == Baseline()
    Baseline().write(file)
    assert not file.exists()
    whole = Baseline({"net/engine": measured(0.5, rows=3)}, "NVIDIA L4", {"a": {"mean_ms": 1.0}})
    whole.write(file)
    assert Baseline.read(file) == whole
    file.write_text('{"gpu": "", "points": {}, "accuracy": {"net": 3}}')
    with pytest.raises(RepositoryError, match="cannot read the baseline"):
        Baseline.read(file)


def entry(notes: dict) -> manifest.Manifest:
    pipeline = manifest.PipelineEntry("o", "t", "w", {}, "", {}, {}, {}, {}, "", {}, notes)
    return manifest.Manifest("g", {}, {}, {"net": pipeline}, {}, {})


def test_manifest_tells_what_was_measured():
    scores = [{"at": "all", "value": 0.99, "needed": 0.9, "passed": True, "rows": 64}]
    trials = [{"precision": "int8", "scores": []}, {"precision": "fp16", "scores": scores}]
    report = {"metric": "top1", "chosen": "fp16", "question": ASKED, "trials": trials}
    labelled = {"labelled": {"rows": 64, "reference": 0.97, "network": 0.96}}
    parity = {"question": {"gpu": "L4"}, "scores": {"p.min": {"y": {"cosine": 0.9, "max_abs": 0.1}}}}
    notes = {"precision": report | labelled, "parity": parity, "engine": {"precision": "fp16"}}
    assert baseline.accuracies(entry(notes)) == {
        "net/precision": Accuracy("top1", ASKED, "fp16", {"all": 0.99}, {"all": 64}),
        "net/labels": Accuracy("accuracy", ASKED, "fp16", {"against the labels": 0.96}, {"against the labels": 64}),
        "net/engine": Accuracy("cosine", {"gpu": "L4"}, "fp16", {"p.min `y`": 0.9}),
    }
    assert baseline.accuracies(entry({"parity": {"not looked at": "no GPU"}})) == {}


@pytest.fixture
def repository(tmp_path, fresh_cache):
    mlp(tmp_path / "net")
    spec = {"models": {"net": {"source": {"onnx": "net/model.onnx"}, "target": "onnxruntime_onnx"}}}
    (tmp_path / "deploy.yaml").write_text(json.dumps(spec))
    assert main(["build", str(tmp_path / "deploy.yaml"), "--output", str(tmp_path / "repository"), "--json"]) == 0
    return tmp_path / "repository"


def as_if_built_with_another_decoder(repository, difference: float) -> None:
    """Give the record on disk other answers, and the manifest its digest and an older tool."""
    file = repository / "net" / golden.FILENAME
    known = golden.read(file)
    outputs = {name: np.asarray(array + difference, array.dtype) for name, array in known.outputs.items()}
    golden.write(golden.Golden(known.inputs, outputs, known.origin, known.atol, known.rtol), file)
    path = repository / manifest.FILENAME
    record = json.loads(path.read_text())
    record["models"]["net"]["files"][golden.FILENAME] = hashlib.sha256(file.read_bytes()).hexdigest()
    record["files"][f"net/{golden.FILENAME}"]["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    record["machine"]["packages"]["onnxruntime"] = "1.0"
    path.write_text(json.dumps(record))


def test_reference_that_answers_otherwise_than_in_the_last_build_is_refused(repository, tmp_path, capsys):
    command = ["build", str(tmp_path / "deploy.yaml"), "--output", str(repository)]
    as_if_built_with_another_decoder(repository, 0.5)
    before = (repository / manifest.FILENAME).read_text()
    assert main(command) == 5
    said = " ".join(capsys.readouterr().err.split())
    assert "the reference of `net` no longer gives the answers of the last build" in said
    assert "largest difference 0.5, though spec and sources are the same; since then: onnxruntime 1.0 →" in said
    assert (repository / manifest.FILENAME).read_text() == before
    assert main([*command, "--set-baseline"]) == 0
    assert main(command) == 0


def test_differences_within_the_tolerance_are_none(repository, tmp_path):
    as_if_built_with_another_decoder(repository, 1e-6)
    assert main(["build", str(tmp_path / "deploy.yaml"), "--output", str(repository)]) == 0
