"""Which Python interpreter the embedded server can use.

Triton's Python backend starts a *stub*, a program linked against one minor version of `libpython`. So the server needs
an interpreter of a version for which both a stub and NumPy 1.x exist, with its shared library and the module `venv`.
The interpreter that runs the toolkit is taken if it qualifies, else any other one found on this machine.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from repository_builder.errors import ToolMissing

SUPPORTED = ("3.11", "3.12")
"""Versions with a stub in the pinned nvidia-pytriton *and* a wheel of NumPy 1.26.4 in `embedded.lock`."""
MINIMUM_GLIBC = (2, 35)
OVERRIDE = "TRITON_REPO_PYTHON"
"""Environment variable that names the interpreter to use."""

_PROBE = """
import json, os, sys, sysconfig
name = f"libpython{sys.version_info[0]}.{sys.version_info[1]}.so.1.0"
get = sysconfig.get_config_var
folders = [get("LIBDIR"), os.path.join(sys.base_prefix, "lib"), get("LIBPL")]
folders += [os.path.join(f, get("MULTIARCH") or "") for f in folders[:2] if f]
library = next((os.path.join(f, name) for f in folders if f and os.path.isfile(os.path.join(f, name))), "")
try:
    import ensurepip, venv
    venv_works = True
except ImportError:
    venv_works = False
print(json.dumps({
    "executable": getattr(sys, "_base_executable", None) or sys.executable, "implementation": sys.implementation.name,
    "version": "%d.%d" % sys.version_info[:2], "full": sys.version.split()[0], "library": library, "venv": venv_works,
}))
"""


@dataclass(frozen=True)
class Interpreter:
    """A CPython that the embedded server can use."""

    executable: Path
    version: str
    """`3.11`"""
    full_version: str
    library: Path
    """Its `libpython3.X.so.1.0`, which the stub loads."""


def choose(environment: Mapping[str, str] = os.environ) -> Interpreter:
    """The first usable interpreter; raises `ToolMissing` with the reason for each one that was looked at."""
    require_platform()
    explicit = environment.get(OVERRIDE)
    reasons: list[str] = []
    for candidate in [Path(explicit)] if explicit else _candidates(environment):
        found = probe(candidate)
        if isinstance(found, Interpreter):
            return found
        reasons.append(f"{candidate}: {found}")
    versions = " or ".join(SUPPORTED)
    raise ToolMissing(
        "no Python interpreter here can run the embedded Triton",
        where=f"${OVERRIDE}" if explicit else "",
        why=f"it needs CPython {versions} with its shared library and `venv`\n" + "\n".join(reasons),
        fix=f"install one: `uv python install {SUPPORTED[-1]}`, or `apt-get install libpython{SUPPORTED[0]} "
        f"python{SUPPORTED[0]}-venv`; or name one in ${OVERRIDE}",
    )


def require_platform(*, system: str = "", machine: str = "", libc: str = "") -> None:
    """Raises `ToolMissing` where the embedded server's binaries cannot run. Arguments replace what is detected."""
    system, machine = system or platform.system(), machine or platform.machine()
    libc = libc or _libc()
    name, _, version = libc.partition(" ")
    too_old = name != "glibc" or tuple(int(part) for part in version.split(".")[:2]) < MINIMUM_GLIBC
    if system == "Linux" and machine == "x86_64" and not too_old:
        return
    raise ToolMissing(
        "the embedded Triton cannot run on this machine",
        why=f"it is built for Linux on x86_64 with glibc {'.'.join(map(str, MINIMUM_GLIBC))} or newer; "
        f"this is {system} on {machine} with {libc or 'an unknown C library'}",
        fix="serve the repository with the NGC container, or on a machine with Ubuntu 22.04, Debian 12 or newer",
    )


def probe(candidate: Path) -> Interpreter | str:
    """The interpreter at this path, or why it cannot be used."""
    if not os.access(candidate, os.X_OK):
        return "no such program"
    try:
        answer = subprocess.run(
            [candidate, "-I", "-c", _PROBE], capture_output=True, text=True, timeout=30, check=False
        )
        facts = json.loads(answer.stdout)
    except (OSError, subprocess.TimeoutExpired, json.JSONDecodeError):
        return "does not run"
    if facts["implementation"] != "cpython" or facts["version"] not in SUPPORTED:
        return f"is {facts['implementation']} {facts['version']}, for which there is no usable stub"
    if not facts["library"]:
        return f"has no libpython{facts['version']}.so.1.0"
    if not facts["venv"]:
        return "has no module venv or ensurepip"
    return Interpreter(Path(facts["executable"]), facts["version"], facts["full"], Path(facts["library"]))


def _candidates(environment: Mapping[str, str]) -> Iterator[Path]:
    seen: set[Path] = set()
    for path in _places(environment):
        if path.is_file() and (real := path.resolve()) not in seen:
            seen.add(real)
            yield path


def _places(environment: Mapping[str, str]) -> Iterator[Path]:
    yield Path(sys.executable)
    names = [f"python{version}" for version in SUPPORTED]
    for folder in environment.get("PATH", "").split(os.pathsep):
        yield from (Path(folder, name) for name in names if folder)
    home = Path.home()
    yield from _managed(home / ".local" / "share" / "uv" / "python", names)
    yield from _managed(Path(environment.get("PYENV_ROOT") or home / ".pyenv") / "versions", names)


def _managed(root: Path, names: Iterable[str]) -> Iterator[Path]:
    """Interpreters below the folder of a version manager: `<root>/<version>/bin/python3.X`."""
    for name in names:
        yield from sorted(root.glob(f"*/bin/{name}"), reverse=True)


def _libc() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError, AttributeError):
        return ""
