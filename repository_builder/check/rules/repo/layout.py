"""REPO001 to REPO007: what lies at the root and in the models' folders."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator

from repository_builder.check.inputs import CONFIG, Model, Repository
from repository_builder.check.rule import Found, Severity, rule
from repository_builder.errors import RepositoryError


@rule("REPO001", "stray-folder", Severity.ERROR, triton="Could not determine backend for model '…'")
def stray_folder(repository: Repository) -> Iterator[Found]:
    """## What it does
    Reports folders at the root that hold no model: `.git`, `.ipynb_checkpoints`, `docs`, `scripts`.

    ## Why is this bad?
    Triton takes *every* folder of a repository for a model, hidden ones too, fails to load it, and with its default
    `--exit-on-error=true` the whole server ends. Plain files do no harm.

    ## Example
    ```
    model_repository/.git/
    model_repository/net/config.pbtxt
    ```
    """
    for name in repository.strays:
        if not os.access(repository.path / name, os.R_OK | os.X_OK):
            fix = "make it readable for the server, or move it out of the repository"
            yield repository.finding(repository.path / name, f"the folder `{name}` cannot be read", fix=fix)
            continue
        yield repository.finding(
            repository.path / name,
            f"the folder `{name}` holds neither a config.pbtxt nor a version, but Triton takes it for a model",
            fix="move it out of the repository",
        )


@rule("REPO002", "empty-repository", Severity.WARNING)
def empty_repository(repository: Repository) -> Iterator[Found]:
    """## What it does
    Reports a repository without any model.

    ## Why is this bad?
    The server starts and serves nothing. Most often the path is wrong by one level.

    ## Example
    ```
    triton-repo check model_repository/net        # instead of model_repository
    ```
    """
    if not repository.models and not repository.strays:
        inside = CONFIG in repository.files
        hint = "; this is a model, not a repository" if inside else ""
        fix = "give the folder above" if inside else "give the folder that holds the models' folders"
        yield repository.finding(repository.path, f"there is no model in it{hint}", fix=fix)


@rule("REPO003", "unreadable-config", Severity.ERROR, needs_config=False, triton="failed to …")
def unreadable_config(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that config.pbtxt can be opened: no dead link, no folder of that name, and readable for this user.

    ## Why is this bad?
    Triton, which seldom runs as a more powerful user, cannot load the model.

    ## Example
    ```
    net/config.pbtxt -> ../common/config.pbtxt      # which is not there
    ```
    """
    if isinstance(model.config_bytes, OSError):
        reason = model.config_bytes.strerror or str(model.config_bytes)
        yield model.file_finding(
            model.config_path, f"config.pbtxt cannot be read: {reason}", fix="make it a readable file"
        )


@rule("REPO004", "blank-in-model-name", Severity.ERROR)
def blank_in_model_name(model: Model) -> Iterator[Found]:
    """## What it does
    Reports Python models whose folder has a blank or another character that a shell would take apart.

    ## Why is this bad?
    The Python backend starts its process through a shell line that contains the name: the process never comes up and the
    server waits for it (measured: more than a minute, then given up). The name is also part of every URL.

    ## Example
    ```
    model_repository/my model/config.pbtxt
    ```
    """
    odd = sorted({character for character in model.name if character.isspace() or character in "\"'`$&;|<>()\\*?"})
    if odd and model.backend == "python":
        shown = " ".join(repr(character) for character in odd)
        yield model.file_finding(
            model.path, f"the name `{model.name}` contains {shown}", fix="use letters, digits, _ - ."
        )


@rule("REPO005", "config-in-version-folder", Severity.WARNING, needs_config=False)
def config_in_version_folder(model: Model) -> Iterator[Found]:
    """## What it does
    Reports a config.pbtxt inside a version's folder.

    ## Why is this bad?
    Triton reads `<model>/config.pbtxt` and no other: the file has no effect, or the model has no configuration at all.

    ## Example
    ```
    net/1/config.pbtxt
    ```
    """
    for version in model.versions:
        if (version.path / CONFIG).is_file():
            fix = "remove it" if model.has_config else "move it one level up"
            yield model.file_finding(version.path / CONFIG, "config.pbtxt in a version's folder is never read", fix=fix)


@rule("REPO006", "config-nearly-named", Severity.WARNING, needs_config=False)
def config_nearly_named(model: Model) -> Iterator[Found]:
    """## What it does
    Reports a file that is nearly called config.pbtxt, in a model that has none.

    ## Why is this bad?
    Triton looks for exactly `config.pbtxt`; without it, it guesses what it can and ignores the rest.

    ## Example
    ```
    net/config.pbtext
    ```
    """
    if model.has_config:
        return
    for name in model.files:
        if difflib.SequenceMatcher(None, name.lower(), CONFIG).ratio() > 0.8:
            yield model.file_finding(
                model.path / name, f"`{name}` is never read: it is not called {CONFIG}", fix="rename it"
            )


@rule("REPO007", "unreadable-manifest", Severity.WARNING)
def unreadable_manifest(repository: Repository) -> Iterator[Found]:
    """## What it does
    Checks that `manifest.json`, if there is one, is a manifest that this version can read.

    ## Why is this bad?
    Triton does not mind it, but verification, canary and the TensorRT rules of this checker read it.

    ## Example
    ```
    model_repository/manifest.json        # cut off after a full disk
    ```
    """
    try:
        repository.manifest  # noqa: B018  (read for its errors)
    except RepositoryError as error:
        problem = error.problems[0]
        yield repository.finding(repository.path / "manifest.json", f"{problem.what}: {problem.why}", fix=problem.fix)
