"""The ahead-of-time route: one kernel per node, attributes baked in, as PTX inside the plan; the server needs no library.

TensorRT's Python API for it (`tensorrt.plugin`, from 10.9; NVIDIA calls it experimental) wants a name, PTX, launch sizes and
symbolic integers. Kernel arguments come in the order inputs, integers, outputs; the integers are all dimensions. Limits: one
launch per node, no workspace, attributes and ranks fixed, dimensions below 2^31, PTX that the driver must know.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repository_builder.errors import GraphError, StageFailed
from repository_builder.plugins.binding import bind
from repository_builder.plugins.needed import PLUGIN_DOMAIN, Use, attributes_of
from repository_builder.plugins.operators import Operator
from repository_builder.plugins.toolchain import Nvcc, host_compiler

if TYPE_CHECKING:
    import onnx

NAMESPACE = "trb_aot"
THREADS = 256
OLDEST_ARCHITECTURE = "75"
"""PTX runs on its own and every newer architecture."""
TYPES = {1: ("float", "kF32", "FP32"), 10: ("trb::Half", "kF16", "FP16"), 16: ("trb::BFloat16", "kBF16", "BF16"),
         6: ("int32_t", "kI32", "INT32"), 7: ("int64_t", "kI64", "INT64")}  # fmt: skip
"""ONNX type → C++ type, `trb::DataType`, TensorRT's name in `AutoTuneCombination`."""


@dataclass(frozen=True)
class Baked:
    """One node's kernel, before it is compiled."""

    operator: Operator
    attributes: Mapping[str, Any]
    inputs: tuple[tuple[int, int], ...]
    """ONNX type and rank of each input that is there."""
    outputs: tuple[tuple[int, int], ...]

    @property
    def name(self) -> str:
        """Name of plugin and kernel: the operator and a digest of what is baked in."""
        told = json.dumps([dict(self.attributes), self.inputs, self.outputs], sort_keys=True)
        return f"{self.operator.plugin}_{hashlib.sha256(told.encode()).hexdigest()[:12]}"


def bake(use: Use, types: Mapping[str, tuple[int, int]]) -> Baked:
    """What the node fixes. `types`: ONNX type and rank of every tensor that is known; GraphError where one is not."""
    node, operator = use.node, use.operator
    baked = set(operator.bake.values())
    given = [use.constants.get(name) if position in baked else None for position, name in enumerate(node.input)]
    _, attributes = bind(operator, attributes_of(node), given, node.name)
    kept = [name for position, name in enumerate(node.input) if position not in baked]
    if operator.optional_inputs:
        attributes["present"] = [int(bool(name)) for name in kept] + [0] * (len(operator.inputs) - len(kept))
    unknown = [name for name in (*filter(None, kept), *node.output) if name not in types]
    if unknown:
        raise GraphError(
            f"type and rank of `{unknown[0]}` are unknown",
            where=f"node `{node.name or node.op_type}`",
            why="an ahead-of-time kernel has them fixed",
            fix=f"export with shapes, or take `{operator.key}` out of `plugins.ahead_of_time`",
        )
    return Baked(operator, attributes, tuple(types[n] for n in kept if n), tuple(types[name] for name in node.output))


def source(baked: Baked) -> str:
    """The CUDA source of the kernel."""
    names = [f"in{i}" for i in range(len(baked.inputs))], [f"out{i}" for i in range(len(baked.outputs))]
    dims = [
        f"int32_t {name}_{axis}"
        for group, tensors in zip(names, (baked.inputs, baked.outputs), strict=True)
        for name, (_, rank) in zip(group, tensors, strict=True)
        for axis in range(rank)
    ]
    ins = [f"{TYPES[kind][0]} const* {name}" for name, (kind, _) in zip(names[0], baked.inputs, strict=True)]
    outs = [f"{TYPES[kind][0]}* {name}" for name, (kind, _) in zip(names[1], baked.outputs, strict=True)]
    sets = [line for name, value in baked.attributes.items() for line in _set(baked.operator, name, value)]
    return f"""// Generated: {baked.operator.qualified} with {dict(baked.attributes)}
#include "{baked.operator.file("_operator.h")}"

#include "common/aot.cuh"

extern "C" __global__ void __launch_bounds__({THREADS}) {baked.name}({", ".join([*ins, *dims, *outs])})
{{
    trb::{baked.operator.cpp_class} op{{}};
{"".join(f"    {line}{chr(10)}" for line in sets)}\
    trb::Tensor const in[] = {{{", ".join(_tensor(n, *t) for n, t in zip(names[0], baked.inputs, strict=True))}}};
    trb::Tensor const out[] = {{{", ".join(_tensor(n, *t) for n, t in zip(names[1], baked.outputs, strict=True))}}};
    trb::InKernelRun run;
    op.run(run, in, out);
}}
"""


def compile_ptx(baked: Baked, nvcc: Nvcc, folder: Path) -> Path:
    """Writes `<name>.cu` and `<name>.ptx` into `folder`."""
    code, ptx = folder / f"{baked.name}.cu", folder / f"{baked.name}.ptx"
    code.write_text(source(baked), encoding="utf-8")
    command = [
        str(nvcc.program), "-std=c++17", "-O3", "-ptx", f"-arch=compute_{OLDEST_ARCHITECTURE}", "-Werror", "all-warnings",
        "-ccbin", host_compiler(), f"-I{baked.operator.common.parent}", f"-I{baked.operator.common}",
        str(code), "-o", str(ptx),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StageFailed(
            f"the kernel of `{baked.operator.key}` does not compile ahead of time",
            where=code,
            why="\n".join((done.stderr + done.stdout).splitlines()[:12]),
            fix=f"take `{baked.operator.key}` out of `plugins.ahead_of_time`",
        )
    return ptx


def glue(baked: Baked) -> str:
    """A Python module that registers the kernel with TensorRT when it is run beside its `.ptx`."""
    ins = [f"in{i}" for i in range(len(baked.inputs))]
    shapes = [f"    i{i} = list(in{i}.shape_expr)" for i in range(len(ins))]
    constants = [f"    {name} = {value!r}" for name, value in baked.attributes.items()]
    returned = (
        "trtp.TensorDesc"
        if len(baked.outputs) == 1
        else f"Tuple[{', '.join(['trtp.TensorDesc'] * len(baked.outputs))}]"
    )
    made = [
        f"trtp.from_shape_expr(tuple({shape}), dtype=trt.{_trt_name(kind)})"
        for shape, (kind, _) in zip(baked.operator.aot, baked.outputs, strict=True)
    ]
    types = ", ".join(TYPES[kind][2] for kind, _ in (*baked.inputs, *baked.outputs))
    described = ", ".join(f"{name}: trtp.TensorDesc" for name in ins)
    return f'''"""Generated: the ahead-of-time plugin {baked.name}; run by the engine builder."""

from math import prod
from pathlib import Path
from typing import List, Tuple, Union

import tensorrt as trt
import tensorrt.plugin as trtp

PTX = Path(__file__).with_suffix(".ptx").read_bytes()


@trtp.register("{NAMESPACE}::{baked.name}")
def describe({described}) -> {returned}:
{chr(10).join([*shapes, *constants])}
    return {", ".join(made)}


@trtp.autotune("{NAMESPACE}::{baked.name}")
def combinations(
    {described}, outputs: Tuple[trtp.TensorDesc]
) -> List[trtp.AutoTuneCombination]:
    return [trtp.AutoTuneCombination("{types}", "LINEAR")]


@trtp.aot_impl("{NAMESPACE}::{baked.name}")
def kernel(
    {described}, outputs: Tuple[trtp.TensorDesc]
) -> Tuple[Union[str, bytes], Union[str, bytes], trtp.KernelLaunchParams, trtp.SymExprs]:
    elements = outputs[0].shape_expr.numel()
    launch = trtp.KernelLaunchParams()
    launch.grid_x = trtp.cdiv(elements, {THREADS})
    launch.block_x = {THREADS}
    launch.shared_mem = 0
    sizes = [size for tensor in ({", ".join(ins)}, *outputs) for size in tensor.shape_expr]
    arguments = trtp.SymIntExprs(len(sizes))
    for index, size in enumerate(sizes):
        arguments[index] = trtp.SymInt32(size)
    return "{baked.name}", PTX, launch, arguments
'''


def embed(model: onnx.ModelProto, uses: Sequence[Use], nvcc: Nvcc, folder: Path) -> list[Path]:
    """Make `uses` (nodes of `model`) calls of kernels that are compiled into `folder`; the modules that register them."""
    types = types_of(model)
    modules = {}
    for use in uses:
        baked = bake(use, types)
        if baked.name not in modules:
            modules[baked.name] = compile_ptx(baked, nvcc, folder).with_suffix(".py")
            modules[baked.name].write_text(glue(baked), encoding="utf-8")
        rename(use, baked)
    return list(modules.values())


def rename(use: Use, baked: Baked) -> None:
    """Make the node a call of the kernel: no attributes but those that find it."""
    from onnx.helper import make_attribute

    positions = set(use.operator.bake.values())
    kept = [name for position, name in enumerate(use.node.input) if name and position not in positions]
    del use.node.input[:], use.node.attribute[:]
    use.node.input.extend(kept)
    use.node.op_type, use.node.domain = baked.name, PLUGIN_DOMAIN
    found = {"plugin_namespace": NAMESPACE, "plugin_version": "1", "aot": 1}
    use.node.attribute.extend(make_attribute(name, value) for name, value in found.items())


def types_of(model: onnx.ModelProto) -> dict[str, tuple[int, int]]:
    """ONNX type and rank of every tensor of the main graph that inference can tell."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model)
    graph = inferred.graph
    found = {t.name: (t.data_type, len(t.dims)) for t in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        if tensor.elem_type and tensor.HasField("shape"):
            found[value.name] = (tensor.elem_type, len(tensor.shape.dim))
    return found


def _tensor(name: str, kind: int, rank: int) -> str:
    dims = ", ".join(f"{name}_{axis}" for axis in range(rank))
    pointer = f"const_cast<{TYPES[kind][0]}*>({name})" if name.startswith("in") else name
    return f"{{{pointer}, trb::DataType::{TYPES[kind][1]}, {{{rank}, {{{dims}}}}}}}"


def _set(operator: Operator, name: str, value: Any) -> Sequence[str]:
    """Statements that give a member of the operator its value."""
    member = "op.inputs.present" if name == "present" else f"op.{name}"
    if isinstance(value, str):
        return [f"{member} = {list(operator.attributes[name]['values']).index(value)};"]
    if isinstance(value, list):
        return [f"{member} = {{{len(value)}, {{{', '.join(map(str, value))}}}}};"]
    return [f"{member} = {value}f;" if isinstance(value, float) else f"{member} = {int(value)};"]


def _trt_name(kind: int) -> str:
    return {1: "float32", 10: "float16", 16: "bfloat16", 6: "int32", 7: "int64"}[kind]
