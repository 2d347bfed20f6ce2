"""Repositories get onto disk whole or not at all, and never over something that is not ours."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from repository_builder.errors import RepositoryError
from repository_builder.repository import lock, manifest, tree
from repository_builder.repository.manifest import FileEntry, Manifest


def listing(contents: Mapping[str, bytes]) -> Manifest:
    from hashlib import sha256

    files = {path: FileEntry(sha256(data).hexdigest(), len(data)) for path, data in contents.items()}
    return Manifest("test", {}, {}, {}, {}, files)


def put(target: Path, **files: str) -> None:
    contents = {name.replace("__", "/"): text.encode() for name, text in files.items()}
    tree.write(contents, listing(contents), target, check=lambda _: None)


def read(target: Path) -> dict[str, str]:
    return {
        p.relative_to(target).as_posix(): p.read_text()
        for p in target.rglob("*")
        if p.is_file() and p.name != "manifest.json"
    }


def test_a_repository_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "repo"
    put(target, a__config="1", b__config="1")
    put(target, a__config="2")
    assert read(target) == {"a/config": "2"}
    assert read(tmp_path / ".repo.previous") == {"a/config": "1", "b/config": "1"}
    assert not (tmp_path / ".repo.building").exists()


def test_scripts_can_be_run(tmp_path: Path) -> None:
    tree.write({"run.sh": b"#!/bin/sh\n"}, listing({"run.sh": b"#!/bin/sh\n"}), tmp_path / "repo", check=lambda _: None)
    assert os.access(tmp_path / "repo/run.sh", os.X_OK)


def test_files_of_others_at_the_root_are_kept(tmp_path: Path) -> None:
    target = tmp_path / "repo"
    target.mkdir()
    (target / ".gitignore").write_text("*")
    (target / "README.md").write_text("mine")
    put(target, a__config="1")
    put(target, a__config="2")
    assert read(target) == {"a/config": "2", ".gitignore": "*", "README.md": "mine"}


@pytest.mark.parametrize("stranger", ["photos/", "photo.png", "1/"])
def test_a_folder_that_is_not_ours_is_refused(tmp_path: Path, stranger: str) -> None:
    target = tmp_path / "repo"
    target.mkdir()
    path = target / stranger
    path.mkdir() if stranger.endswith("/") else path.write_text("precious")
    with pytest.raises(RepositoryError, match="refusing to build into"):
        put(target, a__config="1")
    assert [entry.name for entry in target.iterdir()] == [path.name]


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "repo").write_text("precious")
    with pytest.raises(RepositoryError, match="it is a file"):
        put(tmp_path / "repo", a__config="1")


def test_a_check_that_fails_leaves_the_old_repository(tmp_path: Path) -> None:
    target = tmp_path / "repo"
    put(target, a__config="1")

    def refuse(fresh: Path) -> None:
        assert (fresh / "a/config").read_text() == "2"
        raise RepositoryError("findings")

    with pytest.raises(RepositoryError, match="findings"):
        tree.write({"a/config": b"2"}, listing({"a/config": b"2"}), target, check=refuse)
    assert read(target) == {"a/config": "1"}
    assert not (tmp_path / ".repo.building").exists()


def test_a_build_that_was_killed_is_cleared_away(tmp_path: Path) -> None:
    target = tmp_path / "repo"
    put(target, a__config="1")
    (tmp_path / ".repo.building/a").mkdir(parents=True)
    (tmp_path / ".repo.building/a/half").write_text("half")
    put(target, a__config="2")
    assert read(target) == {"a/config": "2"}


def test_a_kill_between_two_renames_is_mended(tmp_path: Path) -> None:
    target = tmp_path / "repo"
    put(target, a__config="1")
    target.rename(tmp_path / ".repo.previous")
    with pytest.raises(RepositoryError, match="stop here"):
        tree.write({}, listing({}), target, check=lambda _: (_ for _ in ()).throw(RepositoryError("stop here")))
    assert read(target) == {"a/config": "1"}


def test_without_an_exchange_of_names_two_renames_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "_rename_exchange", lambda one, other: False)
    put(tmp_path / "repo", a__config="1")
    put(tmp_path / "repo", a__config="2")
    assert read(tmp_path / "repo") == {"a/config": "2"}
    assert read(tmp_path / ".repo.previous") == {"a/config": "1"}


def test_what_is_served_is_never_touched(tmp_path: Path) -> None:
    target = tmp_path / "repo"
    put(target, a__config="1")
    with lock.serving(target):
        for text in "234":
            put(target, a__config=text)
        served = [folder for folder in tmp_path.iterdir() if folder.is_dir() and read(folder) == {"a/config": "1"}]
        assert len(served) == 1
        assert lock.is_served(served[0])
    assert not lock.is_served(served[0])
    assert read(target) == {"a/config": "4"}


def test_two_builders_exclude_each_other(tmp_path: Path) -> None:
    again = lock.building(tmp_path / "repo")
    with lock.building(tmp_path / "repo"), pytest.raises(RepositoryError, match="another build") as caught:
        again.__enter__()
    assert str(os.getpid()) in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount the small disk that is to be filled")
def test_a_full_disk_leaves_the_old_repository(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", disk], check=True)
    try:
        put(disk / "repo", a__config="1")
        with pytest.raises(RepositoryError) as caught:
            put(disk / "repo", a__config="2" * 500_000)
        assert "No space left" in str(caught.value)
        assert "free some space" in str(caught.value)
        assert read(disk / "repo") == {"a/config": "1"}
        assert not (disk / ".repo.building").exists()
    finally:
        subprocess.run(["umount", disk], check=True)


def test_manifests_survive_a_round_trip_and_strangers_are_refused(tmp_path: Path) -> None:
    one = listing({"a/config": b"1"})
    assert Manifest.from_json(one.to_json()) == one
    assert manifest.read(tmp_path) is None
    (tmp_path / "manifest.json").write_text('{"format": 99}')
    with pytest.raises(RepositoryError, match="manifest"):
        manifest.read(tmp_path)
