"""INS020 to INS023: the `profile` lists of instance groups."""

from __future__ import annotations

import re
from collections.abc import Iterator

from repository_builder.check.inputs import Model
from repository_builder.check.rule import Edit, Found, Severity, rule


def _profiles(model: Model) -> Iterator[tuple[str, str]]:
    """(field path, text) of every listed profile."""
    for index, group in enumerate(model.config.instance_group):
        for place, text in enumerate(group.profile):
            yield f"instance_group[{index}].profile[{place}]", text


@rule(
    "INS020",
    "profile-outside-tensorrt",
    Severity.ERROR,
    triton="specifies profile field which is only supported for TensorRT models",
)
def profile_outside_tensorrt(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that only TensorRT models list optimization profiles.

    ## Why is this bad?
    Triton refuses the model.

    ## Example
    ```pbtxt
    backend: "python"
    instance_group [ { kind: KIND_CPU profile: [ "0" ] } ]
    ```
    """
    if model.effective.platform == "tensorrt_plan" or model.is_ensemble:
        return
    for index, group in enumerate(model.config.instance_group):
        if group.profile:
            yield model.finding(
                f"instance_group[{index}].profile", "only TensorRT has optimization profiles", fix="remove `profile`"
            )


_NUMBER = re.compile(r"[ \t\n\v\f\r]*[+-]?([0-9]+)")


@rule("INS021", "profile-is-no-number", Severity.ERROR, requires=("INS020",), triton="unable to parse '…'")
def profile_is_no_number(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that every listed profile is the text of a number from 0 on.

    ## Why is this bad?
    Profiles are listed by index, in quotes. Triton refuses an empty text, a name or a negative number.

    ## Example
    ```pbtxt
    instance_group [ { kind: KIND_GPU profile: [ "interactive" ] } ]
    ```
    """
    for field, text in _profiles(model):
        found = _NUMBER.match(text)
        if not found or int(found.group()) < 0:
            yield model.finding(field, f'"{text}" is no index of a profile', fix='write the index, like "0"')


@rule("INS022", "profile-ends-server", Severity.ERROR, requires=("INS020", "INS021"))
def profile_ends_server(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that no listed profile exceeds 2147483647.

    ## Why is this bad?
    Triton does not catch the overflow: the whole server ends (`std::out_of_range`), with every model in it.

    ## Example
    ```pbtxt
    instance_group [ { kind: KIND_GPU profile: [ "99999999999999" ] } ]
    ```
    """
    for field, text in _profiles(model):
        found = _NUMBER.match(text)
        if found and int(found.group()) > 2**31 - 1:
            yield model.finding(field, f'"{text}" makes the whole server end', fix="write the index of a profile")


@rule("INS023", "sloppy-profile", Severity.WARNING, requires=("INS020", "INS021"))
def sloppy_profile(model: Model) -> Iterator[Found]:
    """## What it does
    Reports a listed profile that is a number and something else: `01`, `1x`, ` 1`.

    ## Why is this bad?
    Triton reads the digits at the beginning and ignores the rest: "1x" selects profile 1.

    ## Example
    ```pbtxt
    instance_group [ { kind: KIND_GPU profile: [ "1x" ] } ]
    ```
    """
    for field, text in _profiles(model):
        found = _NUMBER.match(text)
        if found and text != str(int(found.group())) and int(found.group()) <= 2**31 - 1:
            number = str(int(found.group()))
            yield model.finding(
                field,
                f'"{text}" is taken for "{number}"',
                fix=f'write "{number}"',
                changes=_change(model, field, number),
            )


def _change(model: Model, field: str, number: str) -> tuple[Edit, ...]:
    line, column = model.parsed.place(field)
    start = sum(len(each) for each in model.parsed.text.splitlines(keepends=True)[: line - 1]) + column - 1
    found = re.match(r"profile\s*:\s*|", model.parsed.text[start:])
    start += found.end() if found else 0
    literal = re.match(r'"[^"\\\n]*"', model.parsed.text[start:])
    return (Edit(model.config_path, start, start + literal.end(), f'"{number}"'),) if literal else ()
