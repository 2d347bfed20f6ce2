"""The TensorRT shells on a GPU: against the references, in any stream, in a captured graph, under compute-sanitizer.

TENSORRT_ROOT=/opt/tensorrt pytest tests/gpu/test_plugins.py --run-gpu
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from repository_builder.plugins import operators, testing
from repository_builder.plugins.library import load_reference
from repository_builder.plugins.operators import Operator
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
    return kit.library_for_this_gpu(operator, kit.headers_at_hand()[0])


@pytest.mark.parametrize("operator", ALL, ids=lambda o: o.key)
def test_the_shell_computes_what_the_reference_says(operator: Operator, harness: Path, tmp_path: Path) -> None:
    cases = testing.own_cases(operator)
    chosen = [cases[i] for i in np.linspace(0, len(cases) - 1, min(len(cases), 60)).astype(int)]
    problems = {}
    for case in chosen:
        if testing.any_write_may_win(case):
            continue
        where, files, host = kit.write_case(operator, case, tmp_path)
        extra = {"TRB_ANY_ORDER": "1"} if kit.in_any_order(case) else {}
        status, said = kit.run_harness(harness, library(operator), where, "gpu", **extra)
        if status:
            problems[case.name] = said
            continue
        got = [np.frombuffer(f.read_bytes(), h.dtype).reshape(h.shape) for f, h in zip(files, host, strict=True)]
        right = load_reference(operator.folder)(*case.inputs, **case.attributes)
        if problem := testing.differences("the reference", got, right, testing.tolerance_on_gpu(case, right)):
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
