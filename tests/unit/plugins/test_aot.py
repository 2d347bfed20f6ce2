"""The ahead-of-time route as far as a machine without TensorRT goes: kernels become PTX, modules are Python, nodes find them.

What only TensorRT on a GPU can show (the plan carries the PTX and gives the right numbers) is in tests/gpu.
"""

import ast
import ctypes
import re
import subprocess
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx.parser
import pytest

from repository_builder.errors import GraphError
from repository_builder.plugins import aot, needed, operators, testing
from repository_builder.plugins.compile import HOST_FLAGS
from repository_builder.plugins.library import load_reference
from repository_builder.plugins.tensorrt_graph import rewrite
from repository_builder.plugins.toolchain import find_nvcc, host_compiler
from repository_builder.resources import data_folder

ALL = operators.shipped()
PLUGINS = data_folder("plugins_cuda")
GRAPHS = {
    "grid_sample": """<ir_version: 9, opset_import: ["" : 20]>
        g (float16[n,c,d,h,w] x, float[n,a,b,e,3] p) => (float16[n,c,a,b,e] y)
        { y = GridSample <mode = "cubic", padding_mode = "reflection", align_corners = 1> (x, p) }""",
    "col2im": """<ir_version: 9, opset_import: ["" : 20]> g (float[n,8,4] x) => (float[n,2,3,3] y)
        <int64[2] size = {3,3}, int64[2] block = {2,2}> { y = Col2Im (x, size, block) }""",
    "cumprod": """<ir_version: 12, opset_import: ["" : 26]> g (int64[n,8] x) => (int64[n,8] y)
        <int64 a = {1}> { y = CumProd <reverse = 1> (x, a) }""",
    "det": '<ir_version: 9, opset_import: ["" : 20]> g (float[n,3,3] x) => (float[n] y) { y = Det (x) }',
    "inverse": """<ir_version: 9, opset_import: ["" : 20, "com.microsoft" : 1]> g (bfloat16[n,4,4] x) => (bfloat16[n,4,4] y)
        { y = com.microsoft.Inverse (x) }""",
    "causal_conv_with_state": """<ir_version: 12, opset_import: ["" : 27]>
        g (float16[n,8,l] x, float16[8,1,4] w, float16[8] b) => (float16[n,8,l] y, float16[n,8,3] s)
        { y, s = CausalConvWithState <activation = "silu"> (x, w, b) }""",
}  # fmt: skip


def test_every_operator_of_one_launch_is_tried() -> None:
    assert set(GRAPHS) == {operator.key for operator in ALL if operator.aot}


@pytest.mark.slow
@pytest.mark.parametrize("key", GRAPHS)
def test_a_node_becomes_ptx_and_a_module(key: str, tmp_path: Path) -> None:
    model = onnx.parser.parse_model(GRAPHS[key])
    found = needed.uses(model, ALL)
    baked = aot.bake(found[0], aot.types_of(model))
    (module,) = aot.embed(model, found, find_nvcc(), tmp_path)
    ptx = module.with_suffix(".ptx").read_text()
    (entry,) = re.findall(r"\.visible \.entry (\w+)\(([^)]*)\)", ptx)
    assert entry[0] == baked.name == module.stem
    assert len(entry[1].split(",")) == sum(1 + rank for _, rank in (*baked.inputs, *baked.outputs))
    assert not re.search(r"\bcall\b.*vprintf|__assert", ptx)
    names = {node.name for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.FunctionDef)}
    assert names == {"describe", "combinations", "kernel"}
    (node,) = rewrite(model, ALL)[0].graph.node
    assert (node.op_type, needed.attributes_of(node)["plugin_namespace"]) == (baked.name, b"trb_aot")
    assert needed.attributes_of(node)["aot"] == 1


NUMPY = {1: np.dtype("float32"), 10: np.dtype("float16"), 16: np.dtype(ml_dtypes.bfloat16), 7: np.dtype("int64")}
INPUTS = {
    "grid_sample": [(2, 3, 4, 5, 6), (2, 3, 2, 4, 3)],
    "col2im": [(2, 8, 4)],
    "cumprod": [(5, 8)],
    "det": [(7, 3, 3)],
    "inverse": [(7, 4, 4)],
    "causal_conv_with_state": [(2, 8, 9), (8, 1, 4), (8,)],
}


@pytest.mark.slow
@pytest.mark.parametrize("key", GRAPHS)
def test_the_generated_kernel_computes_what_the_reference_says(key: str, tmp_path: Path) -> None:
    """Its source compiled for a machine of one thread: baked attributes, order of arguments, shapes from dimensions."""
    model = onnx.parser.parse_model(GRAPHS[key])
    baked = aot.bake(needed.uses(model, ALL)[0], aot.types_of(model))
    code, library = tmp_path / "kernel.cpp", tmp_path / "kernel.so"
    code.write_text(aot.source(baked))
    shim = ["-include", str(Path(__file__).with_name("one_thread.h"))]
    include = [f"-I{PLUGINS}", f"-I{PLUGINS / 'common'}"]
    subprocess.run([host_compiler(), *HOST_FLAGS[:3], "-shared", *shim, *include, str(code), "-o", library], check=True)
    rng = np.random.default_rng(5)
    inputs = [
        rng.uniform(-1, 1, shape).astype(NUMPY[kind]) if kind != 7 else rng.integers(-2, 3, shape)
        for shape, (kind, _) in zip(INPUTS[key], baked.inputs, strict=True)
    ]
    if key == "inverse":
        inputs[0] = (inputs[0].astype("f") + 3 * np.eye(4)).astype(inputs[0].dtype)
    attributes = {name: value for name, value in baked.attributes.items() if name != "present"}
    right = load_reference(baked.operator.folder)(*inputs, **attributes)
    outputs = [np.zeros(array.shape, array.dtype) for array in right]
    arrays = [*inputs, *outputs]
    addresses = [ctypes.c_void_p(array.ctypes.data) for array in arrays]
    sizes = [ctypes.c_int32(size) for array in arrays for size in array.shape]
    kernel = getattr(ctypes.CDLL(str(library)), baked.name)
    kernel(*addresses[: len(inputs)], *sizes, *addresses[len(inputs) :])
    assert testing.differences("the reference", outputs, right, 2e-2 if key == "inverse" else None) == ""


def test_other_attributes_are_another_kernel() -> None:
    names = set()
    for mode in ("linear", "nearest"):
        model = onnx.parser.parse_model(GRAPHS["grid_sample"].replace("cubic", mode))
        baked = aot.bake(needed.uses(model, ALL)[0], aot.types_of(model))
        names.add(baked.name)
        assert f"op.mode = {['linear', 'nearest', 'cubic'].index(mode)};" in aot.source(baked)
    assert len(names) == 2


def test_an_unknown_rank_is_refused() -> None:
    model = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["" : 20, "acme" : 1]>
        g (float[n,3,3] x) => (float[n] y) { z = acme.Secret (x)
        y = Det (z) }""")
    with pytest.raises(GraphError, match="type and rank of `z` are unknown"):
        aot.bake(needed.uses(model, ALL)[0], aot.types_of(model))
