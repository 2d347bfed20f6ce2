"""The benchmark that needs a GPU and Docker: what it would run, and what it refuses here."""

from __future__ import annotations

import importlib.util
import json
import shlex
import sys

import pytest

from repository_builder.cli import main
from repository_builder.machine import this_machine
from tests.conftest import ROOT
from tests.unit.stages.engine_graphs import mlp

spec = importlib.util.spec_from_file_location("served_latency", ROOT / "benchmarks" / "served_latency.py")
assert spec is not None
assert spec.loader is not None
served_latency = importlib.util.module_from_spec(spec)
sys.modules["served_latency"] = served_latency
spec.loader.exec_module(served_latency)


@pytest.fixture
def repository(tmp_path, fresh_cache, capsys):
    mlp(tmp_path / "net")
    model = {"source": {"onnx": "net/model.onnx"}, "target": "tensorrt_rtx", "max_batch_size": 8}
    (tmp_path / "deploy.yaml").write_text(json.dumps({"models": {"net": model}}))
    assert main(["build", str(tmp_path / "deploy.yaml"), "--output", str(tmp_path / "repository"), "--json"]) == 0
    capsys.readouterr()
    return tmp_path / "repository"


def as_full_tensorrt(repository) -> None:
    """As if the plan were one of the full package, which cannot be built here."""
    facts = repository / "net" / "engine.json"
    told = json.loads(facts.read_text())
    told["builder"] = {"package": "tensorrt", "version": "11.1.0.106"}
    facts.write_text(json.dumps(told))


def test_lines_are_those_of_the_container_that_serves(repository, capsys):
    as_full_tensorrt(repository)
    assert served_latency.main([str(repository), "--dry-run"]) == 0
    *measured, served = capsys.readouterr().out.splitlines()
    assert [line.count("--shapes=x:") for line in measured] == [1, 1]  # min, and opt which is max
    words = shlex.split(measured[0])
    image = words.index("/usr/src/tensorrt/bin/trtexec") - 1
    assert words[image] in shlex.split(served)
    assert "--loadEngine=/models/net/1/model.plan" in words
    assert "--noCudaGraph" in words


def test_what_cannot_be_measured_is_refused(repository, capsys):
    assert served_latency.main([str(repository)]) == 8
    assert "there is no plan of the full TensorRT" in capsys.readouterr().err
    assert served_latency.main([str(repository), "--model", "other"]) == 8
    with pytest.raises(SystemExit):
        served_latency.main([str(repository), "--requests", "0"])
    if not this_machine().gpus:
        as_full_tensorrt(repository)
        assert served_latency.main([str(repository)]) == 10
