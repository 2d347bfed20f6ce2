"""PYB020 to PYB022: does the interpreter have what the model imports?"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from repository_builder.check.inputs import Version
from repository_builder.check.rule import Found, Severity, Skip, rule
from repository_builder.check.rules.pyb.parameters import PLACEHOLDER, environment

STOCK = {"numpy", "triton_python_backend_utils", "c_python_backend_utils", "tritonserver", "tritonfrontend", "pip"}
"""What the stock container offers besides the standard library."""

_PACKAGE_OF = {"PIL": "pillow", "cv2": "opencv-python", "sklearn": "scikit-learn", "yaml": "PyYAML"}


@rule("PYB020", "import-missing-in-container", Severity.WARNING, requires=("PYB001",))
def import_missing_in_container(version: Version) -> Iterator[Found]:
    """## What it does
    Reports, with `--image` given, packages that model.py imports at its top and that neither the stock container nor a
    `requirements.txt` at the repository's root has.

    ## Why is this bad?
    In the stock `-py3` image the Python backend has NumPy and little else: the import fails and the model does not load.
    Add the package to your image, or pack an environment.

    ## Example
    ```python
    import transformers
    ```
    """
    model = version.model
    if model.backend != "python" or not version.file.is_file() or environment(model):
        return
    source = version.python
    if source.tree is None:
        return
    wanted = [name for name in source.imports if name not in STOCK and name not in sys.stdlib_module_names]
    wanted = [name for name in wanted if not _is_sibling(version, name) and not _is_asked_for(version, name)]
    if not wanted:
        return
    release = model.host.release
    for name in wanted:
        yield version.file_finding(
            version.file,
            f"`{name}` is not in the stock container of {release.name}",
            fix=f"pip install {_PACKAGE_OF.get(name, name)} in your image, or set EXECUTION_ENV_PATH",
            line=source.imports[name],
        )


def _is_asked_for(version: Version, name: str) -> bool:
    """Whether `requirements.txt` at the repository's root, from which the image is made, names the package."""
    return {name.lower(), _PACKAGE_OF.get(name, name).lower()} & version.model.repository.requirements != set()


def _is_sibling(version: Version, name: str) -> bool:
    folders = (version.path, version.model.path)
    return any((folder / f"{name}.py").exists() or (folder / name).is_dir() for folder in folders)


def _folder(version: Version) -> Path | None:
    """The environment, if it is an unpacked folder inside the model; raises Skip for an archive."""
    value = environment(version.model)
    if not value:
        return None
    path = version.model.path / value.removeprefix(PLACEHOLDER).lstrip("/")
    if not value.startswith(PLACEHOLDER) or not path.is_dir():
        raise Skip(f"the environment {value} is not a folder that can be looked into")
    return path


@rule("PYB021", "environment-of-another-python", Severity.ERROR, requires=("PYB011",))
def environment_of_another_python(version: Version) -> Iterator[Found]:
    """## What it does
    Checks, with `--image`, that an unpacked environment has the Python of the container, unless the model brings a
    `triton_python_backend_stub` of its own.

    ## Why is this bad?
    The stub is linked against one Python; with the packages of another one the model's process does not start.

    ## Example
    ```
    pre/env/lib/python3.10/      # in 24.12, which has Python 3.12
    ```
    """
    folder = _folder(version)
    if folder is None or "triton_python_backend_stub" in version.model.files:
        return
    found = sorted(path.name.removeprefix("python") for path in (folder / "lib").glob("python3.*") if path.is_dir())
    release = version.host.release
    if not found or not release.python:
        raise Skip(f"the Python of {folder if not found else release.name} is not known")
    wanted = release.python.rpartition(".")[0]
    if wanted not in found:
        yield version.finding(
            'parameters["EXECUTION_ENV_PATH"]',
            f"the environment has Python {found[0]}, the container of {release.name} {wanted}",
            fix=f"build it with Python {wanted}, or put a stub for {found[0]} into the model's folder",
        )


@rule("PYB022", "numpy-two-empties-outputs", Severity.ERROR, requires=("PYB011",))
def numpy_two_empties_outputs(version: Version) -> Iterator[Found]:
    """## What it does
    Checks, with `--image 24.10`, that an unpacked environment has NumPy 1.

    ## Why is this bad?
    The stub of that release starts with NumPy 2, reports the model READY, and answers every request with *empty* outputs
    (`output tensor shape does not match size of output`, in ensembles `Expected 64, got 0`).

    ## Example
    ```
    pre/env/lib/python3.10/site-packages/numpy-2.2.6.dist-info/
    ```
    """
    folder = _folder(version)
    if folder is None:
        return
    majors = [
        re.match(r"numpy-([0-9]+)", path.name) for path in folder.glob("lib/python3.*/site-packages/numpy-*.dist-info")
    ]
    if not any(found and int(found.group(1)) >= 2 for found in majors):
        return
    if version.host.release.name > "24.10":
        raise Skip("whether NumPy 2 works with this release has not been measured")
    yield version.finding(
        'parameters["EXECUTION_ENV_PATH"]', "the environment has NumPy 2", fix="pip install 'numpy<2' into it"
    )
