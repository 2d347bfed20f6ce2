"""The interpreter that has the TensorRT package a build asks for: this one, or one of an environment of its own.

`upgrade` builds with another version than the installed one, which gets an environment below the cache folder.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from repository_builder.console import Progress
from repository_builder.errors import ToolMissing
from repository_builder.resources import cache_folder

DISTRIBUTIONS = {"tensorrt": ("tensorrt",), "tensorrt_rtx": ("tensorrt-rtx-cu13", "tensorrt-rtx-cu12", "tensorrt-rtx")}
"""Package → what it is called on PyPI; the first is installed where none is there."""


def interpreter(package: str, version: str | None, progress: Progress) -> str:
    """An interpreter with exactly this version of the package; installs it where it is another than ours."""
    if version is None or package not in DISTRIBUTIONS or installed_version(package) == version:
        return sys.executable
    return str(_environment(DISTRIBUTIONS[package][0], version, progress))


def installed_version(package: str) -> str | None:
    """The version beside this interpreter; None if there is none."""
    for name in DISTRIBUTIONS.get(package, ()):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def _environment(distribution: str, version: str, progress: Progress) -> Path:
    from filelock import FileLock

    folder = cache_folder() / "engines" / f"{distribution}-{version}-py{sys.version_info[0]}.{sys.version_info[1]}"
    python = folder / "bin" / "python"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{folder.name}.lock"):
        if not (folder / "complete").is_file():
            progress(f"engine: installing {distribution} {version}")
            shutil.rmtree(folder, ignore_errors=True)
            _run([sys.executable, "-m", "venv", str(folder)], distribution, version)
            pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
            _run(
                [*pip, f"{distribution}=={version}", "numpy"], distribution, version
            )  # the bindings hand out weights as arrays
            (folder / "complete").touch()
    return python


def _run(command: list[str], distribution: str, version: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "ERROR" in line] or done.stderr.splitlines()[-3:]
        raise ToolMissing(
            f"{distribution} {version} could not be installed",
            where=" ".join(command),
            why="\n".join(errors[:3]),
            fix=f"`pip index versions {distribution}` lists the versions that there are",
        )


def newest(package: str, wanted: str) -> str:
    """The newest published version that begins with `wanted` (`11.3` → `11.3.0.99`). Asks the package index."""
    distribution = DISTRIBUTIONS[package][0]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "index", "versions", distribution]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    listed = done.stdout.partition("Available versions:")[2].splitlines()[:1]
    versions = [version.strip() for version in "".join(listed).split(",") if version.strip()]
    for version in versions:
        if version == wanted or version.startswith(f"{wanted}."):
            return version
    raise ToolMissing(
        f"there is no {distribution} {wanted}",
        why=f"the package index has {', '.join(versions[:8])}" if versions else done.stderr.strip()[-300:],
        fix="name one of the published versions",
    )
