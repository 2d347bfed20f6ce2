"""The stages `define` and `plugins`, and what the engine's stage gets from them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import onnx
import onnx.parser
import pytest

from repository_builder.build.stage import Stage, StageContext
from repository_builder.console import silent
from repository_builder.errors import GraphError, SpecError, StageFailed, ToolMissing
from repository_builder.plugins import operators, testing, toolchain
from repository_builder.stages import plugin
from tests import plugin_kit as kit
from tests.conftest import ROOT

SOFT_CLIP = ROOT / "examples" / "plugins" / "soft_clip"
GRAPH = """<ir_version: 9, opset_import: ["" : 20, "acme" : 1]>
g (float[n,3,3] x) => (float[n] y) { d = Det (x)
y = acme.SoftClip <limit = 2.0> (d) }"""


def context(out: Path, sources: dict[str, Path], inputs: dict[str, Path] | None = None, **params: Any) -> StageContext:
    out.mkdir(parents=True)
    return StageContext(out=out, inputs=inputs or {}, sources=sources, params=params, progress=silent)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    path = tmp_path / "source" / "g.onnx"
    path.parent.mkdir()
    onnx.save(onnx.parser.parse_model(GRAPH), path)
    return path


@pytest.fixture
def defined(graph: Path, tmp_path: Path) -> Path:
    plugin.define(context(tmp_path / "define", {"onnx": graph, **plugin._files([SOFT_CLIP])}))
    return tmp_path / "define"


def compiled(defined: Path, out: Path, headers: str, ahead: tuple[str, ...] = (), own: Path = SOFT_CLIP) -> Path:
    params = {"architectures": ["75"], "headers": headers, "ahead_of_time": ahead}
    plugin.run(context(out, plugin._files([own]), {"graph": defined}, **params))
    return out


def test_a_defined_graph_has_the_users_function(defined: Path) -> None:
    model = onnx.load(defined / "model.onnx")
    assert [(f.domain, f.name) for f in model.functions] == [("acme", "SoftClip")]


def test_external_data_comes_along(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 20]> g (float[1024] x) => (float[1024] y) { y = Add (x, w) }'
    )
    model.graph.initializer.append(onnx.helper.make_tensor("w", 1, [1024], bytes(4096), raw=True))
    onnx.save(model, source / "g.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    stage = plugin.define_stage("m", onnx_file=source / "g.onnx", export=None, folders=())
    assert set(stage.sources) == {"onnx", "data/w.bin"}
    plugin.define(context(tmp_path / "out", {"onnx": source / "g.onnx"}))
    assert onnx.load(tmp_path / "out" / "model.onnx").graph.initializer[0].raw_data == bytes(4096)


def test_an_operator_without_a_definition_stops_at_once(graph: Path, tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="nobody defines the operator `acme::SoftClip`"):
        plugin.define(context(tmp_path / "out", {"onnx": graph}))


@pytest.mark.slow
def test_kernels_without_shells_are_kept_but_given_to_nobody(defined: Path, tmp_path: Path, fresh_cache: Path) -> None:
    out = compiled(defined, tmp_path / "plugins", "none")
    facts = json.loads((out / plugin.FACTS).read_text())
    assert set(facts["libraries"]) == {"libtrb_det.so", "libtrb_soft_clip.so"}
    assert "| 75 |" in (out / "libtrb_det.md").read_text()
    assert plugin.libraries(out) == {}
    with pytest.raises(StageFailed, match="no TensorRT shell"):
        plugin.prepare(defined / "model.onnx", out, tmp_path)


@pytest.mark.slow
def test_the_engine_gets_renamed_nodes_and_libraries(defined: Path, tmp_path: Path, fresh_cache: Path) -> None:
    out = compiled(defined, tmp_path / "plugins", str(kit.require_headers().folder))
    (tmp_path / "engine").mkdir()
    path, given = plugin.prepare(defined / "model.onnx", out, tmp_path / "engine")
    model = onnx.load(path)
    assert [(node.op_type, node.domain) for node in model.graph.node] == [
        ("TrbDet", "trt.plugins"),
        ("SoftClip", "trt.plugins"),
    ]
    assert not model.functions, "the parser would prefer the function to the plugin"
    assert sorted(Path(library).name for library in given) == ["libtrb_det.so", "libtrb_soft_clip.so"]
    assert plugin.libraries(out).keys() == {"libtrb_det.so", "libtrb_soft_clip.so"}


@pytest.mark.slow
def test_ahead_of_time_the_engine_gets_a_module_instead(defined: Path, tmp_path: Path, fresh_cache: Path) -> None:
    out = compiled(defined, tmp_path / "plugins", "none", ("det", "soft_clip"))
    assert json.loads((out / plugin.FACTS).read_text())["libraries"] == {}
    (tmp_path / "engine").mkdir()
    path, given = plugin.prepare(defined / "model.onnx", out, tmp_path / "engine")
    assert len(given) == 2
    for module in map(Path, given):
        compile(module.read_text(), module.name, "exec")
        assert f".entry {module.stem}(" in module.with_suffix(".ptx").read_text()
    assert {node.op_type for node in onnx.load(path).graph.node} == {Path(module).stem for module in given}


def test_what_cannot_be_ahead_of_time_is_refused(defined: Path, tmp_path: Path, fresh_cache: Path) -> None:
    with pytest.raises(SpecError, match="`top_k` cannot be compiled ahead of time"):
        compiled(defined, tmp_path / "plugins", "none", ("top_k",))


def test_an_operator_that_is_not_its_reference_is_refused(defined: Path, tmp_path: Path, fresh_cache: Path) -> None:
    own = tmp_path / "own" / "soft_clip"
    shutil.copytree(SOFT_CLIP, own)
    math = own / "soft_clip_math.h"
    math.write_text(math.read_text().replace("tanhf", "sinhf"))
    with pytest.raises(StageFailed, match="does not do what its reference says"):
        compiled(defined, tmp_path / "plugins", "none", own=own)


@pytest.mark.slow
def test_what_tests_leave_behind_changes_no_key(tmp_path: Path, fresh_cache: Path) -> None:
    own = tmp_path / "soft_clip"
    shutil.copytree(SOFT_CLIP, own, ignore=shutil.ignore_patterns("__pycache__"))
    (operator,) = operators.find([own])
    before = plugin.define_stage("m", onnx_file=None, export=None, folders=(own,)).key
    testing.prove(operator)
    assert not list(own.rglob("*.pyc"))
    (own / "notes.txt").write_text("mine")
    assert plugin.define_stage("m", onnx_file=None, export=None, folders=(own,)).key == before
    (own / "reference.py").write_text((own / "reference.py").read_text() + "# changed\n")
    assert plugin.define_stage("m", onnx_file=None, export=None, folders=(own,)).key != before


def test_a_machine_that_only_plans_needs_no_compiler(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing() -> toolchain.Nvcc:
        raise ToolMissing("no nvcc", fix="")

    monkeypatch.setattr(plugin, "find_nvcc", nothing)
    upstream = Stage(name="m/graph", run=plugin.define)
    params = {"architectures": (), "headers": "none", "ahead_of_time": ()}
    stage = plugin.stage("m", graph=upstream, folders=(SOFT_CLIP,), params=params)
    assert stage.recipe["tools"] == {"nvcc": "absent", "tensorrt_headers": "none"}
