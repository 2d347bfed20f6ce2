"""Compiling operators: nvcc for kernels, the host compiler for the rest; results are cached by content."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repository_builder.console import Progress, silent
from repository_builder.errors import StageFailed
from repository_builder.plugins.headers import Headers
from repository_builder.plugins.operators import Operator
from repository_builder.plugins.toolchain import Nvcc, host_compiler
from repository_builder.plugins.usage import usage_table
from repository_builder.resources import cache_folder

KERNEL, USAGE = "kernel.o", "usage.md"
WARNINGS = ("-Wall", "-Wextra", "-Werror")
HOST_FLAGS = ("-std=c++17", "-O2", "-fPIC", "-fvisibility=hidden", *WARNINGS)


@dataclass(frozen=True)
class Compiled:
    """A compiled plugin library and what it was made from."""

    operator: Operator
    library: Path
    sha256: str
    recipe: dict[str, Any]
    cached: bool


def compile_plugin(
    operator: Operator, nvcc: Nvcc, architectures: Sequence[str], headers: Headers | None, progress: Progress = silent
) -> Compiled:
    """The operator's shared library: kernels for `architectures`, PTX of the newest, and the TensorRT shell.

    Without `headers` the library has the kernels and the plain C interface only: enough for tests, useless to TensorRT.
    """
    recipe = plugin_recipe(operator, nvcc, architectures, headers)
    folder = cache_folder() / "plugins" / _key(recipe)
    sources = [operator.file("_plugin.cpp"), *([operator.common / "registration.cpp"] if headers else [])]

    def make(work: Path) -> None:
        progress(f"{operator.key}: kernels for {', '.join(architectures)}", 0.0)
        kernels = _kernels(operator, nvcc, architectures, recipe)
        objects = [work / f"{source.stem}.o" for source in sources]
        progress(f"{operator.key}: TensorRT shell", 0.8)
        for source, target in zip(sources, objects, strict=True):
            _run(shell_command(operator, nvcc, headers, source, target), folder)
        _run(link_command(operator, nvcc, [kernels / KERNEL, *objects], work / operator.library), folder)
        for path in objects:
            path.unlink()
        shutil.copyfile(kernels / USAGE, work / USAGE)

    cached = _once(folder, operator.library, recipe, make)
    library = folder / operator.library
    return Compiled(operator, library, _digest(library), recipe, cached)


def _kernels(operator: Operator, nvcc: Nvcc, architectures: Sequence[str], recipe: dict[str, Any]) -> Path:
    """The folder with the kernels' object file: the slow part, and the same for every TensorRT."""
    own = {**recipe, "tensorrt": "any", "kind": "kernels"}
    folder = cache_folder() / "plugins" / _key(own)

    def make(work: Path) -> None:
        report = _run(kernel_command(operator, nvcc, architectures, work / KERNEL), folder)
        (work / USAGE).write_text(usage_table(report), encoding="utf-8")

    _once(folder, KERNEL, own, make)
    return folder


def compile_host(operator: Operator) -> Path:
    """The operator's arithmetic as a library for the host: what the CPU tests call. Needs no CUDA."""
    compiler = host_compiler()
    recipe = {"host": _version(compiler), "flags": HOST_FLAGS, "sources": _sources(operator), "name": operator.key}
    folder = cache_folder() / "plugins" / _key(recipe)
    name = f"host_{operator.library}"

    def make(work: Path) -> None:
        definition = ["-include", str(operator.file("_operator.h")), f"-DTRB_OPERATOR={operator.cpp_class}"]
        flags = [*HOST_FLAGS, "-shared", f"-I{operator.common.parent}", *definition]
        _run([compiler, *flags, str(operator.common / "host.cpp"), "-o", str(work / name)], folder)

    _once(folder, name, recipe, make)
    return folder / name


def plugin_recipe(
    operator: Operator, nvcc: Nvcc, architectures: Sequence[str], headers: Headers | None
) -> dict[str, Any]:
    """Everything that may change the library, as plain JSON."""
    return {
        "operator": operator.key,
        "sources": _sources(operator),
        "architectures": list(architectures),
        "nvcc": nvcc.version,
        "host_compiler": _version(host_compiler()),
        "tensorrt": headers.version if headers else None,
        "commands": _digest(Path(__file__)),
    }


def kernel_command(operator: Operator, nvcc: Nvcc, architectures: Sequence[str], output: Path) -> list[str]:
    """Compiles `<op>.cu` for each architecture, with PTX of the newest for GPUs to come."""
    codes = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in architectures]
    newest = architectures[-1]
    codes.append(f"-gencode=arch=compute_{newest},code=compute_{newest}")
    flags = ["-std=c++17", "-O3", "-Werror", "all-warnings", "-Xptxas", "-v", f"-I{operator.common.parent}"]
    host = ["-ccbin", host_compiler(), "-Xcompiler", "-fPIC,-fvisibility=hidden,-Wall,-Wextra,-Werror"]
    return [str(nvcc.program), *flags, *host, *codes, "-c", str(operator.file(".cu")), "-o", str(output)]


def shell_command(operator: Operator, nvcc: Nvcc, headers: Headers | None, source: Path, output: Path) -> list[str]:
    """Compiles host code against CUDA's and, if given, TensorRT's headers; as system headers these do not warn."""
    system = [str(folder) for folder in nvcc.include_folders]
    definitions = []
    if headers is not None:
        system.append(str(headers.folder))
        definitions.append("-DTRB_WITH_TENSORRT")
    includes = [word for folder in system for word in ("-isystem", folder)]
    return [
        host_compiler(), *HOST_FLAGS, f"-I{operator.common.parent}", *includes, *definitions, "-c", str(source),
        "-o", str(output),
    ]  # fmt: skip


def link_command(operator: Operator, nvcc: Nvcc, objects: Sequence[Path], library: Path) -> list[str]:
    """Links a shared library with the static CUDA runtime; TensorRT is looked up at load time, never linked."""
    folders = [f"-L{folder}" for folder in nvcc.library_folders]
    return [
        str(nvcc.program), "-ccbin", host_compiler(), "-shared", "-cudart", "static", *map(str, objects), *folders,
        "-Xcompiler", "-static-libstdc++,-static-libgcc", "-Xlinker", f"--version-script={operator.common}/exports.map",
        "-ldl", "-o", str(library),
    ]  # fmt: skip


def _run(command: Sequence[str], folder: Path) -> str:
    """What the tool said; StageFailed with the start of it, and all of it in a log, if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        log = folder.parent / f"{folder.name}.log"
        log.write_text(" ".join(command) + "\n" + done.stdout + done.stderr, encoding="utf-8")
        text = (done.stderr + done.stdout).strip()
        raise StageFailed(
            "a plugin does not compile",
            where=next((word for word in reversed(command) if word.endswith((".cu", ".cpp"))), command[0]),
            why="\n".join(text.splitlines()[:12]),
            fix=_advice(text),
            log=log,
        )
    return done.stdout + done.stderr


def _advice(text: str) -> str:
    if "unsupported GNU version" in text or "unsupported clang version" in text:
        return "this nvcc is older than the host compiler allows: set CXX to an older one, such as g++-13"
    if "cuda_runtime_api.h" in text or "cuda_runtime.h: No such" in text:
        return "CUDA's headers are missing: install nvidia-cuda-runtime and nvidia-cuda-crt of nvcc's own minor version"
    if "Unsupported .version" in text:
        return "nvcc, nvidia-cuda-crt and nvidia-nvvm are of different versions: pin all to one minor version"
    return "correct the source; the whole output is in the log"


def _once(folder: Path, name: str, recipe: dict[str, Any], make: Callable[[Path], None]) -> bool:
    """Fill `folder` by `make` unless it holds what was stored there; True if it did. One process at a time."""
    from filelock import FileLock

    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if _intact(folder, folder / name):
            return True
        work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".work-"))
        try:
            make(work)
            text = json.dumps({"recipe": recipe, "sha256": _digest(work / name)}, indent=2)
            (work / "recipe.json").write_text(text, encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)  # a damaged one
            work.rename(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)  # after a failure or an interruption
    return False


def _intact(folder: Path, library: Path) -> str | None:
    """The digest of a cached library if it is still what was stored."""
    record = folder / "recipe.json"
    if not (record.is_file() and library.is_file()):
        return None
    try:
        stored = json.loads(record.read_text(encoding="utf-8"))["sha256"]
    except (ValueError, KeyError):
        return None
    return stored if stored == _digest(library) else None


def _sources(operator: Operator) -> dict[str, str]:
    return {f"{path.parent.name}/{path.name}": _digest(path) for path in operator.sources}


def _version(compiler: str) -> str:
    done = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.splitlines()[0] if done.stdout else compiler


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _key(recipe: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
