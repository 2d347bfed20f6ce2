"""A model repository as a value, and how it gets onto disk: whole, or not at all.

The new tree is made beside the old one and then exchanged with it in one step. Who has the old folder open or mounted
keeps it: it lives on as `.<name>.previous` until the next build finds that nobody serves it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from repository_builder.errors import RepositoryError
from repository_builder.repository.lock import is_served
from repository_builder.repository.manifest import FILENAME, Manifest, read
from repository_builder.repository.model_config import Config
from repository_builder.repository.pbtxt import emit

Content = Path | bytes
"""A file's content: an artifact to copy, or bytes to write."""

CONFIG = "config.pbtxt"
VERSION_PLACEHOLDER = ".keep"
"""An ensemble has nothing to store, yet Triton wants a version folder, and tools lose empty folders."""


@dataclass(frozen=True)
class TritonModel:
    """One folder of a repository: its config, and files by path relative to the folder (`1/model.onnx`)."""

    config: Config
    files: Mapping[str, Content] = field(default_factory=dict)
    public: bool = False

    @property
    def name(self) -> str:
        """The model's name, which is its folder's."""
        return str(self.config.message.name)

    def contents(self, header: str) -> dict[str, Content]:
        """Every file of the folder, `config.pbtxt` included."""
        text = emit(self.config.message, comments=self.config.comments, header=header)
        return {CONFIG: text.encode(), **self.files}


def write(contents: Mapping[str, Content], manifest: Manifest, target: Path, check: Callable[[Path], None]) -> None:
    """Make `target` hold exactly these files and the manifest, in one step; files at its root that are not ours are kept.

    `check` sees the finished tree before it takes the place of the old one, and may raise. Call under the build lock.
    """
    refuse_foreign(target)
    _recover(target)
    with _writing(target) as fresh:
        for name, content in contents.items():
            _put(content, fresh / name)
        (fresh / FILENAME).write_text(manifest.to_json())
        for name in foreign_files(target):
            shutil.copy2(target / name, fresh / name)
        check(fresh)
        _exchange(fresh, target)


def refuse_foreign(target: Path) -> None:
    """Raise unless `target` is absent, empty (dot files and a README do not count), or a repository that we built."""
    if not target.exists():
        return
    if not target.is_dir():
        raise RepositoryError(f"cannot build into {target}", why="it is a file", fix="name a folder with `--output`")
    if read(target) is None and (stranger := next(_strangers(target), None)):
        raise RepositoryError(
            f"refusing to build into {target}",
            why=f"it was not made by triton-repo (there is no {FILENAME}, but there is `{stranger}`)",
            fix="build into another folder with `--output`, or empty this one first",
        )


def foreign_files(target: Path) -> list[str]:
    """Plain files at the root of a repository that no build wrote."""
    if not target.is_dir():
        return []
    manifest = read(target)
    ours = {FILENAME, *(manifest.files if manifest else ())}
    return [entry.name for entry in sorted(target.iterdir()) if entry.is_file() and entry.name not in ours]


def _strangers(target: Path) -> Iterator[str]:
    for entry in sorted(target.iterdir()):
        if entry.is_dir() or not (entry.name.startswith(".") or entry.name == "README.md"):
            yield entry.name


@contextmanager
def _writing(target: Path) -> Iterator[Path]:
    """A fresh folder beside the target; what is left in it is removed; a full or read-only disk is explained."""
    fresh = target.with_name(f".{target.name}.building")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh.mkdir()
        yield fresh
    except OSError as error:
        raise _explained(error, target) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _put(content: Content, destination: Path) -> None:
    destination.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        destination.write_bytes(content)
    else:
        shutil.copyfile(content, destination)
    if destination.suffix == ".sh":
        destination.chmod(0o755)


def _recover(target: Path) -> None:
    """Clear what a killed build left; bring the old repository back if it was killed between two renames."""
    previous = _previous(target)
    if not target.exists() and previous.exists():
        previous.rename(target)
    shutil.rmtree(target.with_name(f".{target.name}.building"), ignore_errors=True)


def _exchange(fresh: Path, target: Path) -> None:
    """`fresh` becomes `target`; the old target becomes the previous one."""
    if not target.exists():
        fresh.rename(target)
        return
    previous = _previous(target)
    _drop(previous)
    if not _rename_exchange(fresh, target):  # file systems without it: two renames, `_recover` mends a kill in between
        target.rename(previous)
        fresh.rename(target)
        return
    fresh.rename(previous)


def _drop(previous: Path) -> None:
    """Remove the previous generation, unless a server still has it: then it is put aside under a name of its own."""
    if not previous.exists():
        return
    if not is_served(previous):
        shutil.rmtree(previous, ignore_errors=True)
        return
    number = 1
    while (aside := previous.with_name(f"{previous.name}.{number}")).exists():
        number += 1
    previous.rename(aside)


def _previous(target: Path) -> Path:
    return target.with_name(f".{target.name}.previous")


def _rename_exchange(one: Path, other: Path) -> bool:
    """Linux `renameat2(RENAME_EXCHANGE)`: both names swap in one step. False where the system cannot do it."""
    at_fdcwd, rename_exchange = -100, 2
    with suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.renameat2(at_fdcwd, os.fsencode(one), at_fdcwd, os.fsencode(other), rename_exchange) == 0:
            return True
        if ctypes.get_errno() not in (errno.EINVAL, errno.ENOSYS):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(other))
    return False


def _explained(error: OSError, target: Path) -> RepositoryError:
    fixes = {
        errno.ENOSPC: "free some space, or build elsewhere with `--output`",
        errno.EDQUOT: "free some space, or build elsewhere with `--output`",
        errno.EACCES: "build as a user who may write there, or elsewhere with `--output`",
        errno.EPERM: "build as a user who may write there, or elsewhere with `--output`",
        errno.EROFS: "the disk is mounted read-only: build elsewhere with `--output`",
        errno.EBUSY: "the folder is a mount point and cannot be exchanged: build into a folder inside it",
    }
    return RepositoryError(
        f"cannot write the model repository {target}",
        where=error.filename or target,
        why=f"{error.strerror or error}; the previous repository is untouched",
        fix=fixes.get(error.errno or 0, "build elsewhere with `--output`"),
    )
