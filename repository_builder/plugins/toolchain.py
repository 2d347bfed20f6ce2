"""The CUDA compiler: a toolkit's, or the one that PyPI's `nvidia-cuda-*` packages carry."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from repository_builder.errors import SpecError, ToolMissing

ARCHITECTURES = ("75", "80", "86", "89", "90", "100", "103", "110", "120")
"""Compute capabilities compiled by default: T4, A100, A10/RTX 30, L4/RTX 40, H100/H200, B200, B300, Thor, RTX 50."""

PYPI = "nvidia-cuda-nvcc nvidia-cuda-crt nvidia-nvvm nvidia-cuda-runtime nvidia-cuda-cccl"
INSTALL = f"install the CUDA toolkit 12.8 or later, or `pip install {' '.join(f'{p}==13.0.*' for p in PYPI.split())}`"


@dataclass(frozen=True)
class Nvcc:
    """A working compiler."""

    program: Path
    version: str
    """`13.0.88`."""
    architectures: frozenset[str]
    """Compute capabilities it can compile for, as `90`."""
    library_folders: tuple[Path, ...]
    """Where the static CUDA runtime lies, if nvcc does not find it by itself (PyPI's layout)."""
    include_folders: tuple[Path, ...]
    """CUDA's headers, for the host compiler."""

    @property
    def release(self) -> tuple[int, int]:
        """Major and minor version."""
        major, minor, *_ = map(int, self.version.split("."))
        return major, minor


def find_nvcc() -> Nvcc:
    """The compiler of `$NVCC`, on the path, under `$CUDA_HOME`, or in this Python's packages; else ToolMissing."""
    explicit = os.environ.get("NVCC")
    if explicit and not Path(explicit).is_file():
        raise ToolMissing(f"$NVCC names {explicit}, which is no file", fix="correct or unset the variable")
    for candidate in [Path(explicit)] if explicit else _candidates():
        if candidate.is_file():
            return _inspect(candidate.resolve())
    raise ToolMissing("there is no CUDA compiler (nvcc)", why="plugins are CUDA C++ code", fix=INSTALL)


def host_compiler() -> str:
    """The C++ compiler: `$CXX`, `g++` or `clang++`; else ToolMissing."""
    for name in filter(None, (os.environ.get("CXX"), "g++", "clang++")):
        if path := shutil.which(name):
            return path
    raise ToolMissing("there is no C++ compiler", fix="install g++ 9 or later (Debian: `apt install g++`)")


def check_architectures(wanted: Iterable[str], nvcc: Nvcc) -> tuple[str, ...]:
    """`wanted` as sorted, distinct compute capabilities; refused if this compiler does not know one of them."""
    names = tuple(sorted({name.removeprefix("sm_").replace(".", "") for name in wanted}, key=int_or_refuse))
    unknown = [name for name in names if name not in nvcc.architectures]
    if unknown:
        raise SpecError(
            f"nvcc {nvcc.version} cannot compile for compute capability {', '.join(unknown)}",
            where=str(nvcc.program),
            why=f"it knows {', '.join(sorted(nvcc.architectures, key=int_or_refuse))}",
            fix="choose another architecture (--arch), or another CUDA version: 13 dropped everything below 75",
        )
    return names


def default_architectures(nvcc: Nvcc) -> tuple[str, ...]:
    """Those of `ARCHITECTURES` that this compiler knows."""
    return tuple(name for name in ARCHITECTURES if name in nvcc.architectures)


def int_or_refuse(name: str) -> int:
    """The number of an architecture such as `90`; `90a` and words are refused."""
    if not name.isdigit():
        raise SpecError(f"`{name}` is no compute capability", fix="write it as 90 or 9.0")
    return int(name)


def _candidates() -> Iterator[Path]:
    if found := shutil.which("nvcc"):
        yield Path(found)
    if home := os.environ.get("CUDA_HOME"):
        yield Path(home) / "bin" / "nvcc"
    yield Path("/usr/local/cuda/bin/nvcc")
    for entry in sys.path:
        yield from sorted(Path(entry).glob("nvidia/cu*/bin/nvcc"), reverse=True) if entry else ()


@lru_cache
def _inspect(program: Path) -> Nvcc:
    text = _output([str(program), "--version"])
    match = re.search(r"V(\d+\.\d+\.\d+)", text)
    if not match:
        raise ToolMissing(f"{program} does not say its version", why=text[-500:], fix=INSTALL)
    known = frozenset(re.findall(r"compute_(\d+)\b", _output([str(program), "--list-gpu-arch"])))
    root = _toolkit_root(program)
    libraries = tuple(p for p in (root / "lib64", root / "lib") if (p / "libcudart_static.a").is_file())
    includes = tuple(p for p in (root / "include",) if (p / "cuda_runtime_api.h").is_file())
    return Nvcc(program, match[1], known, libraries, includes)


def _toolkit_root(program: Path) -> Path:
    """The toolkit that `program` belongs to; it may be a wrapper script elsewhere, so nvcc itself is asked."""
    text = _output([str(program), "--dryrun", "-x", "cu", "-c", "/dev/null", "-o", "/dev/null"])
    match = re.search(r"^#\$ TOP=(.*)$", text, re.MULTILINE)
    return Path(match[1].strip()).resolve() if match else program.parent.parent


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr
