"""What this machine offers: GPUs, package versions, Python. A frozen value: planning for another machine is possible."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping, Sequence
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


RTX_GPUS = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
"""Compute capabilities that TensorRT for RTX names (`ComputeCapability` of 1.7). Newer than the last may follow; data-centre
Hopper and Blackwell (9.0, 10.x) are not among them: it builds there, even for `CURRENT`, and then loads nothing."""


@dataclass(frozen=True)
class Obstacle:
    """Why no GPU of a machine runs an engine, and what helps."""

    why: str
    fix: str


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


def known_to_rtx(capability: str) -> bool:
    """Whether TensorRT for RTX has engines for a compute capability; one that is newer than its last is not ruled out."""
    return capability in RTX_GPUS or _number(capability) > _number(RTX_GPUS[-1])


def able(package: str, capabilities: Sequence[str], gpus: Sequence[Gpu]) -> Gpu | Obstacle:
    """The first of the GPUs that can run an engine of `tensorrt` or `tensorrt_rtx`, or why none can.

    `capabilities` are those that the engine was built for; empty: not known, or not restricted.
    """
    if not gpus:
        return Obstacle("there is no NVIDIA GPU (`nvidia-smi` shows none)", "run it on the machine that serves")
    rtx = package == "tensorrt_rtx"
    known = [gpu for gpu in gpus if not rtx or known_to_rtx(gpu.compute_capability)]
    if not known:
        return Obstacle(
            f"TensorRT for RTX does not support {_listed(gpus)}: it has no data-centre Hopper or Blackwell",
            "use the target tensorrt_plan for this GPU (`pip install tensorrt`, or `build --in-container`)",
        )
    newest = _number(RTX_GPUS[-1])
    fitting = [
        gpu
        for gpu in known
        if not capabilities
        or gpu.compute_capability in capabilities
        or (rtx and _number(gpu.compute_capability) > newest <= max(map(_number, capabilities)))
    ]
    if fitting:
        return fitting[0]
    wanted = ", ".join([f'"{number}"' for number in (*capabilities, known[0].compute_capability)])
    return Obstacle(
        f"the engine is for compute capability {', '.join(capabilities)}, here is {_listed(known)}",
        f"add it (`tensorrt: {{compute_capabilities: [{wanted}]}}`)" if rtx else "build it again on this machine",
    )


def _listed(gpus: Sequence[Gpu]) -> str:
    return ", ".join(sorted({f"{gpu.name} ({gpu.compute_capability})" for gpu in gpus}))


def _number(capability: str) -> tuple[int, ...]:
    return tuple(int(part) for part in capability.split("."))


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
