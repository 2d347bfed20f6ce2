"""One spec, built for different GPUs, in one repository: real engines, and everything that speaks against it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from repository_builder.cli import main
from repository_builder.release.measuring import engines
from repository_builder.repository import manifest
from repository_builder.repository.pbtxt import parse
from tests.unit.stages.engine_graphs import MLP, mlp, write


def build(folder: Path, name: str, numbers: list[str], *more: str, opt: int = 2, net: str = "net") -> int:
    profiles = {"only": {"x": {"min": [1, 4], "opt": [opt, 4], "max": [8, 4]}}}
    model = {"source": {"onnx": f"{net}/model.onnx"}, "target": "tensorrt_rtx", "profiles": profiles}
    spec = {"models": {"net": model | {"tensorrt": {"compute_capabilities": numbers}}}}
    (folder / f"{name}.yaml").write_text(json.dumps(spec))
    return main(["build", str(folder / f"{name}.yaml"), "--output", str(folder / name), *more])


@pytest.fixture(scope="module")
def repositories(tmp_path_factory):
    """The same network for three kinds of GPUs, each in a repository of its own."""
    folder = tmp_path_factory.mktemp("plans")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_REPO_CACHE", str(folder / "cache"))
        mlp(folder / "net")
        assert build(folder, "a10", ["8.6"]) == 0
        assert build(folder, "l4", ["8.9"]) == 0
        assert build(folder, "blackwell", ["12.0", "12.1"]) == 0
        yield folder


def test_each_gpu_gets_its_plan(repositories, capsys):
    more = [word for name in ("l4", "blackwell") for word in ("--add-plan-from", str(repositories / name))]
    assert build(repositories, "all", ["8.6"], *more) == 0
    core = repositories / "all" / "net"
    config = parse((core / "config.pbtxt").read_text(), "config.pbtxt").config
    assert dict(config.cc_model_filenames) == {
        "8.6": "model.plan",
        "8.9": "model.8.9.plan",
        "12.0": "model.12.0-12.1.plan",
        "12.1": "model.12.0-12.1.plan",
    }
    for file, source in (("model.plan", "a10"), ("model.8.9.plan", "l4"), ("model.12.0-12.1.plan", "blackwell")):
        assert (core / "1" / file).read_bytes() == (repositories / source / "net" / "1" / "model.plan").read_bytes()
    record = manifest.read(repositories / "all")
    assert record is not None
    engine = record.pipelines["net"].notes["engine"]
    assert engine["compute_capabilities"] == ["8.6", "8.9", "12.0", "12.1"]
    assert [plan["from"] for plan in engine["added_plans"]] == ["l4", "blackwell"]
    measured = {found.plan.name: found.compute_capabilities for found in engines(repositories / "all", None)}
    assert measured["model.8.9.plan"] == ("8.9",)
    assert main(["check", str(repositories / "all")]) == 0
    capsys.readouterr()
    assert build(repositories, "all", ["8.6"], *more) == 0
    assert "is up to date" in capsys.readouterr().out
    assert build(repositories, "all", ["8.6"], *more[:2]) == 0
    assert "note: `net` no longer has the plan for 12.0, 12.1" in capsys.readouterr().err


def refused(folder, capsys, other: str, words: str, numbers: list[str] | None = None, **changes) -> None:
    assert build(folder, "refused", numbers or ["8.6"], "--add-plan-from", str(folder / other), **changes) == 8
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (folder / "refused").exists()


def test_what_does_not_fit_is_refused_with_the_reason(repositories, capsys):
    folder = repositories
    refused(folder, capsys, "l4", "both have a plan for 8.9", ["8.9"])
    refused(folder, capsys, "l4", "another profiles", opt=4)
    refused(folder, capsys, "net", "it was not made by triton-repo")
    write(MLP, folder / "retrained" / "model.onnx", seed=1, w1=(4, 8), w2=(8, 2))
    refused(folder, capsys, "l4", "another network", net="retrained")
    path = folder / "l4" / "manifest.json"
    text = path.read_text()
    record = json.loads(text)
    record["pipelines"]["net"]["notes"]["engine"]["builder"]["version"] = "1.6.0.1"
    path.write_text(json.dumps(record))
    refused(folder, capsys, "l4", "another TensorRT: tensorrt_rtx 1.6.0.1 there, tensorrt_rtx 1.7")
    path.write_text(text)
    plan = folder / "l4" / "net" / "1" / "model.plan"
    plan.write_bytes(plan.read_bytes() + b"!")
    refused(folder, capsys, "l4", "is not the file that was built")
