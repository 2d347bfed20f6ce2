"""ONNX graphs as text for tests that build engines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from repository_builder.machine import this_machine
from repository_builder.onnx_graph import read
from repository_builder.onnx_graph.batch import batching
from repository_builder.stages.graph import GraphFacts
from repository_builder.targets import tensorrt_plan

BUILDERS = ("tensorrt_rtx", *(("tensorrt",) if not tensorrt_plan.missing(this_machine()) else ()))
"""The packages that can build here: the full TensorRT only where it and a GPU are."""

HEADER = '<ir_version: 10, opset_import: ["" : 18]>'

MLP = f"""{HEADER}
net (float[batch, 4] x) => (float[batch, 2] y)
<float[4, 8] w1, float[8, 2] w2>
{{ h = MatMul(x, w1)  r = Relu(h)  y = MatMul(r, w2) }}
"""

HALF = f"""{HEADER}
net (float[batch, 4] x) => (float[batch, 2] y)
<float16[4, 8] w1, float16[8, 2] w2>
{{ c = Cast<to=10>(x)  h = MatMul(c, w1)  r = Relu(h)  z = MatMul(r, w2)  y = Cast<to=1>(z) }}
"""

UNKNOWN = f"""{HEADER}
net (float[batch, 4] x) => (float y)
{{ y = Det(x) }}
"""


def write(text: str, path: Path, *, dtype: type = np.float32, seed: int = 0, **sizes: tuple[int, ...]) -> Path:
    """Write a graph; its named initializers get random weights of the shapes given in `sizes`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    model = onnx.parser.parse_model(text)
    random = np.random.default_rng(seed)
    for name, shape in sizes.items():
        weights = random.standard_normal(shape).astype(dtype)
        model.graph.initializer.append(numpy_helper.from_array(weights, name))
    onnx.save(model, path)
    interface = read.interface(model)
    GraphFacts(interface, batching(interface).batched, "by name", 18, 10, {}).write(path.parent)
    return path


def mlp(folder: Path, *, half: bool = False) -> Path:
    """A two-layer network with a dynamic batch; with `half` it computes in FP16 between casts."""
    if not half:
        return write(MLP, folder / "model.onnx", w1=(4, 8), w2=(8, 2))
    return write(HALF, folder / "model.onnx", dtype=np.float16, w1=(4, 8), w2=(8, 2))


def profile(name: str, low: int, opt: int, high: int) -> dict[str, object]:
    """A profile of the two-layer network as plain JSON."""
    return {"name": name, "shapes": {"x": {"min": [low, 4], "opt": [opt, 4], "max": [high, 4]}}}
