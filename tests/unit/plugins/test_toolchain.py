"""Finding compilers and headers, and what is said where they are not right."""

from pathlib import Path

import pytest

from repository_builder.errors import SpecError, ToolMissing
from repository_builder.plugins import headers, toolchain
from repository_builder.plugins.toolchain import Nvcc

NVCC = Nvcc(Path("/nvcc"), "13.0.88", frozenset({"75", "90", "120"}), (), ())


def version_header(folder: Path, major: int, minor: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "NvInferRuntime.h").touch()
    (folder / "NvInferVersion.h").write_text(
        f"#define TRT_MAJOR_ENTERPRISE {major}\n#define TRT_MINOR_ENTERPRISE {minor}\n"
        "#define NV_TENSORRT_MAJOR TRT_MAJOR_ENTERPRISE\n"
    )
    return folder


def test_architectures_are_sorted_and_distinct() -> None:
    assert toolchain.check_architectures(["120", "sm_90", "9.0", "75"], NVCC) == ("75", "90", "120")


def test_an_architecture_that_this_nvcc_lacks_is_refused() -> None:
    with pytest.raises(SpecError, match=r"cannot compile for compute capability 60"):
        toolchain.check_architectures(["60", "90"], NVCC)


def test_a_word_is_no_architecture() -> None:
    with pytest.raises(SpecError, match="no compute capability"):
        toolchain.check_architectures(["hopper"], NVCC)


def test_default_architectures_are_those_the_compiler_knows() -> None:
    assert toolchain.default_architectures(NVCC) == ("75", "90", "120")


def test_without_nvcc_the_packages_to_install_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "_candidates", lambda: iter(()))
    monkeypatch.delenv("NVCC", raising=False)
    with pytest.raises(ToolMissing) as caught:
        toolchain.find_nvcc()
    assert "nvidia-cuda-nvcc==13.0.*" in str(caught.value)


def test_a_wrong_nvcc_variable_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVCC", "/nowhere/nvcc")
    with pytest.raises(ToolMissing, match="which is no file"):
        toolchain.find_nvcc()


def test_a_program_that_is_no_nvcc_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvcc"
    program.write_text("#!/bin/sh\necho hello\n")
    program.chmod(0o755)
    monkeypatch.setenv("NVCC", str(program))
    with pytest.raises(ToolMissing, match="does not say its version"):
        toolchain.find_nvcc()


def test_without_a_host_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ToolMissing, match=r"no C\+\+ compiler"):
        toolchain.host_compiler()


@pytest.mark.parametrize("below", ["", "include", "include/x86_64-linux-gnu"])
def test_headers_are_found_in_a_package(below: str, tmp_path: Path) -> None:
    version_header(tmp_path / below, 11, 1)
    found = headers.require_headers(tmp_path)
    assert (found.major, found.minor, found.version) == (11, 1, "11.1")


def test_headers_of_another_major_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"TensorRT 8\.6"):
        headers.require_headers(version_header(tmp_path, 8, 6))


def test_a_named_folder_without_headers_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSORRT_ROOT", str(tmp_path))
    with pytest.raises(SpecError, match=r"holds no NvInferRuntime\.h"):
        headers.find_headers()


def test_without_headers_the_ways_to_get_them_are_named(fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TENSORRT_ROOT", raising=False)
    monkeypatch.setattr(headers, "_places", lambda: iter(()))
    with pytest.raises(ToolMissing, match="--fetch-headers"):
        headers.require_headers()


def test_fetched_headers_are_kept(fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(url: str) -> bytes:
        asked.append(url)
        return b"#define TRT_MAJOR_ENTERPRISE 11\n#define TRT_MINOR_ENTERPRISE 1\n"

    found = headers.fetch_headers("11.1", download)
    assert found.version == "11.1"
    assert f"{headers.PUBLIC}/v11.1/include/NvInferRuntime.h" in asked
    count = len(asked)
    assert headers.fetch_headers("11.1", download) == found
    assert len(asked) == count
    monkeypatch.delenv("TENSORRT_ROOT", raising=False)
    assert headers.find_headers() is not None


def test_a_failed_fetch_leaves_nothing_that_looks_complete(fresh_cache: Path) -> None:
    def broken(url: str) -> bytes:
        raise ToolMissing("no network", fix="")

    with pytest.raises(ToolMissing):
        headers.fetch_headers("11.1", broken)
    assert not list(fresh_cache.rglob("complete"))


def test_a_strange_version_is_not_fetched(fresh_cache: Path) -> None:
    with pytest.raises(SpecError, match="no TensorRT version"):
        headers.fetch_headers("../../etc")
