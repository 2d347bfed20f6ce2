"""PYB001 to PYB007: the source of a Python model, looked at and never run."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator

from repository_builder.check.inputs import Version
from repository_builder.check.rule import Found, Severity, Skip, rule

NEWER_SYNTAX = re.compile(r"f-string|f['\"]|^\s*type\s+\w+|^\s*(def|class|async def)\s+\w+\s*\[")
"""Messages of this Python, or lines of the source, that Python 3.12 may not object to."""


@rule("PYB001", "python-syntax-error", Severity.ERROR, requires=("FILE002",), triton="SyntaxError")
def python_syntax_error(version: Version) -> Iterator[Found]:
    """## What it does
    Checks that the file of a Python model parses.

    ## Why is this bad?
    The model's process cannot import it; Triton does not load the model.

    ## Example
    ```python
    class TritonPythonModel
        def execute(self, requests): ...
    ```
    """
    if version.model.backend != "python" or not version.file.is_file():
        return
    error = version.python.error
    if error is None:
        return
    newer = NEWER_SYNTAX.search(error.msg or "") or NEWER_SYNTAX.search(error.text or "")
    if newer and sys.version_info < (3, 12):
        raise Skip(f"{version.file} does not parse here ({error.msg}), but may in a newer Python")
    yield version.file_finding(
        version.file, f"{version.file.name} does not parse: {error.msg}", fix="correct it", line=error.lineno or 1
    )


def _is_python(version: Version) -> bool:
    return version.model.backend == "python" and version.file.is_file() and version.python.tree is not None


@rule("PYB002", "missing-model-class", Severity.ERROR, requires=("PYB001",), triton="TritonPythonModel")
def missing_model_class(version: Version) -> Iterator[Found]:
    """## What it does
    Checks that the file of a Python model defines (or imports) the class `TritonPythonModel`.

    ## Why is this bad?
    The backend looks for exactly this name; Triton does not load the model.

    ## Example
    ```python
    class PythonModel:
        def execute(self, requests): ...
    ```
    """
    if _is_python(version) and version.python.model_class is None and not version.python.brings_class:
        yield version.file_finding(
            version.file, "there is no class `TritonPythonModel`", fix="call the class TritonPythonModel"
        )


@rule(
    "PYB003",
    "missing-execute",
    Severity.ERROR,
    requires=("PYB001", "PYB002"),
    triton="does not implement `execute` method",
)
def missing_execute(version: Version) -> Iterator[Found]:
    """## What it does
    Checks that a `TritonPythonModel` without base classes has a method `execute`.

    ## Why is this bad?
    The model loads and is READY; each request is answered with an error.

    ## Example
    ```python
    class TritonPythonModel:
        def exceute(self, requests): ...
    ```
    """
    if not _is_python(version):
        return
    source = version.python
    if source.is_plain and source.method("execute") is None and not source.assigns("execute"):
        assert source.model_class is not None  # noqa: S101  (is_plain says so)
        if source.method("__getattr__") is None:
            yield version.file_finding(
                version.file, "the class has no method `execute`", fix="add it", line=source.model_class.lineno
            )


@rule("PYB004", "execute-returns-nothing", Severity.ERROR, requires=("PYB003",))
def execute_returns_nothing(version: Version) -> Iterator[Found]:
    """## What it does
    Checks that `execute` of a model that is not decoupled returns something. (A body of `pass` alone is taken for a
    placeholder.)

    ## Why is this bad?
    Triton wants a list with one response per request; each request is answered with an error.

    ## Example
    ```python
    def execute(self, requests):
        responses = [self.answer(request) for request in requests]
    ```
    """
    if not _is_python(version) or version.model.config.model_transaction_policy.decoupled:
        return
    execute = version.python.method("execute")
    if execute is None or not version.python.is_plain or _is_placeholder(execute) or execute.decorator_list:
        return
    if _returns(execute) or _uses_sender(version) or _sets_decoupled(version):
        return
    if any(isinstance(node, ast.Yield | ast.YieldFrom | ast.Raise) for node in ast.walk(execute)):
        return
    message = "`execute` returns no responses"
    yield version.file_finding(
        version.file, message, fix="return a list, one response per request", line=execute.lineno
    )


def _is_placeholder(function: ast.AST) -> bool:
    body = getattr(function, "body", [])
    return all(
        isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in body
    )


def _returns(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.Return]:
    """`return` statements with a value, of the function itself."""
    found: list[ast.Return] = []
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            continue
        if isinstance(node, ast.Return) and not _is_none(node.value):
            found.append(node)
        waiting += ast.iter_child_nodes(node)
    return found


def _is_none(value: ast.expr | None) -> bool:
    return value is None or (isinstance(value, ast.Constant) and value.value is None)


def _uses_sender(version: Version) -> bool:
    return any(
        isinstance(node, ast.Attribute) and node.attr == "get_response_sender"
        for node in ast.walk(version.python.module)
    )


def _sets_decoupled(version: Version) -> bool:
    return any(
        isinstance(node, ast.Attribute) and node.attr == "set_model_transaction_policy"
        for node in ast.walk(version.python.module)
    )


@rule("PYB005", "decoupled-returns-responses", Severity.ERROR, requires=("PYB003",))
def decoupled_returns_responses(version: Version) -> Iterator[Found]:
    """## What it does
    Checks that `execute` of a decoupled model sends its responses instead of returning them.

    ## Why is this bad?
    The model loads; each request is answered with an error, since a decoupled model must return None.

    ## Example
    ```pbtxt
    model_transaction_policy { decoupled: true }      # and execute ends with: return responses
    ```
    """
    if not _is_python(version) or not version.model.config.model_transaction_policy.decoupled:
        return
    execute = version.python.method("execute")
    if execute is None or not version.python.is_plain or _uses_sender(version):
        return
    if returned := _returns(execute):
        yield version.file_finding(
            version.file,
            "`execute` of a decoupled model returns responses",
            fix="send them with request.get_response_sender(), or remove `decoupled`",
            line=returned[0].lineno,
        )


@rule("PYB006", "missing-sibling-module", Severity.ERROR, requires=("PYB001",), triton="No module named")
def missing_sibling_module(version: Version) -> Iterator[Found]:
    """## What it does
    Checks that modules that model.py imports with a leading dot lie beside it.

    ## Why is this bad?
    The import fails, and Triton does not load the model.

    ## Example
    ```python
    from .tokenizer import Tokenizer  # and no tokenizer.py in the version's folder
    ```
    """
    if not _is_python(version):
        return
    for name, line in version.python.relative_imports.items():
        target = version.path.joinpath(*name.split("."))
        if (
            not target.with_suffix(".py").is_file()
            and not target.is_dir()
            and not list(version.path.glob(f"{target.name}.*.so"))
        ):
            message = f"there is no `{name.replace('.', '/')}.py` beside {version.file.name}"
            yield version.file_finding(version.file, message, fix="copy it into the version's folder", line=line)
