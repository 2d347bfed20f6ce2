"""What a spec's `plugins` adds to a build graph, for each target: planned on a laptop for a GPU that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from repository_builder.machine import Gpu, Machine
from repository_builder.pipeline import Plan, make_graph
from repository_builder.spec.load import load
from tests.conftest import ROOT

PACKAGES = {
    "onnx": "1.23.2",
    "onnxruntime": "1.31.1",
    "numpy": "2.4.6",
    "tensorrt": "11.1.0.106",
    "tensorrt-rtx": "1.7.1",
}
L40S = Machine((Gpu("NVIDIA L40S", "8.9", 48_000, "610.43.02"),), PACKAGES, "3.11.0", "Linux")
EXAMPLE = (ROOT / "examples" / "plugins" / "deploy.yaml").read_text()


def plan(folder: Path, target: str, *changes: tuple[str, str]) -> Plan:
    for name in ("soft_clip", "volume_warp.onnx"):
        (folder / name).symlink_to(ROOT / "examples" / "plugins" / name)
    text = EXAMPLE.replace("target: onnxruntime_onnx", f"target: {target}")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "deploy.yaml").write_text(text)
    (made,) = make_graph(load(folder / "deploy.yaml"), L40S, "deploy.yaml").plans
    return made


def test_the_engine_of_tensorrt_is_built_with_the_plugins(tmp_path: Path) -> None:
    stages = plan(tmp_path, "tensorrt_plan").stages
    assert stages["engine"].needs["plugins"] is stages["plugins"]
    assert stages["plugins"].needs["graph"] is stages["graph"]
    assert stages["graph"].needs["export"] is stages["define"]
    assert {"GridSample", "acme.SoftClip", "com.microsoft.Inverse"} <= set(stages["repair"].params["plugins"])


@pytest.mark.parametrize("target", ["onnxruntime_onnx", "tensorrt_rtx"])
def test_elsewhere_they_are_compiled_only_on_request(target: str, tmp_path: Path) -> None:
    (tmp_path / "always").mkdir()
    always = plan(tmp_path / "always", target).stages
    assert "plugins" in always
    assert "engine" not in always or "plugins" not in always["engine"].needs
    (tmp_path / "default").mkdir()
    default = plan(tmp_path / "default", target, ("compile: always", "compile: for_tensorrt")).stages
    assert "plugins" not in default
    assert "define" in default, "the operators must run on the CPU all the same"


def test_a_spec_without_plugins_has_no_such_stage(tmp_path: Path) -> None:
    whole = EXAMPLE[EXAMPLE.index("    plugins:") :]
    stages = plan(tmp_path, "tensorrt_plan", (whole, "")).stages
    assert not {"plugins", "define"} & set(stages)
    assert stages["repair"].params["plugins"] == []


def test_another_header_version_is_another_result(tmp_path: Path) -> None:
    for number in ("10.16", "11.1"):
        folder = tmp_path / number / "include"
        folder.mkdir(parents=True)
        (folder / "NvInferRuntime.h").touch()
        major, minor = number.split(".")
        (folder / "NvInferVersion.h").write_text(
            f"#define TRT_MAJOR_ENTERPRISE {major}\n#define TRT_MINOR_ENTERPRISE {minor}\n"
        )
    keys = set()
    for number in ("10.16", "11.1"):
        (tmp_path / f"spec-{number}").mkdir()
        change = ("tensorrt_headers: none ", f"tensorrt_headers: {tmp_path / number} ")
        stages = plan(tmp_path / f"spec-{number}", "tensorrt_plan", change).stages
        assert stages["plugins"].recipe["tools"]["tensorrt_headers"] == number
        keys.add(stages["plugins"].key)
    assert len(keys) == 2
