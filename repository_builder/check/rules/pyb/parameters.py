"""PYB010 to PYB013: parameters of the Python backend."""

from __future__ import annotations

from collections.abc import Iterator

from repository_builder.check.inputs import Model
from repository_builder.check.rule import Found, Severity, rule

ENVIRONMENT = "EXECUTION_ENV_PATH"
PLACEHOLDER = "$$TRITON_MODEL_DIRECTORY"


def environment(model: Model) -> str:
    """The value of EXECUTION_ENV_PATH; empty if not given."""
    if model.backend != "python" or ENVIRONMENT not in model.config.parameters:
        return ""
    return str(model.config.parameters[ENVIRONMENT].string_value)


@rule("PYB010", "placeholder-inside-path", Severity.ERROR)
def placeholder_inside_path(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that `$$TRITON_MODEL_DIRECTORY` stands at the beginning of EXECUTION_ENV_PATH, or not at all.

    ## Why is this bad?
    Elsewhere the backend replaces too many characters, and looks for an environment of another name.

    ## Example
    ```pbtxt
    parameters { key: "EXECUTION_ENV_PATH" value { string_value: "/x$$TRITON_MODEL_DIRECTORY/env.tar.gz" } }
    ```
    """
    value = environment(model)
    if value.find(PLACEHOLDER) > 0:
        field = f'parameters["{ENVIRONMENT}"]'
        yield model.finding(field, f"{PLACEHOLDER} is not at the beginning", fix="begin the path with it")


@rule("PYB011", "missing-environment", Severity.ERROR, requires=("PYB010",), triton="Failed to get the canonical path")
def missing_environment(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that an execution environment inside the model's folder exists, is an archive (or a folder with `bin/activate`)
    and does not lead out of the folder.

    ## Why is this bad?
    Triton does not load the model.

    ## Example
    ```pbtxt
    parameters { key: "EXECUTION_ENV_PATH" value { string_value: "$$TRITON_MODEL_DIRECTORY/env.tar.gz" } }
    ```
    """
    value = environment(model)
    if not value.startswith(PLACEHOLDER):
        return
    inside = value.removeprefix(PLACEHOLDER).lstrip("/")
    path = model.path / inside
    if ".." in inside.split("/"):
        message = f"`{inside}` leads out of the model's folder"
    elif not path.exists():
        message = f"there is no `{inside}` in the model's folder"
    elif path.is_dir() and inside and not (path / "bin" / "activate").exists():
        message = f"`{inside}` is a folder without bin/activate"
    else:
        return
    fix = "pack one with conda-pack, or remove the parameter"
    yield model.finding(f'parameters["{ENVIRONMENT}"]', message, fix=fix)


CPU_ONLY = "FORCE_CPU_ONLY_INPUT_TENSORS"


@rule("PYB012", "neither-yes-nor-no", Severity.ERROR, triton="Incorrect value for FORCE_CPU_ONLY_INPUT_TENSORS")
def neither_yes_nor_no(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that FORCE_CPU_ONLY_INPUT_TENSORS is "yes" or "no".

    ## Why is this bad?
    Triton does not load the model for any other word, "true" included.

    ## Example
    ```pbtxt
    parameters { key: "FORCE_CPU_ONLY_INPUT_TENSORS" value { string_value: "false" } }
    ```
    """
    if model.backend != "python" or CPU_ONLY not in model.config.parameters:
        return
    value = model.config.parameters[CPU_ONLY].string_value
    if value not in ("yes", "no"):
        meant = {"true": "yes", "1": "yes", "on": "yes", "false": "no", "0": "no", "off": "no"}.get(value.lower())
        fix = f'write "{meant}"' if meant else 'write "yes" or "no"'
        yield model.finding(f'parameters["{CPU_ONLY}"]', f'"{value}" is neither yes nor no', fix=fix)
