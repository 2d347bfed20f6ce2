"""Compiling with the cache: failures are explained and never kept, what is kept is checked."""

import shutil
from pathlib import Path

import pytest

from repository_builder.errors import SpecError, StageFailed
from repository_builder.plugins import compile as compiling
from repository_builder.plugins import operators
from repository_builder.plugins.operators import Operator
from repository_builder.plugins.toolchain import find_nvcc
from repository_builder.plugins.usage import usage_table, usages


def copy_of(name: str, folder: Path) -> Operator:
    """An operator folder of its own (with another plugin name), free to be broken."""
    source = operators.choose(name, operators.shipped()).folder
    target = folder / name
    shutil.copytree(source, target)
    for path in target.iterdir():
        if path.suffix in (".h", ".cu", ".cpp"):
            path.write_text(path.read_text().replace('"../common/', '"common/'))
    return operators.find([target])[0]


def test_a_host_library_is_compiled_once(fresh_cache: Path) -> None:
    operator = operators.choose("det", operators.shipped())
    library = compiling.compile_host(operator)
    made = library.stat().st_mtime_ns
    assert compiling.compile_host(operator).stat().st_mtime_ns == made


def test_a_damaged_library_in_the_cache_is_made_again(fresh_cache: Path) -> None:
    operator = operators.choose("det", operators.shipped())
    library = compiling.compile_host(operator)
    library.write_bytes(b"damaged")
    assert compiling.compile_host(operator) == library
    assert library.stat().st_size > 1000


def test_changed_sources_give_another_library(fresh_cache: Path, tmp_path: Path) -> None:
    operator = copy_of("det", tmp_path)
    first = compiling.compile_host(operator)
    with (operator.folder / "det_math.h").open("a") as file:
        file.write("// changed\n")
    assert compiling.compile_host(operators.find([operator.folder])[0]) != first


def test_a_failing_compiler_is_quoted_and_its_output_kept(fresh_cache: Path, tmp_path: Path) -> None:
    operator = copy_of("det", tmp_path)
    (operator.folder / "det_math.h").write_text("#error this cannot be\n")
    with pytest.raises(StageFailed) as caught:
        compiling.compile_host(operator)
    assert "this cannot be" in str(caught.value)
    assert caught.value.log is not None
    assert "this cannot be" in caught.value.log.read_text()
    kept = [path for path in (fresh_cache / "plugins").iterdir() if path.is_dir()]
    assert kept == [], "failures and work folders are not cached"


@pytest.mark.slow
def test_a_kernel_that_nvcc_refuses(fresh_cache: Path, tmp_path: Path) -> None:
    operator = copy_of("det", tmp_path)
    with (operator.folder / "det.cu").open("a") as file:
        file.write("__global__ void unused(int* p) { int never_read = *p; }\n")
    with pytest.raises(StageFailed, match="does not compile") as caught:
        compiling.compile_plugin(operator, find_nvcc(), ["75"], None)
    assert "never_read" in str(caught.value), "a warning is an error"


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("error: -- unsupported GNU version! gcc versions later than 15 are not supported!", "set CXX"),
        ("fatal error: cuda_runtime_api.h: No such file or directory", "nvidia-cuda-runtime"),
        ("ptxas fatal: Unsupported .version 9.5; current version is '9.0'", "pin all"),
        ("syntax error", "correct the source"),
    ],
)
def test_known_failures_have_advice(said: str, advice: str) -> None:
    assert advice in compiling._advice(said)


def test_a_folder_without_a_kernel_is_named(tmp_path: Path, fresh_cache: Path) -> None:
    operator = copy_of("det", tmp_path)
    (operator.folder / "det.cu").unlink()
    with pytest.raises(SpecError, match=r"lacks det\.cu"):
        compiling.kernel_command(operator, find_nvcc(), ["75"], tmp_path / "x.o")


REPORT = """
ptxas info    : Compiling entry function '_Z1kPf' for 'sm_75'
ptxas info    : Function properties for _Z1kPf
    16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 16 bytes cumulative stack size, 2048 bytes smem
ptxas info    : Compiling entry function '_Z1kPf' for 'sm_100a'
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 38 registers, used 0 barriers
"""


def test_the_table_of_registers_and_spills() -> None:
    found = usages(REPORT)
    assert [(u.architecture, u.registers, u.stack, u.spill_stores, u.spill_loads, u.shared) for u in found] == [
        ("75", 40, 16, 8, 12, 2048),
        ("100a", 38, 0, 0, 0, 0),
    ]
    assert "| 75 | 40 | 16 | 8 | 12 | 2048 |" in usage_table(REPORT)
