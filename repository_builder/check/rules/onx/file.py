"""ONX001 to ONX004: the ONNX file itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from repository_builder.check.inputs import Version
from repository_builder.check.rule import Found, Severity, rule
from repository_builder.errors import GraphError, nearest


def is_onnx(version: Version) -> bool:
    """Does ONNX Runtime serve the version?"""
    return version.model.backend == "onnxruntime" and not version.model.is_ensemble


@rule("ONX001", "not-an-onnx-file", Severity.ERROR, requires=("FILE001",))
def not_an_onnx_file(version: Version) -> Iterator[Found]:
    """## What it does
    Checks that the model file of the ONNX Runtime backend is an ONNX graph. (Only its outline is read, never its weights.)

    ## Why is this bad?
    ONNX Runtime does not load the file, Triton not the model.

    ## Example
    ```
    net/1/model.onnx        # cut off, or a checkpoint of another framework
    ```
    """
    if not is_onnx(version):
        return
    try:
        version.onnx  # noqa: B018  (read for its errors)
    except GraphError as error:
        problem = error.problems[0]
        yield version.file_finding(version.file, f"{problem.what}: {problem.why}", fix=problem.fix)


@rule("ONX002", "missing-external-data", Severity.ERROR, requires=("ONX001",))
def missing_external_data(version: Version) -> Iterator[Found]:
    """## What it does
    Checks that the files in which an ONNX graph keeps its weights lie beside it.

    ## Why is this bad?
    A graph with external data is one model in several files; without all of them it does not load.

    ## Example
    ```
    net/1/model.onnx        # and no model.onnx.data
    ```
    """
    if not is_onnx(version):
        return
    folder = version.file if version.file.is_dir() else version.file.parent
    present = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    for location in version.onnx.external:
        if not _leaves(location) and not (folder / location).is_file():
            message = f"the graph keeps weights in `{location}`, which is not there{nearest(location, present)}"
            yield version.file_finding(version.file, message, fix="copy it beside the graph")


@rule("ONX003", "external-data-elsewhere", Severity.ERROR, requires=("ONX001",))
def external_data_elsewhere(version: Version) -> Iterator[Found]:
    """## What it does
    Checks that the weights of an ONNX graph are named by relative paths inside its folder.

    ## Why is this bad?
    ONNX Runtime refuses paths that leave the folder, since a foreign graph could so read any file of the server.

    ## Example
    ```
    location: "../../shared/weights.bin"
    ```
    """
    if not is_onnx(version):
        return
    for location in version.onnx.external:
        if _leaves(location):
            message = f"the graph keeps weights in `{location}`, outside its folder"
            yield version.file_finding(version.file, message, fix="save the graph again with its data beside it")


def _leaves(location: str) -> bool:
    path = PurePosixPath(location.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or ":" in location[:3]


DOMAINS = {
    "",
    "ai.onnx",
    "ai.onnx.ml",
    "ai.onnx.training",
    "ai.onnx.preview.training",
    "ai.onnx.preview",
    "com.ms.internal.nhwc",
}
"""Operator domains of the standard and of ONNX Runtime."""


@rule("ONX004", "operator-without-library", Severity.ERROR, requires=("ONX001",))
def operator_without_library(version: Version) -> Iterator[Found]:
    """## What it does
    Checks that a graph with operators of a foreign domain names a library for them in `model_operations`, or defines them
    itself as functions.

    ## Why is this bad?
    ONNX Runtime does not load a graph with an operator that nobody registered (`… is not a registered function/op`).

    ## Example
    ```
    mydomain::RotatedNMS        # and no op_library_filename in config.pbtxt
    ```
    """
    if not is_onnx(version) or version.model.config.model_operations.op_library_filename:
        return
    outline = version.onnx
    foreign = sorted(
        f"{domain}::{kind}"
        for domain, kind in outline.operators - outline.functions
        if domain not in DOMAINS and not domain.startswith(("com.microsoft", "org.pytorch.aten", "com.nvidia"))
    )
    if foreign:
        message = f"nobody registers {', '.join(foreign[:5])}{' …' if len(foreign) > 5 else ''}"
        yield version.file_finding(
            version.file, message, fix="name the library in model_operations.op_library_filename"
        )
