"""FILE001 to FILE008: files that config.pbtxt names or a backend expects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from repository_builder.check.inputs import Model, Version, is_placeholder
from repository_builder.check.rule import Found, Severity, rule
from repository_builder.errors import nearest

_EXPECTED = ("tensorrt", "onnxruntime", "pytorch", "openvino")


@rule("FILE001", "missing-model-file", Severity.ERROR, requires=("VER003",))
def missing_model_file(version: Version) -> Iterator[Found]:
    """## What it does
    Checks that every served version holds the model file that its backend loads: `default_model_filename`, or model.plan,
    model.onnx, model.pt (model.pt2), model.xml.

    ## Why is this bad?
    The backend answers `unable to find '…' for model instance` and the model does not load.

    ## Example
    ```
    net/1/resnet50.onnx        # the ONNX Runtime backend looks for model.onnx
    ```
    """
    model = version.model
    if model.backend not in _EXPECTED or version.file.exists() or model.is_ensemble or model.is_relocated:
        return
    if model.backend == "pytorch" and (version.path / "model.py").exists():
        return
    present = sorted(entry.name for entry in version.path.iterdir()) if version.path.is_dir() else []
    only = [name for name in present if name.endswith(PurePosixPath(version.file.name).suffix or "?")]
    hint = f"; there is `{only[0]}`" if len(only) == 1 else nearest(version.file.name, present)
    named = model.config.default_model_filename
    field = "default_model_filename" if named else ""
    if model.config.cc_model_filenames and all(
        (version.path / n).exists() for n in model.config.cc_model_filenames.values()
    ):
        return
    fix = f'rename it, or write default_model_filename: "{only[0]}"' if len(only) == 1 else "put the model file there"
    message = f"version {version.folder} has no `{version.file.name}`{hint}"
    if field:
        yield version.finding(field, message, fix=fix)
    else:
        yield version.file_finding(version.path, message, fix=fix)


@rule("FILE002", "missing-python-model", Severity.ERROR, requires=("VER003",))
def missing_python_model(version: Version) -> Iterator[Found]:
    """## What it does
    Checks that every served version of a Python model holds `model.py` (or what `default_model_filename` says).

    ## Why is this bad?
    The worst of all faults: the process of the model ends with `Python model file not found`, and the *server hangs*; it
    never becomes live or ready, for any model (measured: more than 400 s).

    ## Example
    ```
    pre/config.pbtxt
    pre/1/Model.py
    ```
    """
    model = version.model
    if model.backend != "python" or version.file.is_file() or model.is_ensemble or model.is_relocated:
        return
    present = sorted(entry.name for entry in version.path.iterdir()) if version.path.is_dir() else []
    field = "default_model_filename" if model.config.default_model_filename else ""
    message = f"version {version.folder} has no `{version.file.name}`{nearest(version.file.name, present)}"
    if field:
        yield version.finding(field, message, fix="name the file that is there")
    else:
        yield version.file_finding(version.path, message, fix="put model.py there")


@rule("FILE003", "python-model-of-another-suffix", Severity.ERROR, requires=("FILE002",))
def python_model_of_another_suffix(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that the file of a Python model ends in `.py`.

    ## Why is this bad?
    The backend imports it as a module; with another suffix the model's process ends and the server hangs.

    ## Example
    ```pbtxt
    backend: "python"
    default_model_filename: "model.txt"
    ```
    """
    name = model.config.default_model_filename
    if model.backend == "python" and name and not name.endswith(".py"):
        yield model.finding("default_model_filename", f"`{name}` does not end in .py", fix="rename the file")


@rule("FILE004", "missing-file-of-a-capability", Severity.ERROR)
def missing_file_of_a_capability(version: Version) -> Iterator[Found]:
    """## What it does
    Checks that every file of `cc_model_filenames` exists in every served version.

    ## Why is this bad?
    On a GPU of that compute capability the model does not load; on all others nobody notices.

    ## Example
    ```pbtxt
    cc_model_filenames [ { key: "9.0" value: "model_h200.plan" } ]
    ```
    """
    for capability, name in version.model.config.cc_model_filenames.items():
        if not (version.path / name).exists():
            message = f"version {version.folder} has no `{name}`"
            yield version.finding(
                f'cc_model_filenames["{capability}"]', message, fix="add the file, or remove the entry"
            )


@rule("FILE005", "missing-labels", Severity.ERROR, triton="failed to open text file for read …")
def missing_labels(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that a `label_filename` lies in the model's folder (beside config.pbtxt, not in a version's folder).

    ## Why is this bad?
    Triton does not load the model.

    ## Example
    ```pbtxt
    output [ { name: "scores" data_type: TYPE_FP32 dims: [ 10 ] label_filename: "labels.txt" } ]
    ```
    """
    for index, output in enumerate(model.outputs):
        name = output.label_filename
        if name and not (model.path / name).is_file():
            inside = next((v.folder for v in model.versions if (v.path / name).is_file()), "")
            hint = f"; it lies in `{inside}/`" if inside else nearest(name, model.files)
            message = f"there is no `{name}` in the model's folder{hint}"
            yield model.finding(f"output[{index}].label_filename", message, fix="put it beside config.pbtxt")


@rule("FILE006", "labels-outside-model", Severity.WARNING)
def labels_outside_model(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that a `label_filename` does not lead out of the model's folder.

    ## Why is this bad?
    Triton 26.02 and newer refuse it (`is outside model directory`); older ones serve the lines of any file as labels.

    ## Example
    ```pbtxt
    output [ { name: "scores" data_type: TYPE_FP32 dims: [ 10 ] label_filename: "../common/labels.txt" } ]
    ```
    """
    for index, output in enumerate(model.outputs):
        if output.label_filename and _escapes(output.label_filename):
            message = f"`{output.label_filename}` leads out of the model's folder"
            yield model.finding(f"output[{index}].label_filename", message, fix="copy the file into the model's folder")


def _escapes(name: str) -> bool:
    depth = 0
    for part in PurePosixPath(name).parts:
        depth += {"..": -1, ".": 0}.get(part, 1)
        if depth < 0:
            return True
    return name.startswith("/")


@rule("FILE007", "placeholder-model-file", Severity.WARNING)
def placeholder_model_file(version: Version) -> Iterator[Found]:
    """## What it does
    Reports a model file that is empty or a Git LFS pointer.

    ## Why is this bad?
    The real file is not here: no rule can look into it, and a server that is given this copy does not load the model.

    ## Example
    ```
    net/1/model.plan           # 0 bytes
    ```
    """
    if version.model.backend in _EXPECTED and version.file.is_file() and is_placeholder(version.file):
        kind = "empty" if version.file.stat().st_size == 0 else "a Git LFS pointer"
        fix = "build or copy the model" if kind == "empty" else "git lfs pull"
        yield version.file_finding(version.file, f"`{version.file.name}` is {kind}", fix=fix)


@rule("FILE008", "model-file-outside-version", Severity.WARNING)
def model_file_outside_version(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that `default_model_filename`, `cc_model_filenames`, warm-up and initial-state files do not lead out of their
    folders.

    ## Why is this bad?
    It works on the machine where it was written. In a container, where only the repository is mounted, the file is missing,
    and a repository from elsewhere can so read any file of the server.

    ## Example
    ```pbtxt
    default_model_filename: "../../shared/model.onnx"
    ```
    """
    named = [("default_model_filename", model.config.default_model_filename)]
    named += [(f'cc_model_filenames["{key}"]', name) for key, name in model.config.cc_model_filenames.items()]
    for index, sample in enumerate(model.config.model_warmup):
        named += [
            (f'model_warmup[{index}].inputs["{k}"].input_data_file', v.input_data_file)
            for k, v in sample.inputs.items()
        ]
    for field, name in named:
        if name and _escapes(name):
            yield model.finding(field, f"`{name}` leads out of its folder", fix="copy the file into the model")
