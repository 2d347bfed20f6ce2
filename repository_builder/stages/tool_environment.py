"""Environments of their own for tools whose pins conflict with ours, installed on first use below the cache folder.

A lock file names every package by its exact version; the folder's name is the digest of that file and of the Python
version, so a changed lock is a new environment. Complete or absent: an interrupted installation is started anew.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from repository_builder.console import Progress, silent
from repository_builder.errors import ToolMissing
from repository_builder.resources import cache_folder

_MARKER = "complete"


@dataclass(frozen=True)
class ToolEnvironment:
    """One environment."""

    name: str
    """Folder below the cache, and first word of progress messages: `precision`."""
    title: str
    """What is in it, for messages: `the precision tools`."""
    lock: Path
    disk_gb: int
    """Space that the installation needs."""

    def pinned(self) -> dict[str, str]:
        """Package → exact version."""
        lines = (line.partition("==") for line in self.lock.read_text(encoding="utf-8").splitlines() if "==" in line)
        return {name: version for name, _, version in lines}

    def folder(self) -> Path:
        """Where the environment is, or will be."""
        digest = hashlib.sha256(self.lock.read_bytes()).hexdigest()[:16]
        return cache_folder() / self.name / f"{digest}-py{sys.version_info.major}.{sys.version_info.minor}"

    def installed(self) -> Path | None:
        """The environment's interpreter, if the environment is complete."""
        return _python(self.folder()) if (self.folder() / _MARKER).is_file() else None

    def ensure(self, progress: Progress = silent) -> Path:
        """The environment's interpreter; installs it on first use."""
        from filelock import FileLock

        if python := self.installed():
            return python
        target = self.folder()
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.parent / f".{target.name}.lock"):
            return self.installed() or self._install(target, progress)

    def _install(self, target: Path, progress: Progress) -> Path:
        building = target.with_name(f".{target.name}.new")
        shutil.rmtree(building, ignore_errors=True)
        shutil.rmtree(target, ignore_errors=True)
        log = target.parent / f"{target.name}.log"
        progress(f"{self.name}: making an environment for {self.title}", 0.01)
        try:
            with log.open("w", encoding="utf-8") as output:
                self._step([sys.executable, "-m", "venv", str(building)], output.fileno(), log)
                self._packages(building, log, progress)
            building.rename(target)
            (target / _MARKER).touch()
        except OSError as error:
            raise ToolMissing(
                f"{self.title} could not be installed",
                where=target,
                why=str(error),
                fix=f"free some space ({self.disk_gb} GB), or name another folder in $TRITON_REPO_CACHE",
            ) from error
        finally:
            shutil.rmtree(building, ignore_errors=True)
        log.unlink()
        return _python(target)

    def _packages(self, building: Path, log: Path, progress: Progress) -> None:
        """`pip install`, each package that it names moving the bar."""
        wanted = len(self.pinned())
        command = [str(_python(building)), "-m", "pip", "--disable-pip-version-check", "install", "--progress-bar=off"]
        seen = 0
        with (
            subprocess.Popen(
                [*command, "-r", str(self.lock)],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=_clean(),
            ) as process,
            log.open("a", encoding="utf-8") as output,
        ):
            for line in process.stdout or ():
                output.write(line)
                words = line.split()
                if words and words[0] in ("Collecting", "Downloading", "Installing"):
                    seen += words[0] == "Collecting"
                    name = words[1].rpartition("/")[2]
                    progress(f"{self.name}: {words[0].lower()} {name}", 0.9 * seen / (wanted + 1))
        if process.returncode:
            raise self._failed(command, log)

    def _step(self, command: list[str], output: int, log: Path) -> None:
        if subprocess.run(command, stdout=output, stderr=output, check=False, env=_clean()).returncode:
            raise self._failed(command, log)

    def _failed(self, command: list[str], log: Path) -> ToolMissing:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        return ToolMissing(
            f"{self.title} could not be installed",
            where=" ".join(command),
            why="\n".join([line for line in lines if "ERROR" in line][:4] or lines[-3:]),
            fix="the first use needs a package index (PyPI or a mirror); later uses need no network",
            log=log,
        )


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def _python(environment: Path) -> Path:
    return environment / "bin" / "python"
