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
    driver_trouble: str = ""
    """What `nvidia-smi` says where it is installed and does not work; a GPU may be there all the same."""

    @property
    def no_gpu(self) -> str:
        """Why `gpus` is empty, in words."""
        if self.driver_trouble:
            return f"`nvidia-smi` fails, so no GPU can be used ({self.driver_trouble})"
        return "there is no NVIDIA GPU (`nvidia-smi` shows none)"

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


def able(package: str, capabilities: Sequence[str], machine: Machine) -> Gpu | Obstacle:
    """The machine's first GPU that can run an engine of `tensorrt` or `tensorrt_rtx`, or why none can.

    `capabilities` are those that the engine was built for, and no newer ones (the runtime's own words on an H200: an engine for
    8.6, 8.9 and 12.0 supports "8.6 8.9 12.0"); empty: not known, or not restricted.
    """
    gpus = machine.gpus
    if not gpus:
        return Obstacle(
            machine.no_gpu, "repair the driver" if machine.driver_trouble else "use the machine that serves"
        )
    rtx = package == "tensorrt_rtx"
    known = [gpu for gpu in gpus if not rtx or known_to_rtx(gpu.compute_capability)]
    if not known:
        return Obstacle(
            f"TensorRT for RTX does not support {_listed(gpus)}: it has no data-centre Hopper or Blackwell",
            "use the target tensorrt_plan for this GPU (`pip install tensorrt`, or `build --in-container`)",
        )
    fitting = [gpu for gpu in known if not capabilities or gpu.compute_capability in capabilities]
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
    gpus, trouble = _gpus()
    system = f"{platform.system()} {platform.machine()}"
    return Machine(gpus, _packages(), platform.python_version(), system, trouble)


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


def _gpus() -> tuple[tuple[Gpu, ...], str]:
    fields = "name,compute_cap,memory.total,driver_version"
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except FileNotFoundError:
        return (), ""  # no driver, no GPU
    except (OSError, subprocess.SubprocessError) as error:
        return (), str(error)
    rows = [row.split(", ") for row in answer.stdout.splitlines()]
    gpus = tuple(Gpu(row[0], row[1], int(row[2]), row[3]) for row in rows if len(row) == 4)
    said = " ".join((answer.stdout + answer.stderr).split())
    return gpus, "" if gpus or "No devices were found" in said else said[:200] or f"exit code {answer.returncode}"
