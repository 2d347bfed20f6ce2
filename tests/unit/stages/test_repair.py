"""The stage `repair`: drop-in for the graph's folder, untouched where nothing is refused."""

from __future__ import annotations

import json

import onnx
import pytest

from repository_builder.build.stage import StageContext
from repository_builder.stages import repair
from repository_builder.stages.graph import GraphFacts
from repository_builder.stages.graph import run as run_graph


def context(out, *, inputs=None, sources=None, params=None):
    out.mkdir()
    return StageContext(out, inputs or {}, sources or {}, params or {}, lambda message, fraction=None: None)


def graph_folder(tmp_path, body, signature, opset=18):
    text = f'<ir_version: 9, opset_import: ["" : {opset}]> g {signature} {{ {body} }}'
    (tmp_path / "m.onnx").write_bytes(onnx.parser.parse_model(text).SerializeToString())
    reads = {"opset": 28, "ir": 13, "by": "the test"}
    made = context(
        tmp_path / "graph", sources={"onnx": tmp_path / "m.onnx"}, params={"max_batch_size": None, "reads": reads}
    )
    run_graph(made)
    return made.out


def repaired(tmp_path, folder):
    made = context(tmp_path / "repaired", inputs={"graph": folder}, params={"for": None, "allow": []})
    repair.run(made)
    return made.out, json.loads((made.out / repair.REPORT).read_text())


def test_a_refused_node_is_rewritten_and_listed(tmp_path):
    folder = graph_folder(tmp_path, "y = Det (x)", "(float[n, 3, 3] x) => (float[n] y)", 22)
    out, report = repaired(tmp_path, folder)
    assert report["accepted"]
    assert not report["accepted_before"]
    assert [entry["repair"] for entry in report["repairs"]] == ["small_math"]
    assert report["compared_inputs"] > 0
    assert GraphFacts.read(out) == GraphFacts.read(folder)
    onnx.checker.check_model(onnx.load(out / "model.onnx"))


def test_an_accepted_graph_comes_out_byte_for_byte(tmp_path):
    folder = graph_folder(tmp_path, "y = Relu (x)", "(float[n, 3] x) => (float[n, 3] y)")
    out, report = repaired(tmp_path, folder)
    assert report["repairs"] == []
    assert (out / "model.onnx").read_bytes() == (folder / "model.onnx").read_bytes()


def test_types_that_clients_know_are_not_changed(tmp_path):
    folder = graph_folder(tmp_path, "y = Add (x, x)", "(int16[n, 3] x) => (int16[n, 3] y)")
    out, report = repaired(tmp_path, folder)
    assert not report["accepted"]
    assert [tensor.dtype for tensor in GraphFacts.read(out).interface.inputs] == ["INT16"]


def test_what_stays_refused_is_named(tmp_path):
    folder = graph_folder(tmp_path, "y = Unique (x)", "(float[4] x) => (float[m] y)")
    _, report = repaired(tmp_path, folder)
    assert not report["accepted"]
    assert report["refused"][0]["operator"] == "Unique"


def test_every_repair_is_part_of_the_key():
    assert any(name.endswith("repairs.bitwise") for name in repair.repair_modules())


@pytest.mark.slow
def test_a_build_for_tensorrt_repairs_and_the_manifest_says_so(tmp_path, cli):
    text = '<ir_version: 9, opset_import: ["" : 22]> g (float[n, 3, 3] x) => (float[n] y) { y = Det (x) }'
    (tmp_path / "det.onnx").write_bytes(onnx.parser.parse_model(text).SerializeToString())
    (tmp_path / "deploy.yaml").write_text(
        "models:\n  volume:\n    source: {onnx: det.onnx}\n    target: tensorrt_rtx\n"
    )
    done = cli("build", "deploy.yaml", "-o", "repo", TRITON_REPO_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert '"small_math"' in (tmp_path / "repo" / "manifest.json").read_text()
