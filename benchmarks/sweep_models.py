"""The models of `benchmarks/sweep.py`: one for which batching pays, one for which it hardly does, and an ensemble."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
MLP = (256, 2048, 4096, 4096, 4096, 4096, 2048, 64)
"""271 MB of weights: a batch of 1 takes 12 ms on one core, a batch of 16 takes 28 ms."""


@dataclass(frozen=True)
class Model:
    """A model and the space in which both tools search."""

    name: str
    member: str
    """The Triton model whose knobs are turned."""
    axes: dict[str, tuple[int, ...]]


SPACE = {"instances": (1, 2, 3), "max_batch": (1, 2, 4, 8, 16), "threads": (1,), "concurrency": (1, 2, 4, 8, 16, 32)}
MODELS = {
    "mlp": Model("mlp", "mlp", SPACE),
    "conv": Model("conv", "conv", SPACE),
    "digits": Model("digits", "digits_core", SPACE | {"max_batch": (1, 4, 16, 64)}),
}


def build(name: str, folder: Path) -> Path:
    """The repository of a model, built by `triton-repo build`."""
    if name == "digits":
        spec = ROOT / "examples" / "digits" / "deploy.yaml"
    else:
        {"mlp": _mlp, "conv": _conv}[name](folder / f"{name}.onnx")
        spec = folder / f"{name}.yaml"
        options = f"source: {{onnx: {name}.onnx}}, target: onnxruntime_onnx, max_batch_size: 16"
        options += ", tuning: {core: {threads: 1}}"  # Model Analyzer cannot set it
        spec.write_text(f"models: {{{name}: {{{options}}}}}\n")
    repository = folder / f"repository_{name}"
    command = [sys.executable, "-m", "repository_builder", "build", str(spec), "-o", str(repository)]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return repository


def _mlp(file: Path) -> None:
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper, save

    chance = np.random.default_rng(0)
    nodes, weights, value = [], [], "x"
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(MLP)):
        matrix = (chance.standard_normal((inputs, outputs), dtype=np.float32) / np.sqrt(inputs)).astype(np.float32)
        weights.append(numpy_helper.from_array(matrix, f"w{layer}"))
        last = layer == len(MLP) - 2
        nodes.append(helper.make_node("MatMul", [value, f"w{layer}"], ["y" if last else f"m{layer}"]))
        if not last:
            nodes.append(helper.make_node("Relu", [f"m{layer}"], [f"r{layer}"]))
        value = f"r{layer}"
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", MLP[0]])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", MLP[-1]])
    graph = helper.make_graph(nodes, "mlp", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    # as PyTorch's exporter writes weights of that size; it loads in half of the time
    save(model, file, save_as_external_data=True, location=f"{file.name}.data")


def _conv(file: Path) -> None:
    """Convolutions over 48 x 48: much to compute for each item, so the time of a batch is proportional to its size."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper, save

    chance = np.random.default_rng(0)
    channels = (3, 48, 64, 64, 64)
    nodes, weights, value = [], [], "x"
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(channels)):
        kernel = chance.standard_normal((outputs, inputs, 3, 3), dtype=np.float32) / np.sqrt(9 * inputs)
        weights.append(numpy_helper.from_array(kernel.astype(np.float32), f"w{layer}"))
        nodes.append(helper.make_node("Conv", [value, f"w{layer}"], [f"c{layer}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"]))
        value = f"r{layer}"
    nodes.append(helper.make_node("GlobalAveragePool", [value], ["y"]))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 48, 48])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", channels[-1], 1, 1])
    graph = helper.make_graph(nodes, "conv", [x], [y], weights)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), file)
