"""PYB030: `auto_complete_config` against config.pbtxt.

Only what certainly runs is judged: statements at the top of the function, with values that are written out. The rules are
those of `ModelConfig` in triton_python_backend_utils.py.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from repository_builder.check.inputs import Version, dtype_name
from repository_builder.check.rule import Found, Severity, rule

_PROPERTIES = {"input": ("name", "data_type", "dims", "optional"), "output": ("name", "data_type", "dims")}


@rule("PYB030", "completion-contradicts-config", Severity.ERROR, requires=("PYB003",), triton="auto")
def completion_contradicts_config(version: Version) -> Iterator[Found]:
    """## What it does
    Checks what `auto_complete_config` certainly does: its tensors have name, data_type and dims and nothing else, and agree
    with config.pbtxt; its maximum batch is not below the configured one; it returns the configuration.

    ## Why is this bad?
    Triton does not load a model that contradicts its own configuration.

    ## Example
    ```python
    auto_complete_model_config.add_input({"name": "x", "data_type": "TYPE_FP32", "dims": [4], "shape": [4]})
    ```
    """
    model = version.model
    if (
        model.backend != "python"
        or not version.file.is_file()
        or version.python.tree is None
        or not model.host.auto_complete
    ):
        return
    function = version.python.method("auto_complete_config")
    if not isinstance(function, ast.FunctionDef) or not function.args.args:
        return
    static = any(isinstance(each, ast.Name) and each.id == "staticmethod" for each in function.decorator_list)
    parameters = function.args.args if static else function.args.args[1:]
    if not parameters:
        return
    for line, message, fix in _walk(version, function, parameters[0].arg):
        yield version.file_finding(version.file, message, fix=fix, line=line, field="auto_complete_config")


Fault = tuple[int, str, str]


def _walk(version: Version, function: ast.FunctionDef, handle: str) -> Iterator[Fault]:
    values: dict[str, Any] = {}
    for statement in function.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                values[name] = _constant(value, values)
                calls = [value]
            case ast.Expr(value=value):
                calls = [value]
            case ast.Return(value=value):
                calls = [value] if value is not None else []
            case ast.If() | ast.For() | ast.While() | ast.Try() | ast.With():
                for node in ast.walk(statement):
                    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                        values[node.id] = None
                calls = []
            case _:
                calls = []
        for call in calls:
            match call:
                case ast.Call(func=ast.Attribute(value=ast.Name(id=name))) if name == handle:
                    yield from _call(version, call, values)
    if not any(isinstance(node, ast.Return | ast.Raise | ast.Yield) for node in ast.walk(function)):
        yield function.lineno, "`auto_complete_config` returns nothing", f"add `return {handle}`"


def _constant(node: ast.expr, values: dict[str, Any]) -> Any:
    """The value of a literal or of a known name; None where it is not certain."""
    match node:
        case ast.Name(id=name):
            return values.get(name)
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords):
            return {each.arg: _constant(each.value, values) for each in keywords if each.arg}
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _call(version: Version, call: ast.Call, values: dict[str, Any]) -> Iterator[Fault]:
    assert isinstance(call.func, ast.Attribute)  # noqa: S101  (the caller has looked)
    argument = _constant(call.args[0], values) if call.args else None
    config, line = version.model.config, call.lineno
    match call.func.attr, argument:
        case "add_input" | "add_output", dict():
            yield from _tensor(version, call.func.attr.removeprefix("add_"), argument, line)
        case "set_max_batch_size", int():
            if config.max_batch_size > argument:
                message = (
                    f"`auto_complete_config` sets max_batch_size {argument}, config.pbtxt says {config.max_batch_size}"
                )
                yield line, message, "make both agree"
        case "set_dynamic_batching", _:
            if config.HasField("sequence_batching"):
                yield line, "`auto_complete_config` sets dynamic batching on a sequence model", "remove one of the two"
        case "set_model_transaction_policy", dict():
            policy = config.model_transaction_policy
            if set(argument) - {"decoupled"}:
                yield line, "a transaction policy holds only `decoupled`", "remove the rest"
            elif config.HasField("model_transaction_policy") and argument.get("decoupled") not in (
                None,
                policy.decoupled,
            ):
                message = f"`auto_complete_config` sets decoupled, config.pbtxt says {policy.decoupled}"
                yield line, message, "make both agree"


def _tensor(version: Version, side: str, given: dict[Any, Any], line: int) -> Iterator[Fault]:
    name = given.get("name", "?")
    for key in given:
        if key not in _PROPERTIES[side]:
            yield line, f"{side} `{name}` has the unknown property `{key}`", f"keep {', '.join(_PROPERTIES[side])}"
            return
    for key in ("name", "data_type", "dims"):
        if key not in given:
            yield line, f"{side} `{name}` has no `{key}`", f"add {key}"
            return
    for tensor in getattr(version.model, f"{side}s"):
        if tensor.name == name:
            yield from _agreement(side, tensor, given, line)


def _agreement(side: str, tensor: Any, given: dict[Any, Any], line: int) -> Iterator[Fault]:
    configured = dtype_name(tensor.data_type)
    fix = "make both agree"
    if tensor.data_type and configured != given["data_type"]:
        yield line, f"{side} `{tensor.name}` is {given['data_type']} here and {configured} in config.pbtxt", fix
    elif tensor.dims and isinstance(given["dims"], list | tuple) and list(tensor.dims) != list(given["dims"]):
        yield (
            line,
            f"{side} `{tensor.name}` has dims {list(given['dims'])} here and {list(tensor.dims)} in config.pbtxt",
            fix,
        )
