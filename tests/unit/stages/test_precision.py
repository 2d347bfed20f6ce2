"""Precision behind the gate, with the real tools (nvidia-modelopt in its own environment) on the CPU."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from repository_builder.build.stage import StageContext
from repository_builder.console import silent
from repository_builder.errors import CheckFailed, SpecError
from repository_builder.stages import graph_dtypes, precision
from tests.unit.stages.precision_graphs import WIDTH, network, prepared, samples

pytestmark = pytest.mark.slow


def profile(name, low, opt, high):
    return {"name": name, "shapes": {"x": {"min": [low, WIDTH], "opt": [opt, WIDTH], "max": [high, WIDTH]}}}


PROFILES = [profile("small", 1, 4, 4), profile("large", 5, 24, 24)]


def lowered(tmp_path, levels, onnx_file=None, source=None, *, labels=None, metric_file=None, **params):
    """Run the stage; its report and the graph that it made."""
    onnx_file = onnx_file or network(tmp_path / "m")
    folders = prepared(tmp_path, onnx_file, source or samples(tmp_path / "s.npz"), labels=labels)
    defaults = {
        "levels": levels, "metric": "cosine", "threshold": None, "output": None, "method": "entropy",
        "rescue": True, "max_kept": 2, "profiles": PROFILES, "bounds": {}, "max_batch_size": None,
    }  # fmt: skip
    out = tmp_path / "out"
    out.mkdir()
    sources = {"metric": metric_file} if metric_file else {}
    precision.run(StageContext(out, folders, sources, defaults | params, silent))
    return json.loads((out / precision.REPORT).read_text()), onnx.load(out / "model.onnx")


@pytest.mark.parametrize("level", ["fp16", "bf16", "int8", "fp8"])
def test_every_precision_passes_and_is_real(tmp_path, level):
    report, model = lowered(tmp_path, [level], threshold=0.99)
    assert report["chosen"] == level
    assert graph_dtypes.share(model, level) >= 0.5
    assert [t.type.tensor_type.elem_type for t in (*model.graph.input, *model.graph.output)] == [1, 1]
    places = [score["at"] for score in report["trials"][0]["scores"]]
    corners = ["small.min (batch 1)", "small.opt (batch 4)", "large.min (batch 5)", "large.opt (batch 24)"]
    assert places == ["all 48 samples", *corners]
    assert report["samples"] == "48 samples of s.npz"


def test_first_that_passes_is_taken_and_the_others_are_recorded(tmp_path):
    report, model = lowered(tmp_path, ["int8", "bf16", "fp32"], threshold=0.9999999)
    assert report["chosen"] == "fp32"
    assert [(trial["precision"], trial["passed"]) for trial in report["trials"]] == [
        ("int8", False),
        ("bf16", False),
        ("fp32", True),
    ]
    assert graph_dtypes.share(model, "fp32") == 1.0


def test_layer_that_spoils_int8_is_found_and_kept(tmp_path):
    report, model = lowered(tmp_path, ["int8"], network(tmp_path / "m", spoiled=2), threshold=0.98)
    assert report["kept"] == ["layer2"]
    trial = report["trials"][0]
    assert trial["passed"]
    assert "with layer2 in higher precision" in trial["why"]
    assert graph_dtypes.heavy_types(model)["INT8"] == 3


def test_calibration_with_noise_ruins_int8_and_the_gate_says_so(tmp_path):
    """Scales from values a thousand times too small clip everything that real inputs hold."""
    folder = tmp_path / "noise"
    folder.mkdir()
    real = prepared(tmp_path / "real", network(tmp_path / "m"), samples(tmp_path / "s.npz"))
    noise = prepared(folder, network(tmp_path / "m"), samples(tmp_path / "n.npz", scale=0.001, seed=5))
    with precision.precision_tool(precision.precision_environment.ensure()) as tool:
        tool.convert(
            real["graph"] / "model.onnx", tmp_path / "q.onnx", "int8", samples=noise["samples"] / "samples.npz"
        )
    gate = precision.make_gate("cosine", 0.99, None, ["y"])
    batches, _ = precision.calibration.read(real["samples"])
    comparison = precision.Comparison.start(real["graph"] / "model.onnx", batches, gate, {})
    assert not comparison.quick(tmp_path / "q.onnx").passed


def test_none_passes_is_an_error_with_every_reason(tmp_path):
    with pytest.raises(CheckFailed) as caught:
        lowered(tmp_path, ["int8", "fp16"], threshold=1.5, rescue=False)
    assert [p.what.rpartition(" ")[2] for p in caught.value.problems] == ["int8", "fp16"]
    assert "needs 1.5" in caught.value.problems[0].why
    assert caught.value.log is not None
    assert caught.value.log.is_file()


def test_metric_of_the_user_decides(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def never(reference, candidate):\n    return 0.0\n")
    report, _ = lowered(tmp_path, ["fp16", "fp32"], metric="mine.py:never", threshold=0.5, metric_file=file)
    assert report["chosen"] == "fp32"


def test_labels_let_a_precision_pass_that_disagrees_where_the_reference_is_wrong(tmp_path):
    source = samples(tmp_path / "s.npz")
    (tmp_path / "labels.txt").write_text("\n".join(["0"] * 48))
    report, _ = lowered(tmp_path, ["int8"], source=source, labels=tmp_path / "labels.txt", metric="top1", threshold=0.9)
    assert report["chosen"] == "int8"


def test_graph_that_the_tools_refuse_is_a_failed_trial_not_the_end(tmp_path):
    """INT8 of a graph without any layer that can be quantized."""
    text = (
        f'<ir_version: 10, opset_import: ["" : 18]> g (float[n, {WIDTH}] x) => (float[n, {WIDTH}] y) {{ y = Relu(x) }}'
    )
    onnx.save(onnx.parser.parse_model(text), tmp_path / "relu.onnx")
    report, _ = lowered(tmp_path, ["int8", "fp32"], tmp_path / "relu.onnx")
    assert report["chosen"] in ("int8", "fp32")


def test_impossible_output_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(SpecError, match="names `z`, but"):
        lowered(tmp_path, ["fp16"], output="z")


def test_emulated_bf16_rounds_as_bf16_does(tmp_path):
    import ml_dtypes

    from repository_builder.onnx_graph import execute
    from repository_builder.stages import bf16

    body = "{ c = Cast<to=16>(x)  z = Add(c, c)  y = Cast<to=1>(z) }"
    text = f'<ir_version: 10, opset_import: ["" : 22]> g (float[n, 4] x) => (float[n, 4] y) {body}'
    model = onnx.parser.parse_model(text)
    assert bf16.uses_bf16(model)
    x = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
    found = execute.run(execute.session(bf16.emulated(model).SerializeToString()), {"x": x})["y"]
    exact = (x.astype(ml_dtypes.bfloat16) + x.astype(ml_dtypes.bfloat16)).astype(np.float32)
    assert np.array_equal(found, exact)
