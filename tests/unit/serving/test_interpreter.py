"""Which interpreter the embedded server takes, and what it says where none will do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from repository_builder.errors import ToolMissing
from repository_builder.serving import interpreter


def fake(folder: Path, answer: str) -> Path:
    """A program that answers the probe."""
    program = folder / "python3.11"
    program.write_text(f"#!/bin/sh\necho '{answer}'\n")
    program.chmod(0o755)
    return program


def facts(**changes: object) -> str:
    import json

    known = {"executable": "/x/python", "implementation": "cpython", "version": "3.11", "full": "3.11.7"}
    return json.dumps(known | {"library": "/x/libpython3.11.so.1.0", "venv": True} | changes)


def test_this_interpreter_is_usable() -> None:
    found = interpreter.probe(Path(sys.executable))
    assert isinstance(found, interpreter.Interpreter), found
    assert found.library.name == f"libpython{found.version}.so.1.0"
    assert found.library.is_file()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (facts(version="3.13"), "3.13, for which there is no usable stub"),
        (facts(implementation="pypy"), "is pypy 3.11"),
        (facts(library=""), "has no libpython3.11.so.1.0"),
        (facts(venv=False), "has no module venv"),
        ("no JSON", "does not run"),
    ],
)
def test_an_unusable_one_has_its_reason(tmp_path: Path, answer: str, reason: str) -> None:
    found = interpreter.probe(fake(tmp_path, answer))
    assert isinstance(found, str)
    assert reason in found


def test_without_any_the_error_lists_versions_and_reasons(tmp_path: Path) -> None:
    unusable = fake(tmp_path, facts(version="3.14"))
    with pytest.raises(ToolMissing) as caught:
        interpreter.choose({interpreter.OVERRIDE: str(unusable)})
    text = str(caught.value)
    assert all(version in text for version in interpreter.SUPPORTED)
    assert f"{unusable}: is cpython 3.14" in text
    assert "fix:" in text


def test_another_interpreter_is_found_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usable = fake(tmp_path, facts())
    monkeypatch.setattr(interpreter.sys, "executable", str(tmp_path / "missing"))
    assert interpreter.choose({"PATH": str(usable.parent), "HOME": str(tmp_path)}).executable == Path("/x/python")


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        ({"system": "Darwin"}, "this is Darwin"),
        ({"machine": "aarch64"}, "on aarch64"),
        ({"libc": "glibc 2.31"}, "glibc 2.31"),
        ({"libc": "musl 1.2"}, "musl"),
    ],
)
def test_a_machine_that_cannot_run_it_is_told_why(machine: dict[str, str], words: str) -> None:
    with pytest.raises(ToolMissing, match="cannot run on this machine") as caught:
        interpreter.require_platform(**({"system": "Linux", "machine": "x86_64", "libc": "glibc 2.36"} | machine))
    assert words in str(caught.value)
    assert "NGC container" in str(caught.value)


def test_the_oldest_supported_system_passes() -> None:
    interpreter.require_platform(system="Linux", machine="x86_64", libc="glibc 2.35")
