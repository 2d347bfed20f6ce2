"""The precision tools (nvidia-modelopt) in an environment of their own, installed on first use below the cache folder.

They pin older versions of `onnx` and `onnxruntime` than ours. `precision.lock` names every package by its exact version; the
folder's name is the digest of that file and of the Python version, so a changed lock is a new environment.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from repository_builder.console import Progress, silent
from repository_builder.errors import ToolMissing
from repository_builder.resources import cache_folder

LOCK = Path(__file__).with_name("precision.lock")
_MARKER = "complete"


def versions() -> dict[str, str]:
    """Package → version of everything in the environment that shapes a result."""
    pinned = (line.partition("==") for line in LOCK.read_text(encoding="utf-8").splitlines() if "==" in line)
    every = {name: version for name, _, version in pinned}
    return {name: every[name] for name in ("nvidia-modelopt", "onnx", "onnxruntime", "onnxslim", "torch")}


def folder() -> Path:
    """Where the environment is, or will be."""
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]
    return cache_folder() / "precision" / f"{digest}-py{sys.version_info.major}.{sys.version_info.minor}"


def installed() -> Path | None:
    """The environment's interpreter, if the environment is complete."""
    return _python(folder()) if (folder() / _MARKER).is_file() else None


def ensure(progress: Progress = silent) -> Path:
    """The environment's interpreter; installs it on first use (about 1.5 GB on disk with the CPU build of torch)."""
    from filelock import FileLock

    if python := installed():
        return python
    target = folder()
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / f".{target.name}.lock"):
        return installed() or _install(target, progress)


def _install(target: Path, progress: Progress) -> Path:
    building = target.with_name(f".{target.name}.new")
    shutil.rmtree(building, ignore_errors=True)
    shutil.rmtree(target, ignore_errors=True)
    log = target.parent / f"{target.name}.log"
    progress("precision: making an environment for nvidia-modelopt", 0.01)
    try:
        with log.open("w", encoding="utf-8") as output:
            _step([sys.executable, "-m", "venv", str(building)], output.fileno(), log)
            _packages(building, log, progress)
        building.rename(target)
        (target / _MARKER).touch()
    except OSError as error:
        raise ToolMissing(
            "the precision tools could not be installed",
            where=target,
            why=str(error),
            fix="free some space (2 GB), or name another folder in $TRITON_REPO_CACHE",
        ) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    log.unlink()
    return _python(target)


def _packages(building: Path, log: Path, progress: Progress) -> None:
    """`pip install`, each package that it names moving the bar."""
    wanted = LOCK.read_text(encoding="utf-8").count("==")
    command = [str(_python(building)), "-m", "pip", "--disable-pip-version-check", "install", "--progress-bar=off"]
    seen = 0
    with (
        subprocess.Popen(
            [*command, "-r", str(LOCK)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=_clean()
        ) as process,
        log.open("a", encoding="utf-8") as output,
    ):
        for line in process.stdout or ():
            output.write(line)
            words = line.split()
            if words and words[0] in ("Collecting", "Downloading", "Installing"):
                seen += words[0] == "Collecting"
                progress(f"precision: {words[0].lower()} {words[1].rpartition('/')[2]}", 0.9 * seen / (wanted + 1))
    if process.returncode:
        raise _failed(command, log)


def _step(command: list[str], output: int, log: Path) -> None:
    if subprocess.run(command, stdout=output, stderr=output, check=False, env=_clean()).returncode:
        raise _failed(command, log)


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def _failed(command: list[str], log: Path) -> ToolMissing:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return ToolMissing(
        "the precision tools could not be installed",
        where=" ".join(command),
        why="\n".join([line for line in lines if "ERROR" in line][:4] or lines[-3:]),
        fix="the first use needs a package index (PyPI or a mirror); later uses need no network",
        log=log,
    )


def _python(environment: Path) -> Path:
    return environment / "bin" / "python"
