"""CFG010 to CFG019: platform, backend and runtime."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from repository_builder.check import backends
from repository_builder.check.inputs import Model
from repository_builder.check.rule import Found, Severity, rule
from repository_builder.errors import nearest


@rule(
    "CFG010",
    "backend-not-determined",
    Severity.ERROR,
    triton="Could not determine backend for model '…' with no backend in model configuration",
)
def backend_not_determined(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that Triton can tell the backend: from `backend`, `platform`, `default_model_filename`, from a model file with
    its usual name in the first version folder, or from a model name that ends in `.<backend>`.

    ## Why is this bad?
    Triton does not load a model whose backend it cannot tell.

    ## Example
    ```pbtxt
    max_batch_size: 8    # nothing else, and 1/ holds weights.bin
    ```
    """
    config = model.config
    given = config.platform or config.backend or config.default_model_filename
    if not model.backend and not given and not _schedules(model) and not model.is_relocated:
        where = "in the first version folder" if model.folders else "because there is no version folder"
        yield model.finding(
            "backend",
            f"neither `backend` nor `platform` is given, and no known model file is found {where}",
            fix='write the backend, for example `backend: "python"`',
        )


def _schedules(model: Model) -> bool:
    return bool(model.config.HasField("ensemble_scheduling"))


@rule("CFG011", "unknown-platform", Severity.ERROR, triton="unexpected platform type '…' for …")
def unknown_platform(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that a `platform` without `backend` is one that Triton knows: tensorrt_plan, onnxruntime_onnx,
    pytorch_libtorch, torch_aoti, tensorflow_graphdef, tensorflow_savedmodel or ensemble.

    ## Why is this bad?
    Triton finds the backend through the platform; the Python backend, for instance, has no platform.

    ## Example
    ```pbtxt
    platform: "python"
    ```
    """
    config = model.config
    platform = config.platform
    unset = not config.backend and not config.default_model_filename
    if (platform and platform != "ensemble" and unset and not model.backend) or (
        config.default_model_filename and not model.backend and platform != "ensemble" and not _schedules(model)
    ):
        field = "platform" if platform else "default_model_filename"
        shown = platform or config.default_model_filename
        hint = nearest(platform, [*backends.PLATFORMS, "ensemble"]) if platform else ""
        fix = f'write `backend: "{platform}"`' if platform in backends.KNOWN else "write the backend"
        yield model.finding(
            field, f"`{shown}` does not tell Triton the backend{hint}", fix=f"{fix} instead of `{field}`"
        )


@rule(
    "CFG012",
    "platform-of-another-backend",
    Severity.ERROR,
    triton="unexpected 'platform' and 'backend' pair, got:…",
)
def platform_of_another_backend(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that `platform` belongs to the backend (the given one, or the one that `default_model_filename` implies).

    ## Why is this bad?
    Triton refuses contradicting pairs for the backends that it knows.

    ## Example
    ```pbtxt
    backend: "tensorrt"
    platform: "onnxruntime_onnx"
    ```
    """
    config, backend = model.config, model.backend
    if not config.platform or backend not in backends.PAIRED or config.platform == "ensemble":
        return
    if backends.PLATFORMS.get(config.platform) != backend:
        wanted = " or ".join(f"`{name}`" for name, owner in backends.PLATFORMS.items() if owner == backend)
        hint = nearest(config.platform, backends.PLATFORMS)
        yield model.finding(
            "platform",
            f"platform `{config.platform}` does not belong to backend `{backend}`{hint}",
            fix=f"write {wanted}, or leave `platform` out",
        )


@rule(
    "CFG013",
    "misspelt-backend",
    Severity.ERROR,
    triton="unable to find backend library for backend '…'",
)
def misspelt_backend(model: Model) -> Iterator[Found]:
    """## What it does
    Reports a backend that is a known one in other letters, or the name of a platform.

    ## Why is this bad?
    Triton looks for the file `libtriton_<backend>.so`, and file names distinguish capitals.

    ## Example
    ```pbtxt
    backend: "TensorRT"
    ```
    """
    backend = model.config.backend
    meant = _meant(backend)
    if backend and backend not in backends.KNOWN and meant and not _own_library(model, backend):
        yield model.finding(
            "backend", f"there is no backend `{backend}`; it is called `{meant}`", fix=f'write "{meant}"'
        )


_ALIASES = {"onnx": "onnxruntime", "trt": "tensorrt", "torch": "pytorch", "libtorch": "pytorch", "py": "python"}


def _meant(backend: str) -> str:
    simple = backend.lower().replace("-", "").replace("_", "").replace(" ", "")
    lower = {name.replace("_", ""): name for name in backends.KNOWN}
    return lower.get(simple) or backends.PLATFORMS.get(backend.lower(), "") or _ALIASES.get(simple, "")


def _own_library(model: Model, backend: str) -> bool:
    """Does the model bring the backend itself?"""
    folders = [model.path, *(version.path for version in model.versions)]
    return any((folder / f"libtriton_{backend}.so").exists() for folder in folders)


@rule("CFG014", "unknown-backend", Severity.WARNING, requires=("CFG013",))
def unknown_backend(model: Model) -> Iterator[Found]:
    """## What it does
    Reports a backend that is none of NVIDIA's and whose library is not in the model's folder.

    ## Why is this bad?
    It loads only on servers that hold `libtriton_<backend>.so` (or `<backend>/model.py`) in their backend folder; others
    answer `unable to find backend library for backend '…'`.

    ## Example
    ```pbtxt
    backend: "our_tokenizer"
    ```
    """
    backend = model.backend
    if backend and backend not in backends.KNOWN and not _own_library(model, backend) and not model.is_ensemble:
        given = "backend" if model.config.backend else "name"
        inferred = "" if model.config.backend else " (taken from the model's name)"
        yield model.finding(
            given,
            f"backend `{backend}`{inferred} is none that comes with Triton{nearest(backend, backends.KNOWN)}",
            fix=f"make sure that the server has it, or put libtriton_{backend}.so into the model's folder",
        )


@rule(
    "CFG015",
    "ensemble-with-backend",
    Severity.ERROR,
    triton="Ensemble model '…' must have platform type 'ensemble' and empty backend type",
)
def ensemble_with_backend(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that an ensemble names no backend.

    ## Why is this bad?
    An ensemble is run by Triton's core: it has `platform: "ensemble"` and nothing else.

    ## Example
    ```pbtxt
    platform: "ensemble"
    backend: "ensemble"
    ```
    """
    if model.config.platform == "ensemble" and model.config.backend:
        yield model.finding("backend", "an ensemble has no backend", fix="remove the line")


@rule("CFG016", "runtime-outside-backend", Severity.ERROR, triton="unable to find backend library '…' for model '…'")
def runtime_outside_backend(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that `runtime` is the plain name of a library (`libtriton_<backend>.so`) or `model.py`.

    ## Why is this bad?
    Triton looks for it in the backend's folder and refuses names that lead out of it or that are not there.

    ## Example
    ```pbtxt
    runtime: "../other/libtriton_identity.so"
    ```
    """
    runtime = model.config.runtime
    if not runtime:
        return
    if "/" in runtime or ".." in PurePosixPath(runtime).parts:
        message = f"`{runtime}` leads out of the backend's folder"
    elif not runtime.endswith(".so") and runtime != "model.py":
        message = f"`{runtime}` is neither a shared library nor model.py"
    else:
        return
    yield model.finding("runtime", message, fix=f"write libtriton_{model.backend or '<backend>'}.so, or leave it out")
