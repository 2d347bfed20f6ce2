"""A small network with real structure, for tests of precision: four layers, and the means to spoil one of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from repository_builder.build.stage import StageContext
from repository_builder.console import silent
from repository_builder.stages import calibration, graph

READS = {"opset": 26, "ir": 13, "by": "test"}
WIDTH = 32

TEXT = f"""<ir_version: 10, opset_import: ["" : 18]>
net (float[batch, {WIDTH}] x) => (float[batch, {WIDTH}] y)
<float[{WIDTH}, {WIDTH}] w0, float[{WIDTH}, {WIDTH}] w1, float[{WIDTH}, {WIDTH}] w2, float[{WIDTH}, {WIDTH}] w3>
{{
  [layer0] a = MatMul(x, w0)  b = Relu(a)
  [layer1] c = MatMul(b, w1)  d = Relu(c)
  [layer2] e = MatMul(d, w2)  f = Relu(e)
  [layer3] y = MatMul(f, w3)
}}
"""


def network(folder: Path, *, spoiled: int | None = None) -> Path:
    """Four MatMuls; before layer `spoiled` one channel is a million times larger than the rest, and is cancelled in it.

    Quantized with one scale, the other channels of that layer's input vanish.
    """
    random = np.random.default_rng(0)
    weights = [(random.standard_normal((WIDTH, WIDTH)) / np.sqrt(WIDTH)).astype(np.float32) for _ in range(4)]
    if spoiled is not None:
        weights[spoiled - 1][:, 0] = np.abs(weights[spoiled - 1][:, 0]) * 3e3
        weights[spoiled][0, :] *= 1e-6
    model = onnx.parser.parse_model(TEXT)
    model.graph.initializer.extend(numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights))
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def samples(path: Path, count: int = 48, *, scale: float = 1.0, seed: int = 1) -> Path:
    """Inputs of the network as a `.npz`."""
    x = np.abs(np.random.default_rng(seed).standard_normal((count, WIDTH))).astype(np.float32) * np.float32(scale)
    np.savez(path, x=x)
    return path


def prepared(
    tmp_path: Path, onnx_file: Path, source: Path, *, count: int = 48, labels: Path | None = None
) -> dict[str, Path]:
    """Folders of the finished stages `graph` and `samples`."""
    folders = {role: tmp_path / f"stage-{role}" for role in ("graph", "samples")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    first = graph.stage("m", onnx_file=onnx_file, export=None, max_batch_size=None, reads=READS, tools={})
    graph.run(StageContext(folders["graph"], {}, first.sources, first.params, silent))
    second = calibration.stage("m", graph=first, before=None, source=source, count=count, labels=labels, tools={})
    inputs = {"graph": folders["graph"]}
    calibration.run(StageContext(folders["samples"], inputs, second.sources, second.params, silent))
    return folders
