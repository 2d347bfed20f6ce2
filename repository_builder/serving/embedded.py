"""The embedded Triton: the real server out of the wheel `nvidia-pytriton`, installed on first use.

It lives in an environment of its own below the user's cache folder, since its Python backend needs NumPy 1.x. The lock
file `embedded.lock` pins every wheel by SHA-256; the folder's name is the digest of that file and the Python version.
Once installed nothing is fetched again. The server is old (2.51.0, of 24.10): for development and tests on loopback
only, see docs/serving.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from repository_builder.console import Progress, note, silent
from repository_builder.errors import ToolMissing
from repository_builder.resources import cache_folder, data_folder
from repository_builder.serving.interpreter import OVERRIDE, Interpreter, choose

LOCK = Path(__file__).with_name("embedded.lock")
TRITON_VERSION = "2.51.0"
_MARKER = "runtime.json"


@dataclass(frozen=True)
class EmbeddedRuntime:
    """An installed embedded Triton; its folders are read only for everybody."""

    folder: Path
    python_version: str

    @property
    def python(self) -> Path:
        """The interpreter of the server's environment."""
        return self.folder / "venv" / "bin" / "python"

    @property
    def packages(self) -> Path:
        """`site-packages` of the server's environment."""
        return self.folder / "venv" / "lib" / f"python{self.python_version}" / "site-packages"

    @property
    def server(self) -> Path:
        """The program `tritonserver`."""
        return self._triton / "bin" / "tritonserver"

    @property
    def caches(self) -> Path:
        """Triton's cache directory (holds `local`)."""
        return self._triton / "caches"

    @property
    def libraries(self) -> Path:
        """Shared libraries that came with the server, under names mangled by auditwheel."""
        return self.packages / "nvidia_pytriton.libs"

    @property
    def _triton(self) -> Path:
        return self.packages / "pytriton" / "tritonserver"

    def environment(self) -> dict[str, str]:
        """Environment variables of a server process: ours, without what could lead its interpreter elsewhere."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LD_", "VIRTUAL_ENV"))
        }
        venv = self.folder / "venv"
        return kept | {
            "PATH": f"{venv / 'bin'}{os.pathsep}{kept.get('PATH', os.defpath)}",
            "VIRTUAL_ENV": str(venv),
            "LD_LIBRARY_PATH": f"{self.libraries}{os.pathsep}{self.folder / 'lib'}",
            "PYTHONNOUSERSITE": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def assemble_backends(self, folder: Path) -> list[str]:
        """Fill `folder` with Triton's Python backend and our Python-based backends; returns the backends' names.

        Libraries are copied, never linked: the loader knows a library by its inode, and two backends that share one
        would share its global state.
        """
        names = ["python", *sorted(path.parent.name for path in backend_sources().glob("*/model.py"))]
        for name in names:
            self._assemble(folder / name)
        return names

    def _assemble(self, backend: Path) -> None:
        backend.mkdir(parents=True)
        origin = self._triton / "backends" / "python"
        shutil.copyfile(origin / "libtriton_python.so", backend / f"libtriton_{backend.name}.so")
        (backend / "triton_python_backend_utils.py").symlink_to(origin / "triton_python_backend_utils.py")
        stub = self._triton / "python_backend_stubs" / self.python_version / "triton_python_backend_stub"
        (backend / stub.name).symlink_to(stub)
        if backend.name != "python":
            for path in (backend_sources() / backend.name).glob("*.py"):
                shutil.copyfile(path, backend / path.name)


def backend_sources() -> Path:
    """The folder of our Python-based backends: `<name>/model.py` each."""
    return data_folder("python_backends") / "backends"


def installed() -> EmbeddedRuntime | None:
    """The runtime, if one is installed and whole; never installs."""
    for marker in sorted(_root().glob(f"{_lock_digest()}-*/{_MARKER}")):
        if (runtime := _whole(marker.parent)) is not None:
            return runtime
    return None


def ensure(progress: Progress = silent) -> EmbeddedRuntime:
    """The embedded runtime; installed on first use (about 110 MB to fetch, 370 MB on disk), or again if it is broken.

    `$TRITON_REPO_PYTHON` chooses the interpreter. Raises `ToolMissing` where the runtime cannot run or be installed.
    """
    if not os.environ.get(OVERRIDE) and (runtime := installed()) is not None:
        return runtime
    interpreter = choose()
    folder = _root() / f"{_lock_digest()}-py{interpreter.version}"
    with _only_installer(folder, progress):
        return _whole(folder) or _install(folder, interpreter, progress)


@contextmanager
def _only_installer(folder: Path, progress: Progress) -> Iterator[None]:
    from filelock import FileLock, Timeout

    lock = FileLock(folder.parent / f".{folder.name}.lock")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress("waiting for another triton-repo that installs it")
            lock.acquire()
    except OSError as error:
        raise _cannot_install(
            str(error), "make it writable, or name another cache folder in $TRITON_REPO_CACHE"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _root() -> Path:
    return cache_folder() / "embedded"


def _lock_digest() -> str:
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]


def _whole(folder: Path) -> EmbeddedRuntime | None:
    """The runtime in `folder` if every file that was installed is there in its full size."""
    try:
        record = json.loads((folder / _MARKER).read_text())
        intact = all(Path(folder, name).stat().st_size == size for name, size in record["files"].items())
        runtime = EmbeddedRuntime(folder, record["python"])
    except (OSError, ValueError, KeyError):
        return None
    linked = runtime.python, folder / "lib" / f"libpython{runtime.python_version}.so.1.0"
    return runtime if intact and all(path.exists() for path in linked) else None


def _install(folder: Path, interpreter: Interpreter, progress: Progress) -> EmbeddedRuntime:
    """Build the environment in a temporary folder and rename it; the caller holds the lock."""
    import sys

    if interpreter.version != f"{sys.version_info.major}.{sys.version_info.minor}":
        note(f"embedded Triton: using {interpreter.executable} (Python {interpreter.full_version})")
    if folder.exists():
        note(f"embedded Triton: the installation in {folder} is broken and is made again")
    for stale in folder.parent.glob(f".{folder.name}.new*"):
        shutil.rmtree(stale)
    building = folder.parent / f".{folder.name}.new"
    try:
        building.mkdir()
        _fill(building, interpreter, progress)
        if folder.exists():
            shutil.rmtree(folder)
        building.rename(folder)
    except OSError as error:
        raise _cannot_install(
            str(error), "free some space (350 MB), or name another folder in $TRITON_REPO_CACHE"
        ) from None
    finally:
        shutil.rmtree(building, ignore_errors=True)
    runtime = _whole(folder)
    if runtime is None:
        raise _cannot_install("files are missing right after the installation", "remove the folder and try again")
    return runtime


def _fill(folder: Path, interpreter: Interpreter, progress: Progress) -> None:
    progress("making an environment for the embedded Triton", 0.02)
    log = folder.parent / f"{folder.name.removeprefix('.')}.log"
    with log.open("w") as output:
        for step in _commands(folder, interpreter):
            _run(step, output, log, progress)
    (folder / "lib").mkdir()
    (folder / "lib" / f"libpython{interpreter.version}.so.1.0").symlink_to(interpreter.library)
    runtime = EmbeddedRuntime(folder, interpreter.version)
    for program in (runtime.server, *runtime.packages.glob("pytriton/tritonserver/python_backend_stubs/*/*_stub")):
        program.chmod(0o755)
    progress("checking the embedded Triton", 0.95)
    _try_out(runtime, log)
    record = {
        "triton": TRITON_VERSION,
        "python": interpreter.version,
        "interpreter": str(interpreter.executable),
        "files": dict(_files(folder)),
    }
    (folder / _MARKER).write_text(json.dumps(record, indent=1))
    log.unlink()


def _commands(folder: Path, interpreter: Interpreter) -> Iterator[list[str]]:
    yield [str(interpreter.executable), "-m", "venv", str(folder / "venv")]
    pip = [str(folder / "venv" / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install"]
    yield [*pip, "--progress-bar=off", "--no-deps", "--only-binary=:all:", "--require-hashes", "-r", str(LOCK)]


def _run(command: list[str], output: IO[str], log: Path, progress: Progress) -> None:
    """Run one step; each package that pip names moves the bar."""
    wanted = len(re.findall(r"^[a-z].*==", LOCK.read_text(), re.MULTILINE))
    seen = 0
    elsewhere = ("PYTHON", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_REQUIRE_VIRTUALENV")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(elsewhere)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        for line in process.stdout or ():
            output.write(line)
            words = line.split()
            if words and words[0] in ("Collecting", "Downloading", "Installing"):
                seen += words[0] == "Collecting"
                progress(
                    " ".join((words[0].lower(), words[1].rpartition("/")[2].replace("collected", "packages"))),
                    0.05 + 0.8 * seen / (wanted + 1),
                )
    output.flush()
    if process.returncode != 0:
        raise _step_failed(command, log)


def _step_failed(command: list[str], log: Path) -> ToolMissing:
    text = log.read_text(errors="replace")
    errors = [line for line in text.splitlines() if "ERROR" in line or "No space" in line] or text.splitlines()[-3:]
    if "DO NOT MATCH THE HASHES" in text:
        fix = (
            "do not use what was fetched: the package index (or a proxy) hands out other files than the published ones"
        )
    elif "No matching distribution" in text or "onnection" in text:
        fix = (
            "the first use needs a package index (PyPI or a mirror, see `pip config list`); later uses need no network"
        )
    else:
        fix = "see the log"
    return ToolMissing(
        "the embedded Triton could not be installed",
        where=" ".join(command),
        why="\n".join(errors[:4]),
        fix=fix,
        log=log,
    )


def _try_out(runtime: EmbeddedRuntime, log: Path) -> None:
    """Ask the fresh environment for its NumPy and the server for its options: both must load their libraries."""
    for command in (
        [str(runtime.python), "-c", "import numpy, onnxruntime, tokenizers, PIL.Image; assert numpy.__version__ < '2'"],
        [str(runtime.server), "--help"],
    ):
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=False, env=runtime.environment()
        )
        if answer.returncode != 0 and "Usage: tritonserver" not in answer.stdout + answer.stderr:
            log.write_text(answer.stdout + answer.stderr)
            raise _step_failed(command, log)


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    """Relative path and size of every installed file; not what Python itself may rewrite."""
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in names:
            path = Path(root, name)
            if not path.is_symlink():
                yield str(path.relative_to(folder)), path.stat().st_size


def _cannot_install(why: str, fix: str) -> ToolMissing:
    return ToolMissing("the embedded Triton could not be installed", where=_root(), why=why, fix=fix)
