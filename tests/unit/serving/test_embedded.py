"""Installing the embedded runtime: what can go wrong before a server runs. The real installation: tests/server."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from repository_builder.errors import ToolMissing
from repository_builder.serving import embedded


def test_every_package_of_the_lock_is_pinned_and_hashed() -> None:
    text = re.sub(r"^#.*$", "", embedded.LOCK.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    entries = [line.split() for line in text.splitlines() if line.strip()]
    assert {entry[0].partition("==")[0] for entry in entries} >= {"nvidia-pytriton", "numpy", "onnxruntime"}
    for name, *hashes in entries:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9.]+", name)
        assert hashes
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", digest) for digest in hashes)
    assert any(name.startswith("numpy==1.") for name, *_ in entries), "NumPy 2 makes every output silently empty"


def runtime_folder(cache: Path) -> Path:
    folder = cache / "embedded" / f"{embedded._lock_digest()}-py3.11"
    (folder / "venv" / "bin").mkdir(parents=True)
    (folder / "lib").mkdir()
    for name in ("venv/bin/python", "lib/libpython3.11.so.1.0", "venv/bin/tool"):
        (folder / name).write_text("content")
    (folder / "runtime.json").write_text(json.dumps({"python": "3.11", "files": {"venv/bin/tool": 7}}))
    return folder


def test_a_whole_installation_is_found(fresh_cache: Path) -> None:
    folder = runtime_folder(fresh_cache)
    assert embedded.installed() == embedded.EmbeddedRuntime(folder, "3.11")


@pytest.mark.parametrize("name", ["venv/bin/python", "lib/libpython3.11.so.1.0", "venv/bin/tool", "runtime.json"])
def test_a_missing_file_makes_it_broken(fresh_cache: Path, name: str) -> None:
    (runtime_folder(fresh_cache) / name).unlink()
    assert embedded.installed() is None


def test_a_truncated_file_makes_it_broken(fresh_cache: Path) -> None:
    (runtime_folder(fresh_cache) / "venv/bin/tool").write_text("cont")
    assert embedded.installed() is None


def test_a_half_written_marker_makes_it_broken(fresh_cache: Path) -> None:
    (runtime_folder(fresh_cache) / "runtime.json").write_text('{"python": "3.11", "fi')
    assert embedded.installed() is None


@pytest.mark.slow
def test_without_a_package_index_the_error_says_what_is_needed(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(fresh_cache))
    with pytest.raises(ToolMissing, match="could not be installed") as caught:
        embedded.ensure()
    assert "needs a package index" in str(caught.value)
    assert caught.value.log is not None
    assert "No matching distribution" in caught.value.log.read_text()
    assert not list((fresh_cache / "embedded").glob(".*.new")), "the half-made environment was left behind"


@pytest.mark.slow
def test_a_file_with_another_hash_is_refused(
    fresh_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "tampered.lock"
    lock.write_text(
        re.sub(r"(tokenizers==\S+ \\\n\s+--hash=sha256:)\w{8}", r"\g<1>00000000", embedded.LOCK.read_text())
    )
    only_tokenizers = lock.read_text()[lock.read_text().index("tokenizers==") :]
    lock.write_text(only_tokenizers)
    monkeypatch.setattr(embedded, "LOCK", lock)
    with pytest.raises(ToolMissing) as caught:
        embedded.ensure()
    assert "do not use what was fetched" in str(caught.value)


def test_an_unwritable_cache_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("TRITON_REPO_CACHE", str(blocked))
    with pytest.raises(ToolMissing, match="could not be installed") as caught:
        embedded.ensure()
    assert "TRITON_REPO_CACHE" in str(caught.value)


def test_the_server_environment_is_not_led_astray(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONPATH", "PYTHONHOME", "LD_PRELOAD", "VIRTUAL_ENV"):
        monkeypatch.setenv(name, "/elsewhere")
    environment = embedded.EmbeddedRuntime(Path("/cache/runtime"), "3.11").environment()
    assert "/elsewhere" not in environment.values()
    assert environment["PATH"].startswith("/cache/runtime/venv/bin:")
    assert environment["PYTHONDONTWRITEBYTECODE"] == "1", "the repository must not be written to"
