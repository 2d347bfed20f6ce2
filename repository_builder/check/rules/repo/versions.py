"""VER001 to VER007: version folders and the version policy."""

from __future__ import annotations

import re
from collections.abc import Iterator

from repository_builder.check.inputs import RESERVED, Model, version_number
from repository_builder.check.rule import Create, Found, Severity, Skip, rule


@rule(
    "VER001",
    "no-version",
    Severity.ERROR,
    requires=("VER004",),
    triton="at least one version must be available under the version policy of model '…'",
)
def no_version(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that a model has at least one folder whose name is a number. Ensembles need one too, an empty one.

    ## Why is this bad?
    Triton does not load a model without a version. Git drops empty folders: put a file like `.gitkeep` into an ensemble's.

    ## Example
    ```
    pipeline/config.pbtxt          # and no pipeline/1/
    ```
    """
    if model.versions:
        return
    if model.is_relocated:
        raise Skip(f"{model.name}: a repository agent provides the files")
    near = [name for name in model.folders if name not in RESERVED]
    hint = f" (`{near[0]}` is not taken for one)" if near else ""
    keep = (Create(model.path / "1" / ".gitkeep"),) if model.is_ensemble else ()
    fix = "make a folder `1`" + (" with a .gitkeep" if keep else " with the model file")
    yield model.file_finding(model.path, f"there is no version folder{hint}", fix=fix, changes=keep)


@rule("VER002", "ignored-version-folder", Severity.WARNING)
def ignored_version_folder(model: Model) -> Iterator[Found]:
    """## What it does
    Reports folders that look like a version and are none: `01`, `v1`.

    ## Why is this bad?
    Triton ignores names with a leading zero and names that do not begin with a digit, with a line in its log only.

    ## Example
    ```
    net/01/model.onnx
    ```
    """
    for name in model.folders:
        if re.fullmatch(r"0[0-9]+|[vV][-_.]?[0-9]+(\.[0-9]+)*|version[-_]?[0-9]+", name):
            number = str(int(re.findall(r"[0-9]+", name)[0]))
            yield model.file_finding(
                model.path / name, f"`{name}` is not taken for a version", fix=f"call it `{number}`"
            )


@rule("VER003", "folder-only-begins-with-a-number", Severity.ERROR)
def folder_only_begins_with_a_number(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that a folder that begins with a number is nothing but that number.

    ## Why is this bad?
    Triton reads `1a` as version 1, looks for the model file in `1/`, and does not find it.

    ## Example
    ```
    net/2-old/model.onnx
    ```
    """
    for version in model.versions:
        if version.folder != str(version.number) and version.is_served and not version.path.is_dir():
            yield model.file_finding(
                model.path / version.folder,
                f"Triton takes `{version.folder}` for version {version.number} and looks in `{version.number}/`",
                fix=f"call it `{version.number}`, or move it out of the model",
            )


@rule(
    "VER004",
    "policy-serves-nothing",
    Severity.ERROR,
    triton="at least one version must be available under the version policy of model '…'",
)
def policy_serves_nothing(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that the version policy selects at least one of the existing versions.

    ## Why is this bad?
    Triton does not load a model of which it may serve nothing. `latest { }` means zero versions.

    ## Example
    ```pbtxt
    version_policy { specific { versions: [ 3 ] } }      # net/ has 1
    ```
    """
    if model.versions and not model.served:
        existing = ", ".join(str(version.number) for version in model.versions)
        yield model.finding(
            "version_policy",
            f"the policy selects none of the versions {existing}",
            fix="select one of them, or remove it",
        )


@rule("VER005", "missing-specific-version", Severity.WARNING, requires=("VER001", "VER004"))
def missing_specific_version(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that every version that the policy names exists.

    ## Why is this bad?
    Triton serves the others and only logs that one is missing: clients that ask for it get an error.

    ## Example
    ```pbtxt
    version_policy { specific { versions: [ 1, 2 ] } }    # net/ has 1
    ```
    """
    existing = {version.number for version in model.versions}
    for place, number in enumerate(model.config.version_policy.specific.versions):
        if number not in existing:
            field = f"version_policy.specific.versions[{place}]"
            yield model.finding(field, f"there is no version {number}", fix="remove it, or add the folder")


@rule("VER006", "version-ends-server", Severity.ERROR, needs_config=False)
def version_ends_server(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that no version's number exceeds 9223372036854775807 (a time stamp in nanoseconds fits).

    ## Why is this bad?
    Triton does not catch the overflow: the whole server ends (`std::out_of_range`).

    ## Example
    ```
    net/20261120103000000000/model.onnx
    ```
    """
    for name in model.folders:
        digits = re.match(r"[+-]?[0-9]+", name)
        if digits and version_number(name) is None and name[0] != "0" and abs(int(digits.group())) >= 2**63:
            yield model.file_finding(
                model.path / name, f"version {name} makes the whole server end", fix="use a smaller number"
            )


@rule("VER007", "older-versions-unserved", Severity.WARNING)
def older_versions_unserved(model: Model) -> Iterator[Found]:
    """## What it does
    Reports a model with several versions and no `version_policy`.

    ## Why is this bad?
    Without a policy Triton serves the highest number only (10 comes after 9) and says nothing of the others: clients that ask
    for an older version get an error, and whoever adds a version moves all traffic to it. Write what is meant.

    ## Example
    ```
    net/1/model.onnx
    net/2/model.onnx      # only this one is served
    ```
    """
    if model.config.HasField("version_policy") or len(model.versions) < 2:
        return
    unserved = ", ".join(str(version.number) for version in model.versions if not version.is_served)
    newest = model.versions[-1].number
    yield model.finding(
        "version_policy",
        f"without a policy only version {newest} is served, not {unserved}",
        fix="write `version_policy { latest { num_versions: 1 } }` if that is meant, else `all { }` or `specific`",
    )
