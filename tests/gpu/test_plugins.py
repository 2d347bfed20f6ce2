"""Kernels and shells on a GPU: against the references, in any stream, in a captured graph, under compute-sanitizer.

    TENSORRT_ROOT=/opt/tensorrt pytest tests/gpu/test_plugins.py --run-gpu

Never run yet: no GPU was at hand when this was written.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from repository_builder.plugins import operators, testing
from repository_builder.plugins.compile import compile_plugin
from repository_builder.plugins.library import load_reference
from repository_builder.plugins.operators import Operator
from repository_builder.plugins.toolchain import find_nvcc
from tests import plugin_kit as kit

pytestmark = [pytest.mark.gpu, pytest.mark.slow]
ALL = operators.shipped()


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_REPO_CACHE", kit.shared_cache(tmp_path_factory))
        yield


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = kit.headers_at_hand()
    assert found, kit.WITHOUT
    return kit.compile_harness(found[0], tmp_path_factory.mktemp("harness"))


def library(operator: Operator) -> Path:
    query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    capability = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0].strip()
    return compile_plugin(operator, find_nvcc(), [capability.replace(".", "")], kit.headers_at_hand()[0]).library


def in_any_order(case: testing.Case) -> bool:
    """Float sums and products by atomics: equal within rounding, not bit for bit; plain writes: any of them may be last."""
    reduction = case.attributes.get("reduction", "")
    return reduction in ("none", "add", "mul") and not case.attributes.get("deterministic")


@pytest.mark.parametrize("operator", ALL, ids=lambda o: o.key)
def test_the_shell_computes_what_the_reference_says(operator: Operator, harness: Path, tmp_path: Path) -> None:
    cases = testing.own_cases(operator)
    chosen = [cases[i] for i in np.linspace(0, len(cases) - 1, min(len(cases), 60)).astype(int)]
    problems = {}
    for case in chosen:
        if in_any_order(case) and case.attributes["reduction"] == "none":
            continue  # repeated indices: the standard leaves open which write wins
        where, files, host = kit.write_case(operator, case, tmp_path)
        extra = {"TRB_ANY_ORDER": "1"} if in_any_order(case) else {}
        status, said = kit.run_harness(harness, library(operator), where, "gpu", **extra)
        if status:
            problems[case.name] = said
            continue
        got = [np.frombuffer(f.read_bytes(), h.dtype).reshape(h.shape) for f, h in zip(files, host, strict=True)]
        right = load_reference(operator.folder)(*case.inputs, **case.attributes)
        tolerance = max(case.tolerance or 0.0, 4 * testing.TOLERANCE.get(host[0].dtype.name, 0.0))
        if problem := testing.differences("the reference", got, right, tolerance):
            problems[case.name] = problem
    assert problems == {}


@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "initcheck", "synccheck"])
@pytest.mark.parametrize("operator", ALL, ids=lambda o: o.key)
def test_compute_sanitizer_finds_nothing(operator: Operator, tool: str, harness: Path, tmp_path: Path) -> None:
    program = shutil.which("compute-sanitizer")
    assert program, "compute-sanitizer is part of the CUDA toolkit"
    case, _, _ = kit.write_case(operator, kit.representative(operator), tmp_path)
    command = [program, "--tool", tool, "--error-exitcode", "9", harness, library(operator), case, "gpu"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def test_more_than_two_to_the_31_elements(harness: Path, tmp_path: Path) -> None:
    """CumProd over 2^31 + 8 half-precision ones: every product is one, and every offset is beyond 32 bits at the end."""
    operator = operators.choose("cumprod", ALL)
    rows, columns = 8, 2**28 + 1
    (tmp_path / "in0.bin").write_bytes(np.ones(rows * columns, np.float16).tobytes())
    lines = [
        "field axis i64 1",
        f"in 1 {tmp_path}/in0.bin {rows} {columns}",
        f"out 1 {tmp_path}/out0.bin {rows} {columns}",
    ]
    (tmp_path / "case.txt").write_text("\n".join(lines) + "\n")
    status, said = kit.run_harness(harness, library(operator), tmp_path / "case.txt", "gpu")
    assert status == 0, said
    got = np.memmap(tmp_path / "out0.bin", np.float16, "r")
    assert got.size == rows * columns
    assert (got == 1).all()
