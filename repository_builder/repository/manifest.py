"""`manifest.json`: what a repository consists of and was made from. Triton takes no plain file at the root for a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from repository_builder.errors import RepositoryError

FILENAME = "manifest.json"
FORMAT = 1


@dataclass(frozen=True)
class FileEntry:
    """A file of the repository."""

    sha256: str
    size: int
    """Bytes."""


@dataclass(frozen=True)
class ModelEntry:
    """One Triton model."""

    pipeline: str
    """The public model for which it was made."""
    public: bool
    target: str
    """What the network was built for: `onnxruntime_onnx`, `tensorrt_plan` …"""
    files: Mapping[str, str]
    """Path below the model's folder → SHA-256."""


@dataclass(frozen=True)
class PipelineEntry:
    """One public model: everything that went into it."""

    origin: str
    """The spec file, seen from the repository."""
    target: str
    target_why: str
    spec: Mapping[str, Any]
    """This model's part of the spec, complete with defaults; files by name."""
    spec_sha256: str
    """Of that part, as canonical JSON."""
    sources: Mapping[str, str]
    """Role → SHA-256 of what was read."""
    stages: Mapping[str, Mapping[str, Any]]
    """Stage → {key, recipe}."""
    interface: Mapping[str, Any]
    """Inputs and outputs that clients see, with full shapes."""
    batching: Mapping[str, Any]
    """{max_batch_size, why}."""
    golden: str
    """Where the golden inputs come from."""
    needs: Mapping[str, str]
    """What the serving container must offer (`container.choose`), and `python:<entry>` for each of our Python models."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What stages report: repairs, precision, gates …"""


@dataclass(frozen=True)
class Manifest:
    """The manifest of a repository."""

    generator: str
    container: Mapping[str, Any]
    """The container that serves it: {image, why}."""
    machine: Mapping[str, Any]
    """Where it was built, with the versions of every tool."""
    pipelines: Mapping[str, PipelineEntry]
    models: Mapping[str, ModelEntry]
    files: Mapping[str, FileEntry]
    """Every file but the manifest, by path below the root."""
    format: int = FORMAT

    def to_json(self) -> str:
        """The file's text: sorted, readable, the same for the same content."""
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Inverse of `to_json`; raises ValueError, KeyError or TypeError for anything else."""
        value = json.loads(text)
        if value["format"] != FORMAT:
            raise ValueError(f"format {value['format']} is not {FORMAT}")
        return cls(
            **value
            | {
                "pipelines": {name: PipelineEntry(**entry) for name, entry in value["pipelines"].items()},
                "models": {name: ModelEntry(**entry) for name, entry in value["models"].items()},
                "files": {name: FileEntry(**entry) for name, entry in value["files"].items()},
            }
        )


def read(repository: Path) -> Manifest | None:
    """The manifest of a repository; None if there is none (a repository that was not built by us)."""
    file = repository / FILENAME
    try:
        text = file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(file, str(error)) from error
    try:
        return Manifest.from_json(text)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(file, f"it is not a manifest of this version ({error})") from error


def _unreadable(file: Path, why: str) -> RepositoryError:
    return RepositoryError(
        "cannot read the repository's manifest", where=file, why=why, fix="build the repository again into a new folder"
    )
