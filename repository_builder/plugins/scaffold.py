"""`plugin new`: every file of a new operator, from the node that needs it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from repository_builder.errors import GraphError, SpecError, nearest
from repository_builder.plugins.needed import STANDARD, attributes_of, nodes
from repository_builder.plugins.operators import NVIDIA_PLUGINS
from repository_builder.resources import data_folder

if TYPE_CHECKING:
    import onnx

FILES = {
    "operator.yaml.in": "operator.yaml",
    "math.h.in": "{key}_math.h",
    "operator.h.in": "{key}_operator.h",
    "kernel.h.in": "{key}.h",
    "kernel.cu.in": "{key}.cu",
    "plugin.cpp.in": "{key}_plugin.cpp",
    "reference.py.in": "reference.py",
    "cases.py.in": "cases.py",
    "function.onnxtxt.in": "function.onnxtxt",
    "README.md.in": "README.md",
    "test_operator.py.in": "test_{key}.py",
}
"""Template → file of the new folder."""


@dataclass(frozen=True)
class Wanted:
    """What the node says of the operator."""

    domain: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The folder's name: `MyOp` → `my_op`."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", self.operator).lower()


def scaffold(wanted: Wanted, folder: Path) -> Path:
    """Write the files into `folder/<key>`, which must not exist, and return it."""
    target = folder / wanted.key
    if target.exists():
        raise SpecError(f"{target} exists already", fix="remove it, or choose another folder with --out")
    values = _values(wanted)
    target.mkdir(parents=True)
    for template, name in FILES.items():
        text = (data_folder("plugins_cuda") / "template" / template).read_text(encoding="utf-8")
        made = Template(text).substitute(values)
        if not name.endswith(".py"):  # a node without attributes leaves gaps
            made = re.sub(r"\n\n\n+", "\n\n", made).replace("\n\n    }", "\n    }")
        (target / name.format(key=wanted.key)).write_text(made, encoding="utf-8")
    return target


def like(model: onnx.ModelProto, name: str) -> Wanted:
    """What the first node of the operator `acme::MyOp` in a graph says; the inputs and outputs get plain names."""
    domain, operator = split(name)
    for node in nodes(model.graph):
        if (node.domain, node.op_type) == (domain, operator):
            attributes = {k: _checked(k, v) for k, v in attributes_of(node).items()}
            _refuse_absent(node)
            return Wanted(domain, operator, _names("x", len(node.input)), _names("y", len(node.output)), attributes)
    known = {f"{node.domain}::{node.op_type}" for node in nodes(model.graph) if node.domain not in STANDARD}
    raise GraphError(
        f"the graph has no node `{name}`{nearest(name, known)}",
        where=f"graph `{model.graph.name}`",
        why=f"custom operators there: {', '.join(sorted(known)) or 'none'}",
        fix="name one of them as domain::Operator",
    )


def split(name: str) -> tuple[str, str]:
    """`acme::MyOp` → domain and operator; both must be usable as C++ names."""
    domain, separator, operator = name.rpartition("::")
    if not separator or not re.fullmatch(r"[A-Za-z]\w*", operator) or not re.fullmatch(r"[A-Za-z][\w.]*", domain):
        raise SpecError(f"`{name}` is not of the form domain::Operator", fix="write it as acme::MyOp")
    if operator in NVIDIA_PLUGINS:
        raise SpecError(
            f"NVIDIA's own library has a plugin called `{operator}`",
            why="plugins are process-wide: the same name in a server invites confusion even in another namespace",
            fix="choose another name for the operator",
        )
    return domain, operator


def _checked(name: str, value: Any) -> Any:
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, (bool, int, float, str)) and re.fullmatch(r"[A-Za-z]\w*", name):
        return value
    if isinstance(value, list) and value and all(isinstance(v, int) for v in value) and len(value) <= 16:
        return value
    raise GraphError(
        f"attribute `{name}` cannot be an attribute of a plugin",
        why="plugins take integers, lists of up to 16 integers, floats and words from a fixed list",
        fix="pass it as an input of the operator",
    )


def _refuse_absent(node: onnx.NodeProto) -> None:
    if not node.input or not node.output or not all([*node.input, *node.output]):
        raise GraphError(
            f"node `{node.name or node.op_type}` leaves out an input or output, or has none",
            fix="scaffold from a node that has all of them",
        )


def _names(letter: str, count: int) -> tuple[str, ...]:
    return (letter,) if count == 1 else tuple(f"{letter}{index}" for index in range(count))


def _values(wanted: Wanted) -> dict[str, Any]:
    ins, outs, attributes = wanted.inputs, wanted.outputs, wanted.attributes
    arguments = ", ".join([*ins, *outs])
    return {
        "operator": wanted.operator,
        "domain": wanted.domain,
        "namespace": wanted.domain,
        "qualified": f"{wanted.domain}::{wanted.operator}",
        "class_name": f"{wanted.operator[0].upper()}{wanted.operator[1:]}",
        "key": wanted.key,
        "input_list": ", ".join(ins),
        "output_list": ", ".join(outs),
        "input_count": len(ins),
        "output_count": len(outs),
        "aot_outputs": ", ".join("i0" for _ in outs),
        "signature": "F" * len(ins) + ">" + "F" * len(outs),
        "run_parameters": ", ".join([*(f"void const* {n}" for n in ins), *(f"void* {n}" for n in outs)]),
        "run_arguments": arguments,
        "run_casts": ", ".join(
            [*(f"static_cast<T const*>({n})" for n in ins), *(f"static_cast<T*>({n})" for n in outs)]
        ),
        "tensor_data": ", ".join(
            [*(f"in[{i}].data" for i in range(len(ins))), *(f"out[{i}].data" for i in range(len(outs)))]
        ),
        "unit_members": "\n".join([*(f"    T const* {n};" for n in ins), *(f"    T* {n};" for n in outs)]),
        "unit_body": "\n".join(_unit_body(wanted)),
        **_attribute_values(attributes),
        "reference_signature": ", ".join([*ins, *(["*"] if attributes else []), *map(_default, attributes.items())]),
        "readme_tensors": "\n".join(
            [
                *(f"| input `{n}` | FP32, FP16, BF16 | any |" for n in ins),
                *(f"| output `{n}` | type of `{ins[0]}` | shape of `{ins[0]}` |" for n in outs),
            ]
        ),
        "function_lines": "\n".join(f"    {n} = FILL_IN({', '.join(ins)})" for n in outs),
    }


def _unit_body(wanted: Wanted) -> list[str]:
    lines = [f"        Wide<T> const value{i} = widen({name}[index]);" for i, name in enumerate(wanted.inputs)]
    unused = [f"        (void)value{i};" for i in range(1, len(wanted.inputs))]
    lines += [*unused, "        // FILL IN: what reference.py says, for one element; this copies the first input."]
    return lines + [f"        {name}[index] = narrow<T>(value0);" for name in wanted.outputs]


CPP = {int: "int64_t {0} = {1};", float: "float {0} = {1}f;", str: "int32_t {0} = 0;", list: "IntList {0}{{}};"}
PARAM = {int: "int64_t", float: "float", str: "int32_t", list: "IntList"}
VISIT = {int: "integer", float: "number", list: "integers"}
ONNX_TYPE = {int: "int", float: "float", str: "string", list: "ints"}


def _attribute_values(attributes: Mapping[str, Any]) -> dict[str, str]:
    visits = []
    for name, value in attributes.items():
        if isinstance(value, str):
            visits.append(f'        v.choice("{name}", {name}, {{"{value}"}}, Need::kRequired);')
        else:
            visits.append(f'        v.{VISIT[type(value)]}("{name}", {name}, Need::kRequired);')
    yaml = [f"  {name}: {_yaml(value)}" for name, value in attributes.items()]
    return {
        "attribute_yaml": "\n".join(["attributes:", *yaml]) if yaml else "attributes: {}",
        "attribute_members": "\n".join(f"    {CPP[type(v)].format(n, v)}" for n, v in attributes.items()),
        "attribute_visits": "\n".join(visits),
        "attribute_example": repr(dict(attributes)),
        "params_members": "\n".join(f"    {PARAM[type(v)]} {n};" for n, v in attributes.items()),
        "params_values": "".join(f", {name}" for name in attributes),
        "readme_attributes": "\n".join(f"| `{n}` | {_words(v)} | |" for n, v in attributes.items()),
        "function_attributes": f"<{', '.join(attributes)}> " if attributes else "",
    }


def _yaml(value: Any) -> str:
    return f"{{values: [{value}]}}" if isinstance(value, str) else f"{{type: {ONNX_TYPE[type(value)]}}}"


def _words(value: Any) -> str:
    return f"`{value}`" if isinstance(value, str) else f"{ONNX_TYPE[type(value)]} (the graph has {value})"


def _default(item: tuple[str, Any]) -> str:
    return item[0]
