"""`triton-repo inspect` and `repair`, end to end: reports that name the node and fixes that work when followed."""

from __future__ import annotations

import json
import os
import re
import shlex

import numpy as np
import onnx
import pytest

from repository_builder.cli import main
from repository_builder.onnx_graph import equal


def write(folder, body, signature="(float[n, 4] x) => (float[n, 4] y)", opset=18, *, name="m.onnx", domains=""):
    text = f'<ir_version: 9, opset_import: ["" : {opset}{domains}]> g {signature} {{ {body} }}'
    model = onnx.parser.parse_model(text)
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return path


def inspect(path, capsys, *options):
    status = main(["inspect", str(path), "--json", *options])
    return status, json.loads(capsys.readouterr().out)


DET = ("y = Det (x)", "(float[n, 3, 3] x) => (float[n] y)", 22)


def test_a_healthy_graph(tmp_path, capsys):
    status, report = inspect(write(tmp_path, "y = Relu (x)"), capsys)
    assert status == 0
    assert report["converts"]
    assert report["healthy"]
    assert report["summary"]["inputs"] == ["x: FP32[n, 4]"]
    assert report["findings"] == []


def test_an_unknown_custom_operator(tmp_path, capsys):
    path = write(tmp_path, "y = mine.LayrNormalization (x)", domains=', "mine" : 1')
    status, report = inspect(path, capsys)
    assert status == 5
    finding = report["findings"][0]
    assert finding["operator"].endswith("LayrNormalization")
    assert {fix["kind"] for fix in finding["fixes"]} >= {"export", "scaffold"}
    assert "did you mean `LayerNormalization`" in json.dumps(finding)


def test_the_fix_for_a_refused_operator_works_when_followed(tmp_path, capsys, monkeypatch):
    path = write(tmp_path, *DET)
    status, report = inspect(path, capsys)
    assert status == 5
    command = report["findings"][0]["fixes"][0]["command"]
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(command)[1:]) == 0
    capsys.readouterr()
    assert inspect(tmp_path / "m.fixed.onnx", capsys)[0] == 0


def test_a_baked_batch_names_node_and_constant_and_the_fix_works(tmp_path, capsys):
    signature = "(float[n, 4, 4] x) => (float[n, 16] y)"
    status, report = inspect(
        write(tmp_path, "s = Constant <value = int64[2] {8, 16}> ()  y = Reshape (x, s)", signature), capsys
    )
    assert status == 5
    assert report["converts"]
    assert "[8, 16]" in report["findings"][0]["why"]
    assert "`-1`" in report["findings"][0]["fixes"][0]["text"]
    fixed = write(tmp_path, "s = Constant <value = int64[2] {-1, 16}> ()  y = Reshape (x, s)", signature, name="f.onnx")
    assert inspect(fixed, capsys)[0] == 0


def test_a_training_leftover_and_its_fix(tmp_path, capsys, monkeypatch):
    body = "t = Constant <value = bool {1}> ()  r = Constant <value = float {0.5}> ()  y = Dropout (x, r, t)"
    status, report = inspect(write(tmp_path, body), capsys)
    assert status == 5
    (finding,) = report["findings"]
    assert "training" in finding["what"]
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(finding["fixes"][1]["command"])[1:]) == 0
    capsys.readouterr()
    assert inspect(tmp_path / "m.fixed.onnx", capsys)[0] == 0


def test_an_opset_from_the_future(tmp_path, capsys):
    status = main(["inspect", str(write(tmp_path, "y = Relu (x)", opset=99)), "--json"])
    problem = json.loads(capsys.readouterr().out)["errors"][0]
    assert status == 7
    assert "opset is 99" in problem["why"]
    wanted = int(re.search(r"opset_version=(\d+)", problem["fix"])[1])
    assert inspect(write(tmp_path, "y = Relu (x)", opset=wanted), capsys)[0] == 0


def test_an_opset_that_the_table_does_not_reach(tmp_path, capsys):
    status, report = inspect(write(tmp_path, "y = Relu (x)", opset=26), capsys, "--for", "tensorrt=11.1")
    assert status == 5
    assert report["findings"][0]["fixes"][0]["kind"] == "opset"


def test_the_pytorch_source_line_that_the_exporter_recorded(tmp_path, capsys):
    path = write(tmp_path, *DET)
    model = onnx.load(path)
    trace = 'File "/src/model.py", line 12, in forward\n  return self.head(x)\nFile "/src/head.py", line 34, in forward'
    model.graph.node[0].metadata_props.add(key="pkg.torch.onnx.stack_trace", value=trace)
    model.graph.node[0].metadata_props.add(key="namespace", value=": Model/head: Head/det")
    path.write_bytes(model.SerializeToString())
    finding = inspect(path, capsys)[1]["findings"][0]
    assert finding["source"] == "/src/head.py:34"
    assert "head" in finding["place"]


def test_an_operator_that_was_computed_wrongly_is_a_warning(tmp_path, capsys):
    signature = "(float[n, 1, 4, 4] x, float[n, 2, 2, 2] where) => (float[n, 1, 2, 2] y)"
    status, report = inspect(write(tmp_path, "y = GridSample (x, where)", signature), capsys)
    assert status == 0
    (finding,) = report["findings"]
    assert finding["severity"] == "warning"
    assert "#4813" in finding["why"]
    assert finding["fixes"][0]["kind"] == "our-plugin"


def test_three_gigabytes_are_judged_but_not_repaired(tmp_path, capsys):
    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 22]> g (float[n, 3, 3] x) => (float[n] y) { y = Det (x) }'
    )
    weight = onnx.TensorProto(name="w", data_type=1, dims=[3, 2**28], data_location=onnx.TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value="m.data")
    model.graph.initializer.append(weight)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "m.data").touch()
    os.truncate(tmp_path / "m.data", 3 * 2**30)  # a hole: it takes no space
    status = main(["repair", str(tmp_path / "m.onnx"), "-o", str(tmp_path / "out.onnx"), "--json"])
    (record,) = json.loads(capsys.readouterr().out)["records"]
    assert status == 5
    assert "2 GiB" in record["reason"]
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize("form", ["--html", "--no-run"])
def test_other_forms(tmp_path, capsys, form):
    assert main(["inspect", str(write(tmp_path, "y = Relu (x)")), form]) == 0
    assert "It converts." in capsys.readouterr().out


def test_text_names_everything(tmp_path, capsys):
    main(["inspect", str(write(tmp_path, *DET))])
    said = capsys.readouterr().out
    for word in ("opset:", "judged by:", "error: `Det`", "where:", "fix 1:", "triton-repo repair"):
        assert word in said


def test_zero_sized_dims_and_subgraphs_are_inspected(tmp_path, capsys):
    body = """y = If (c) <then_branch = t () => (float[n, 4] a) { a = Relu (x) },
                           else_branch = e () => (float[n, 4] b) { b = Neg (x) }>"""
    assert (
        inspect(write(tmp_path, body, "(bool c, float[n, 4] x) => (float[n, 4] y)"), capsys)[1]["summary"]["nodes"] == 3
    )
    status, _ = inspect(write(tmp_path, "y = Relu (x)", "(float[n, 0] x) => (float[n, 0] y)"), capsys)
    assert status == 0


def test_repair_many_files_with_a_record_each(tmp_path, capsys):
    source = tmp_path / "in"
    (source / "sub").mkdir(parents=True)
    write(source, *DET)
    write(source / "sub", "y = Relu (x)", name="good.onnx")
    (source / "bad.onnx").write_text("not a model")
    status = main(["repair", str(source), "-o", str(tmp_path / "out"), "--json", "--jobs", "2"])
    records = {r["source"].rpartition("in/")[2]: r for r in json.loads(capsys.readouterr().out)["records"]}
    assert status == 5
    assert records["m.onnx"]["repairs"] == {"small_math": 1}
    assert records["m.onnx"]["accepted_after"]
    assert records["m.onnx"]["samples"] > 0
    assert records["sub/good.onnx"]["accepted_before"]
    assert "text file" in records["bad.onnx"]["reason"]
    assert (tmp_path / "out" / "sub" / "good.onnx").is_file()
    matrix = np.random.default_rng(0).standard_normal((5, 3, 3)).astype("f4")
    found = equal.Evaluator(onnx.load(tmp_path / "out" / "m.onnx"))({"x": matrix})["y"]
    np.testing.assert_allclose(found, np.linalg.det(matrix), rtol=1e-3, atol=1e-4)


def test_repair_sorts_nodes(tmp_path):
    path = write(tmp_path, "y = Neg (z)  z = Relu (x)")
    assert main(["repair", str(path), "-o", str(tmp_path / "sorted.onnx")]) == 0
    onnx.checker.check_model(onnx.load(tmp_path / "sorted.onnx"))


def test_repair_never_overwrites_a_model(tmp_path, capsys):
    path = write(tmp_path, *DET)
    before = path.read_bytes()
    assert main(["repair", str(path), "-o", str(path)]) == 2
    assert main(["repair", str(tmp_path), "-o", str(tmp_path)]) == 2
    assert "overwritten" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_repair_of_nothing(tmp_path):
    assert main(["repair", str(tmp_path), "-o", str(tmp_path / "out")]) == 2


def test_targets_that_would_clash(tmp_path):
    paths = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        paths.append(str(write(tmp_path / name, *DET)))
    assert main(["repair", *paths, "-o", str(tmp_path / "out")]) == 2
