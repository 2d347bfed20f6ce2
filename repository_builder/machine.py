"""What this machine offers: GPUs, package versions, Python. A frozen value: planning for another machine is possible."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

PACKAGES = ("numpy", "onnx", "onnxruntime", "onnxscript", "pillow", "tensorrt", "tensorrt-rtx", "tokenizers", "torch")
"""Packages whose version may shape a result. `tensorrt-rtx` stands for every CUDA flavour of that package."""


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU as the driver describes it."""

    name: str
    compute_capability: str
    """`"9.0"`."""
    memory_mib: int
    driver: str


@dataclass(frozen=True)
class Machine:
    """What a build may rely on."""

    gpus: tuple[Gpu, ...]
    packages: Mapping[str, str]
    """Package → version, of those of `PACKAGES` that are installed."""
    python: str
    system: str
    """`Linux x86_64`."""

    def versions(self, *packages: str) -> dict[str, str]:
        """The installed versions of these packages; one that is not installed is left out."""
        return {name: self.packages[name] for name in packages if name in self.packages}

    def as_json(self) -> dict[str, Any]:
        """The machine as plain JSON values."""
        return {
            "gpus": [vars(gpu) for gpu in self.gpus],
            "packages": dict(self.packages),
            "python": self.python,
            "system": self.system,
        }


def this_machine() -> Machine:
    """Look at the machine; nothing heavy is imported."""
    return Machine(_gpus(), _packages(), platform.python_version(), f"{platform.system()} {platform.machine()}")


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        for flavour in _flavours(name):
            try:
                found[name] = metadata.version(flavour)
                break
            except metadata.PackageNotFoundError:
                continue
    return found


def _flavours(name: str) -> tuple[str, ...]:
    return (name, *(f"{name}-cu{major}" for major in (13, 12))) if name.startswith("tensorrt") else (name,)


def _gpus() -> tuple[Gpu, ...]:
    fields = "name,compute_cap,memory.total,driver_version"
    try:
        answer = subprocess.run(
            ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ()  # no driver, no GPU
    rows = (row.split(", ") for row in answer.stdout.splitlines())
    return tuple(Gpu(row[0], row[1], int(row[2]), row[3]) for row in rows if len(row) == 4)
