"""Files that are not what was built are found, whatever was done to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from repository_builder.commands import serve
from repository_builder.console import silent
from repository_builder.repository import integrity, manifest
from tests.unit.repository.test_tree import put


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    put(tmp_path / "repo", net__config="name", net__model="weights", other__model="more")
    return tmp_path / "repo"


def changed(repository: Path) -> list[str]:
    record = manifest.read(repository)
    assert record is not None
    return integrity.changed(repository, record)


def test_what_was_built_is_as_it_was_built(repository: Path) -> None:
    (repository / "net/notes.txt").write_text("of no concern")
    assert changed(repository) == []


def test_every_kind_of_change_is_named(repository: Path) -> None:
    (repository / "net/config").write_text("nam")
    (repository / "net/model").write_text("WEIGHTS")
    (repository / "other/model").unlink()
    assert changed(repository) == [
        "net/config has 3 bytes instead of 4",
        "net/model has other content",
        "other/model is missing",
    ]


def test_long_comparisons_show_how_far_they_are(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = manifest.read(repository)
    assert record is not None
    seen: list[float] = []
    integrity.changed(repository, record, lambda _text, fraction: seen.append(fraction))
    assert not seen
    monkeypatch.setattr(integrity, "_LONG", 1)
    integrity.changed(repository, record, lambda _text, fraction: seen.append(fraction))
    assert seen == sorted(seen)
    assert len(seen) == 3
    assert all(0 <= fraction < 1 for fraction in seen)


def test_a_folder_in_a_file_s_place_is_no_crash(repository: Path) -> None:
    entry = manifest.FileEntry("", (repository / "net").stat().st_size)
    assert "cannot be read" in integrity._difference(repository / "net", entry)


def test_serve_says_so_and_a_repository_of_others_is_none_of_its_concern(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    serve._compare(repository, silent)
    serve._compare(tmp_path, silent)
    assert capsys.readouterr().err == ""
    (repository / "net/model").write_text("WEIGHTS")
    serve._compare(repository, silent)
    assert "not as it was built: net/model has other content" in capsys.readouterr().err
