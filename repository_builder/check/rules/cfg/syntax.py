"""CFG001 to CFG003: can the file be read at all?"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from repository_builder.check.host import known_releases
from repository_builder.check.inputs import Model
from repository_builder.check.rule import Edit, Found, Severity, Skip, rule
from repository_builder.repository import pbtxt, proto


@rule(
    "CFG001",
    "syntax-error",
    Severity.ERROR,
    needs_config=False,
    triton="failed to read text proto from …config.pbtxt",
)
def syntax_error(model: Model) -> Iterator[Found]:
    """## What it does
    Reports everything in config.pbtxt (and in `configs/*.pbtxt`) that is not protobuf text: brackets, commas, quotes,
    misspelt enum values, numbers out of range, fields given twice, two schedulers at once.

    ## Why is this bad?
    Triton refuses the whole file for a single mistake, and its log names neither line nor field.

    ## Example
    ```pbtxt
    input [ { name: "x" data_type: TYPE_FLOAT32 dims: [ 3.0, ] } ]
    ```
    """
    if isinstance(model.config_bytes, OSError):
        return
    yield from _mistakes(model, model.parsed, model.config_path)
    for path in _custom(model):
        try:
            content = path.read_bytes()
        except OSError:
            continue
        yield from _mistakes(model, pbtxt.scan(content, path), path)


def _mistakes(model: Model, parsed: pbtxt.Parsed, path: Path) -> Iterator[Found]:
    for flaw in parsed.flaws:
        changes = (Edit(path, *flaw.edit),) if flaw.edit else ()
        fix = flaw.fix or "correct the value"
        yield Found(path, flaw.line, flaw.column, flaw.path, flaw.message, fix, model.name, changes)


def _custom(model: Model) -> list[Path]:
    """Files for `--model-config-name`."""
    if "configs" not in model.folders:
        return []
    return sorted((model.path / "configs").glob("*.pbtxt"))


@rule(
    "CFG002",
    "unknown-field",
    Severity.ERROR,
    needs_config=False,
    triton="failed to read text proto from …config.pbtxt",
)
def unknown_field(model: Model) -> Iterator[Found]:
    """## What it does
    Reports a field that no Triton has there and that resembles one that it has, or that belongs to another message; with a
    given release, any unknown field.

    ## Why is this bad?
    A single unknown field makes Triton refuse the whole file, and its log does not say which one it was.

    ## Example
    ```pbtxt
    max_batchsize: 8
    ```
    """
    for flaw in model.parsed.unknown:
        if _is_certain(flaw) or model.host.image:
            homes = _homes().get(_name(flaw), ())
            message, fix = flaw.message, "remove the field"
            if "did you mean" in message:
                fix = "write the name as the message suggests"
            elif homes:
                message = f"{message}; it is a field of {', '.join(homes[:3])}"
                fix = "move it to where it belongs, or remove it"
            yield Found(model.config_path, flaw.line, flaw.column, flaw.path, message, fix, model.name)


def _name(flaw: pbtxt.Flaw) -> str:
    return flaw.path.rpartition(".")[2]


def _is_certain(flaw: pbtxt.Flaw) -> bool:
    """Is it a typing error, or a field in the wrong place, rather than one of a newer Triton?"""
    return "did you mean" in flaw.message or _name(flaw) in _homes()


@cache
def _homes() -> dict[str, list[str]]:
    """Field name → messages that have it, of the whole schema."""
    found: dict[str, list[str]] = {}
    waiting, seen = [proto.messages().ModelConfig.DESCRIPTOR], set()
    while waiting:
        message = waiting.pop(0)
        if message.full_name not in seen:
            seen.add(message.full_name)
            for field in message.fields:
                found.setdefault(field.name, []).append(message.name)
                if field.message_type is not None:
                    waiting.append(field.message_type)
    return found


@rule("CFG003", "field-of-a-newer-triton", Severity.WARNING, needs_config=False)
def field_of_a_newer_triton(model: Model) -> Iterator[Found]:
    """## What it does
    Reports a field that resembles no known one, when the Triton release is not given: it may belong to a Triton that is
    newer than this checker.

    ## Why is this bad?
    Every Triton that does not know the field refuses the whole file. Give the release with `--image` for a verdict.

    ## Example
    ```pbtxt
    teleport { to: "mars" }
    ```
    """
    if model.host.image:
        return
    for flaw in model.parsed.unknown:
        if not _is_certain(flaw):
            newest = known_releases()[-1]
            message = f"{flaw.message}; no Triton up to {newest.name} ({newest.triton}) has it"
            fix = "remove the field, or serve with a newer Triton"
            yield Found(model.config_path, flaw.line, flaw.column, flaw.path, message, fix, model.name)


SINCE = {"model_metrics": "24.11", "ensemble_scheduling.max_inflight_requests": "25.11"}
"""Field → first release that has it (branches of Triton's `common` repository)."""


@rule("CFG004", "field-newer-than-server", Severity.ERROR, triton="failed to read text proto from …config.pbtxt")
def field_newer_than_server(model: Model) -> Iterator[Found]:
    """## What it does
    Reports fields that the Triton release given with `--image` does not have yet.

    ## Why is this bad?
    An older server takes such a field for an unknown one and refuses the whole file.

    ## Example
    ```pbtxt
    ensemble_scheduling { max_inflight_requests: 4 }   # needs 25.11
    ```
    """
    used = [field for field in SINCE if model.parsed.has(field)]
    if not used:
        return
    if not model.host.image:
        since = ", ".join(f"`{field}` {SINCE[field]}" for field in used)
        raise Skip(
            f"fields that need a minimal release are used ({since}), and the release is not known (give --image)"
        )
    release = model.host.release
    for field in used:
        if release.name < SINCE[field]:
            yield model.finding(
                field,
                f"Triton {release.name} does not have `{field}`, which came with {SINCE[field]}",
                fix=f"remove it, or serve with {SINCE[field]} or newer",
            )
