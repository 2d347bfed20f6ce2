"""What rules look at: a repository, its models and their versions. Frozen, and read lazily: each file at most once."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repository_builder.check import backends, ensemble_flow
from repository_builder.check.host import Host
from repository_builder.check.rule import Change, Found, Skip
from repository_builder.repository import manifest, pbtxt, proto

if TYPE_CHECKING:
    from repository_builder.check.engine import Engine
    from repository_builder.check.python_source import PythonSource
    from repository_builder.onnx_graph.outline import Outline

CONFIG = "config.pbtxt"
RESERVED = ("warmup", "initial_state", "configs")
"""Folders of a model that Triton never takes for versions."""


UNKNOWN = Host()


@dataclass(frozen=True)
class Repository:
    """A folder that Triton is given as --model-repository."""

    path: Path
    host: Host = UNKNOWN
    shown: Path | None = None
    """The path as the user wrote it."""

    @cached_property
    def folders(self) -> tuple[str, ...]:
        """Names of all folders at the root, hidden ones too: Triton takes each for a model."""
        return _listing(self.path)[0]

    @cached_property
    def files(self) -> tuple[str, ...]:
        """Names of all plain files at the root: no concern of Triton's."""
        return _listing(self.path)[1]

    @cached_property
    def models(self) -> dict[str, Model]:
        """Name → model; folders that hold nothing of a model are left out (see `strays`)."""
        found = (Model(self, name) for name in self.folders)
        return {model.name: model for model in found if model.is_plausible}

    @cached_property
    def strays(self) -> tuple[str, ...]:
        """Folders at the root without anything of a model."""
        return tuple(name for name in self.folders if name not in self.models)

    @cached_property
    def manifest(self) -> manifest.Manifest | None:
        """What the builder wrote about the repository; None if it did not build it. Raises RepositoryError."""
        return manifest.read(self.path)

    @cached_property
    def requirements(self) -> frozenset[str]:
        """Python packages that `requirements.txt` at the root asks of the container's image, in lower case."""
        file = self.path / "requirements.txt"
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
        return frozenset(
            found.group().lower() for line in lines if (found := re.match(r"[A-Za-z0-9._-]+", line.strip()))
        )

    @cached_property
    def circles(self) -> dict[str, int]:
        """Ensemble → number of the circle of steps on which it lies."""
        edges = {
            name: [step.model_name for step in model.config.ensemble_scheduling.step]
            for name, model in self.models.items()
            if model.is_readable
        }
        return ensemble_flow.circles(edges)

    def finding(self, path: Path, message: str, *, fix: str, changes: tuple[Change, ...] = (), line: int = 1) -> Found:
        """A finding about a file or folder of the repository."""
        return Found(path, line, 1, "", message, fix, changes=changes)


@dataclass(frozen=True)
class Model:
    """One model's folder."""

    repository: Repository
    name: str

    @property
    def host(self) -> Host:
        """The server that is meant."""
        return self.repository.host

    @cached_property
    def path(self) -> Path:
        """The model's folder."""
        return self.repository.path / self.name

    @property
    def config_path(self) -> Path:
        """Where config.pbtxt is or would be."""
        return self.path / CONFIG

    @cached_property
    def folders(self) -> tuple[str, ...]:
        """Names of the folders inside, sorted."""
        return _listing(self.path)[0]

    @cached_property
    def files(self) -> tuple[str, ...]:
        """Names of the plain files inside, sorted."""
        return _listing(self.path)[1]

    @cached_property
    def is_plausible(self) -> bool:
        """Does anything here look like a model: a config, or a folder whose name is a number?"""
        return CONFIG in self.files or any(name.isdecimal() for name in self.folders) or self.config_is_broken_link

    @cached_property
    def config_is_broken_link(self) -> bool:
        """Is config.pbtxt a link that leads nowhere (or in a circle)?"""
        try:
            return self.config_path.is_symlink() and CONFIG not in self.files
        except OSError:
            return False

    @cached_property
    def config_bytes(self) -> bytes | OSError:
        """Content of config.pbtxt, or why it cannot be read; empty if there is none."""
        if CONFIG not in self.files and not self.config_is_broken_link and CONFIG not in self.folders:
            return b""
        try:
            return self.config_path.read_bytes()
        except OSError as error:
            return error

    @cached_property
    def parsed(self) -> pbtxt.Parsed:
        """config.pbtxt as far as it can be read."""
        content = self.config_bytes
        return pbtxt.scan(b"" if isinstance(content, OSError) else content, self.config_path)

    @property
    def config(self) -> Any:
        """The `ModelConfig` message as written: nothing is completed or normalized."""
        return self.parsed.config

    @cached_property
    def is_readable(self) -> bool:
        """Whether config.pbtxt is free of mistakes of syntax (also if there is none)."""
        return not isinstance(self.config_bytes, OSError) and not self.parsed.flaws

    @cached_property
    def has_config(self) -> bool:
        """Is there a config.pbtxt?"""
        return CONFIG in self.files or self.config_is_broken_link

    @cached_property
    def effective(self) -> backends.Effective:
        """Backend, platform and file name after Triton has filled in what it can infer from the folder."""
        return backends.infer(self.config, self.name, self.path, self.folders)

    @property
    def backend(self) -> str:
        """The effective backend; empty for an ensemble or where Triton cannot tell."""
        return self.effective.backend

    @property
    def is_ensemble(self) -> bool:
        """Is it an ensemble?"""
        return bool(self.config.platform == "ensemble" or self.config.HasField("ensemble_scheduling"))

    @cached_property
    def is_relocated(self) -> bool:
        """May a repository agent put other files in place of these before Triton reads them?"""
        return bool(self.config.model_repository_agents.agents)

    @cached_property
    def versions(self) -> tuple[Version, ...]:
        """Folders that Triton takes for versions, by number."""
        found = [Version(self, name) for name in self.folders if version_number(name) is not None]
        return tuple(sorted(found, key=lambda version: version.number))

    @cached_property
    def served(self) -> tuple[Version, ...]:
        """The versions that the version policy selects."""
        policy = self.config.version_policy
        match policy.WhichOneof("policy_choice"):
            case "all":
                return self.versions
            case "specific":
                wanted = set(policy.specific.versions)
                return tuple(version for version in self.versions if version.number in wanted)
            case _:
                count = policy.latest.num_versions if policy.HasField("latest") else 1
                return self.versions[-count:] if count else ()

    @cached_property
    def inputs(self) -> tuple[Any, ...]:
        """Inputs as configured."""
        return tuple(self.config.input)

    @cached_property
    def outputs(self) -> tuple[Any, ...]:
        """Outputs as configured."""
        return tuple(self.config.output)

    @cached_property
    def flow(self) -> ensemble_flow.Flow:
        """The flow of tensors inside an ensemble."""
        return ensemble_flow.flow(self.config)

    def tensors(self) -> list[tuple[str, Any]]:
        """(field path, message) of every configured input and output."""
        sides = (("input", self.inputs), ("output", self.outputs))
        return [(f"{side}[{index}]", tensor) for side, tensors in sides for index, tensor in enumerate(tensors)]

    def finding(self, field: str, message: str, *, fix: str, changes: tuple[Change, ...] = ()) -> Found:
        """A finding at a field of config.pbtxt."""
        if not self.has_config:
            return Found(self.path, 1, 1, field, message, fix, self.name, changes)
        line, column = self.parsed.place(field)
        return Found(self.config_path, line, column, field, message, fix, self.name, changes)

    def file_finding(
        self, path: Path, message: str, *, fix: str, changes: tuple[Change, ...] = (), line: int = 1, field: str = ""
    ) -> Found:
        """A finding about a file or folder of the model."""
        return Found(path, line, 1, field, message, fix, self.name, changes)


@dataclass(frozen=True)
class Version:
    """A version's folder."""

    model: Model
    folder: str

    @property
    def host(self) -> Host:
        """The server that is meant."""
        return self.model.host

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.model.name}/{self.folder}"

    @cached_property
    def number(self) -> int:
        """The version's number."""
        number = version_number(self.folder)
        assert number is not None  # noqa: S101  (only built for folders that have one)
        return number

    @cached_property
    def path(self) -> Path:
        """Where Triton looks for the version's files: by number, whatever the folder is called."""
        return self.model.path / str(self.number)

    @cached_property
    def file(self) -> Path:
        """The model file that is loaded by default."""
        return self.path / (self.model.effective.filename or "model")

    @cached_property
    def is_served(self) -> bool:
        """Is the version selected by the version policy?"""
        return self in self.model.served

    @cached_property
    def onnx(self) -> Outline:
        """Outline of the ONNX graph. Raises Skip if there is no file, GraphError if it is not ONNX."""
        from repository_builder.onnx_graph import outline

        path = self.file
        if path.is_dir():
            inner = [entry for entry in _listing(path)[1] if entry == "model.onnx" or entry.endswith(".onnx")]
            path = path / inner[0] if inner else path
        if not path.is_file():
            raise Skip(f"there is no ONNX file {path}")
        if is_placeholder(path):
            raise Skip(f"{path} is a placeholder, not the model")
        try:
            return outline.read(path)
        except OSError as error:
            raise Skip(f"{path} cannot be read: {error.strerror}") from error

    @cached_property
    def python(self) -> PythonSource:
        """The Python model's source. Raises Skip if there is none."""
        from repository_builder.check import python_source

        if not self.file.is_file():
            raise Skip(f"there is no file {self.file}")
        return python_source.read(self.file)

    @cached_property
    def may_complete(self) -> bool:
        """May the Python model change its own configuration when it is loaded?"""
        if not self.file.is_file() or self.python.tree is None:
            return False
        own = [self.file, *(path for path in self.path.glob("*.py") if path != self.file)]
        return any(_mentions(path, b"auto_complete_config") for path in own) or self.python.inherits_foreign

    @cached_property
    def engine(self) -> Engine:
        """Facts about the TensorRT engine. Raises Skip if nothing here can tell them."""
        from repository_builder.check import engine

        return engine.read(self.file)

    def finding(self, field: str, message: str, *, fix: str, changes: tuple[Change, ...] = ()) -> Found:
        """A finding at a field of the model's config.pbtxt."""
        return self.model.finding(field, message, fix=fix, changes=changes)

    def file_finding(
        self, path: Path, message: str, *, fix: str, changes: tuple[Change, ...] = (), line: int = 1, field: str = ""
    ) -> Found:
        """A finding about a file of the version."""
        return self.model.file_finding(path, message, fix=fix, changes=changes, line=line, field=field)


def version_number(folder: str) -> int | None:
    """The number that Triton reads from a folder's name (leading digits), None if it ignores the folder."""
    found = re.match(r"[ \t]*[+-]?([0-9]+)", folder)
    if folder in RESERVED or found is None or (len(folder) > 1 and folder[0] == "0"):
        return None
    number = int(found.group())
    return number if 0 <= number < 2**63 else None


def _mentions(path: Path, word: bytes) -> bool:
    try:
        return path.is_file() and word in path.read_bytes()
    except OSError:
        return True


_LFS = b"version https://git-lfs"


def is_placeholder(path: Path) -> bool:
    """Is the file empty or a Git LFS pointer, standing for a file that is not here?"""
    try:
        with path.open("rb") as stream:
            start = stream.read(len(_LFS))
    except OSError:
        return False
    return start in (b"", _LFS)


def dtype_name(value: int) -> str:
    """`TYPE_FP32` of the enumeration's number."""
    known = proto.messages().DataType
    return str(known.Name(value)) if value in known.values() else str(value)


def _listing(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of folders and of files; links count as what they lead to, dead ends and the unreadable as nothing."""
    folders: list[str] = []
    files: list[str] = []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                try:
                    (folders if entry.is_dir() else files if entry.is_file() else []).append(entry.name)
                except OSError:
                    continue
    except OSError:
        return (), ()
    return tuple(sorted(folders)), tuple(sorted(files))
