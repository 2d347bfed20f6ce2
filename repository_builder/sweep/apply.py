"""The winner written into the repository: shown as a diff, verified with the golden answers, in one step or not at all."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from repository_builder.errors import RepositoryError
from repository_builder.repository import lock, manifest, tree
from repository_builder.repository.manifest import FileEntry, Manifest
from repository_builder.repository.tree import CONFIG, Content
from repository_builder.sweep import pbtxt_edit, spec_edit
from repository_builder.sweep.candidates import with_setting
from repository_builder.sweep.sample import Setting
from repository_builder.sweep.subject import Subject


@dataclass(frozen=True)
class Change:
    """New texts for files, and the old ones."""

    files: Mapping[str, tuple[str, str]]
    """Path below the repository → text before and after."""
    spec: Path | None
    """The spec that made the repository, if it is still there."""
    spec_text: tuple[str, str] = ("", "")

    def diff(self) -> str:
        """A unified diff of everything."""
        texts = dict(self.files) | ({str(self.spec): self.spec_text} if self.spec else {})
        lines: list[str] = []
        for name, (before, after) in texts.items():
            old, new = before.splitlines(), after.splitlines()
            lines += difflib.unified_diff(old, new, f"{name} (now)", f"{name} (tuned)", n=2, lineterm="")
        return "\n".join(lines)


def change(repository: Path, subject: Subject, winner: Mapping[str, Setting]) -> Change:
    """What `write` would do; pure but for reading. Raises RepositoryError if a file is not as the sweep has read it."""
    files: dict[str, tuple[str, str]] = {}
    roles: dict[str, tuple[Setting, Setting]] = {}
    spec = _spec(repository, subject.model)
    for member in subject.members:
        after = winner[member.name]
        roles[_role(member.name, subject.model)] = (member.start, after)
        if after != member.start:
            config = with_setting(member.config, after)
            files |= _edited(repository, member.name, config, _reasons(member.start, after, in_spec=spec is not None))
    limits = [setting.max_batch for setting in winner.values() if setting.max_batch]
    for name, config in subject.ensembles.items():
        if config.max_batch_size and limits and min(limits) != config.max_batch_size:
            changed = type(config)()
            changed.CopyFrom(config)
            changed.max_batch_size = min(limits)
            files |= _edited(repository, name, changed, {"max_batch_size": "the smallest of its steps that batch"})
    if spec is None or not files:
        return Change(files, None)
    text = spec.read_text(encoding="utf-8")
    built = max(member.start.max_batch for member in subject.members)
    return Change(files, spec, (text, spec_edit.edited(text, spec, subject.model, roles, built)))


def write(
    repository: Path, model: str, what: Change, record: Mapping[str, Any], verify: Callable[[Path], None]
) -> None:
    """Put the change in place. `verify` sees the finished repository first and raises to leave everything as it was.

    `record` (before, after, gain) goes into the manifest. A repository without a manifest is changed file by file.
    """
    with lock.building(repository.absolute()):
        built = manifest.read(repository)
        if built is None:
            _write_plain(repository, what, verify)
        else:
            contents: dict[str, Content] = {path: repository / path for path in built.files}
            contents |= {path: after.encode() for path, (_, after) in what.files.items()}
            tree.write(contents, _noted(built, model, what, record), repository.absolute(), check=verify)
        if what.spec is not None:
            _replace(what.spec, what.spec_text[1])


def _noted(built: Manifest, model: str, what: Change, record: Mapping[str, Any]) -> Manifest:
    """The manifest with the new digests and the record of the tuning."""
    digests = {path: hashlib.sha256(after.encode()).hexdigest() for path, (_, after) in what.files.items()}
    files = dict(built.files) | {
        path: FileEntry(digest, len(what.files[path][1].encode())) for path, digest in digests.items()
    }
    models = {}
    for name, entry in built.models.items():
        own = {path.partition("/")[2]: digest for path, digest in digests.items() if path.startswith(f"{name}/")}
        models[name] = replace(entry, files={**entry.files, **own})
    pipelines = dict(built.pipelines)
    owner = built.models[model].pipeline
    pipelines[owner] = replace(pipelines[owner], notes={**pipelines[owner].notes, "tuning": dict(record)})
    return replace(built, files=files, models=models, pipelines=pipelines)


def _write_plain(repository: Path, what: Change, verify: Callable[[Path], None]) -> None:
    """A repository that somebody else made: its config files are replaced, and put back if verification fails."""
    done: list[str] = []
    try:
        for path, (_, after) in what.files.items():
            _replace(repository / path, after)
            done.append(path)
        verify(repository)
    except BaseException:
        for path in done:
            _replace(repository / path, what.files[path][0])
        raise


def _edited(repository: Path, model: str, config: Any, reasons: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    file = repository / model / CONFIG
    text = file.read_text(encoding="utf-8")
    return {f"{model}/{CONFIG}": (text, pbtxt_edit.edited(text, file, config, reasons))}


def _reasons(before: Setting, after: Setting, *, in_spec: bool) -> dict[str, str]:
    """Comments beside changed values: those that a build from the edited spec would write, else what was there before."""
    reasons = {}
    if before.max_batch != after.max_batch:
        reasons["max_batch_size"] = "tuning of the spec" if in_spec else f"tuned by sweep, was {before.max_batch}"
    if before.delay_us != after.delay_us:
        path = "dynamic_batching.max_queue_delay_microseconds"
        reasons[path] = "tuning of the spec" if in_spec else f"tuned by sweep, was {before.delay_us}"
    if before.instances != after.instances and not in_spec:
        reasons["instance_group[0].count"] = f"tuned by sweep, was {before.instances}"
    return reasons


def _role(member: str, model: str) -> str:
    return member.removeprefix(f"{model}_") if member != model else "core"


def _spec(repository: Path, model: str) -> Path | None:
    """The spec that the manifest names, relative to the repository, if it is still there."""
    built = manifest.read(repository)
    if built is None:
        return None
    path = Path(os.path.normpath(repository.resolve() / built.pipelines[built.models[model].pipeline].origin))
    return path if path.is_file() else None


def _replace(file: Path, text: str) -> None:
    fresh = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        fresh.write_text(text, encoding="utf-8")
        fresh.chmod(file.stat().st_mode & 0o7777)
        fresh.replace(file)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise RepositoryError(
            "cannot write the tuned configuration", where=file, why=error.strerror or str(error), fix="make it writable"
        ) from error
