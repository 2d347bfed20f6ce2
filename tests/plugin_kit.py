"""What the plugin tests share: headers at hand, the harness without TensorRT, one case as the harness reads it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repository_builder.plugins import testing
from repository_builder.plugins.binding import call_attributes
from repository_builder.plugins.compile import HOST_FLAGS, compile_host, compile_plugin
from repository_builder.plugins.device import Driver
from repository_builder.plugins.headers import Headers, find_headers
from repository_builder.plugins.headers import require_headers as require_tensorrt
from repository_builder.plugins.library import TYPES, HostLibrary
from repository_builder.plugins.operators import Operator
from repository_builder.plugins.toolchain import find_nvcc, host_compiler
from repository_builder.resources import data_folder

PLUGINS = data_folder("plugins_cuda")
WITHOUT = (
    "TensorRT's headers are not at hand, and no package of PyPI or Debian has them: `git clone --depth 1 --branch v11.1 "
    "https://github.com/NVIDIA/TensorRT` and set TENSORRT_ROOT to it (TRB_TEST_HEADERS to several such folders, joined by `:`)"
)


def headers_at_hand() -> list[Headers]:
    """Every version named in $TRB_TEST_HEADERS, else what this machine has."""
    if named := os.environ.get("TRB_TEST_HEADERS"):
        return [require_tensorrt(Path(folder)) for folder in named.split(":")]
    found = find_headers()
    return [found] if found else []


def shared_cache(factory: pytest.TempPathFactory) -> str:
    """One cache for all plugin tests of a session, so that each operator is compiled once; $TRB_TEST_CACHE keeps it."""
    return os.environ.get("TRB_TEST_CACHE") or str(factory.getbasetemp() / "plugin-cache")


def require_headers() -> Headers:
    """The first headers at hand, or a skip that says how to get some."""
    found = headers_at_hand()
    if not found:
        pytest.skip(WITHOUT)
    return found[0]


def compile_harness(headers: Headers, folder: Path) -> Path:
    """The program of `plugins_cuda/harness`."""
    nvcc, program = find_nvcc(), folder / f"harness-{headers.version}"
    include = [w for path in (headers.folder, *nvcc.include_folders) for w in ("-isystem", str(path))]
    link = [f"-L{path}" for path in nvcc.library_folders] + ["-lcudart_static", "-ldl", "-lpthread", "-lrt"]
    source = str(PLUGINS / "harness" / "harness.cpp")
    command = [host_compiler(), *HOST_FLAGS, f"-I{PLUGINS}", *include, source, *link, "-o", str(program)]
    subprocess.run(command, check=True)
    return program


def write_case(operator: Operator, case: testing.Case, folder: Path) -> tuple[Path, list[Path], list[np.ndarray]]:
    """The case file; the files that outputs go to; outputs of the host's arithmetic (for their types and shapes)."""
    attributes = call_attributes(operator, case.inputs, case.attributes)
    present = [value for value in case.inputs if value is not None]
    outputs = HostLibrary(compile_host(operator), len(operator.outputs))(present, attributes)
    lines = [_field(name, value) for name, value in attributes.items() if not isinstance(value, list) or value]
    files = []
    for kind, arrays in (("in", present), ("out", outputs)):
        for index, array in enumerate(arrays):
            path = folder / f"{kind}{index}.bin"
            path.write_bytes(np.ascontiguousarray(array).tobytes())
            lines.append(" ".join(map(str, (kind, TYPES[array.dtype.name], path, *array.shape))))
            files += [path] if kind == "out" else []
    path = folder / "case.txt"
    path.write_text("\n".join(lines) + "\n")
    return path, files, list(outputs)


def _field(name: str, value: Any) -> str:
    kind = {str: "char", float: "f32"}.get(type(value), "i64")
    values: Sequence[Any] = value if isinstance(value, (list, tuple)) else [value]
    return " ".join(["field", name, kind, *map(str, values)])


def run_harness(program: Path, library: Path, case: Path, where: str, **environment: str) -> tuple[int, str]:
    """Exit status and standard error."""
    done = subprocess.run(
        [str(program), str(library), str(case), where],
        capture_output=True, text=True, check=False, timeout=300, env={**os.environ, **environment},
    )  # fmt: skip
    return done.returncode, done.stderr


def representative(operator: Operator) -> testing.Case:
    """A case with several elements and, where the operator has them, attributes."""
    cases = testing.own_cases(operator)
    return max(cases[:60], key=lambda c: (len(c.attributes), sum(v.size for v in c.inputs if v is not None)))


def library_for_this_gpu(operator: Operator, headers: Headers | None) -> Path:
    """The operator compiled for the GPU of this machine; with the TensorRT shell where `headers` are given."""
    return compile_plugin(operator, find_nvcc(), [Driver().capability], headers).library


def in_any_order(case: testing.Case) -> bool:
    """Float sums and products by atomics: equal within rounding, not bit for bit; plain writes: any of them may be last."""
    reduction = case.attributes.get("reduction", "")
    return reduction in ("none", "add", "mul") and not case.attributes.get("deterministic")
