"""Plans of other machines in one repository: the same spec built on an A10 and an H100, served to both kinds of GPUs.

Triton takes the plan by the GPU's compute capability (`cc_model_filenames`), so the configs must agree in everything else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from repository_builder.errors import Problem, RepositoryError
from repository_builder.repository import manifest as manifests
from repository_builder.repository import pbtxt
from repository_builder.repository.manifest import FileEntry, Manifest, ModelEntry, PipelineEntry
from repository_builder.repository.tree import CONFIG, Content

PLAN, FACTS = "model.plan", "engine.json"
SAME = ("profiles", "flags", "hardware_compatibility")
"""Facts of an engine that the one config stands on."""
NETWORK = ("export", "define", "graph")
"""Stages whose sources are the network."""
ADDED = "added_plans"


@dataclass(frozen=True)
class _Other:
    """A repository that gives its plans."""

    folder: Path
    record: Manifest


def add(
    contents: Mapping[str, Content], made: Manifest, models: Sequence[str], folders: Sequence[Path]
) -> tuple[dict[str, Content], Manifest]:
    """Contents and manifest of a finished build with the plans that `folders` have for its public `models`.

    Raises RepositoryError with everything that speaks against it: nothing to add, other interface, profiles, versions or
    network, or a compute capability that would have two plans.
    """
    held, record = dict(contents), made
    for folder in folders:
        found = manifests.read(folder)
        other = _Other(folder, found) if found else None
        shared = [name for name in models if other and _engine(other.record.pipelines.get(name))]
        if other is None or not shared:
            what = "it was not made by triton-repo" if other is None else f"it has no engine of {', '.join(models)}"
            raise RepositoryError(
                f"there is no plan to add in {folder}", where="--add-plan-from", why=what,
                fix="name a repository that was built from the same spec on another machine",
            )  # fmt: skip
        problems = [problem for name in shared for problem in _against(name, record, other)]
        if problems:
            raise RepositoryError.many(problems)
        for name in shared:
            held, record = _added(name, held, record, other)
    return held, record


def lost(before: Manifest, after: Manifest) -> Iterator[str]:
    """Public models that had plans of other machines and no longer have all of them."""
    for name in before.pipelines.keys() & after.pipelines.keys():
        had, has = (
            {c for p in _added_plans(side, name) for c in p["compute_capabilities"]} for side in (before, after)
        )
        if gone := sorted(had - has):
            yield f"note: `{name}` no longer has the plan for {', '.join(gone)}; `--add-plan-from` adds it again"


def _added_plans(record: Manifest, name: str) -> list[dict[str, Any]]:
    return list(record.pipelines[name].notes.get("engine", {}).get(ADDED, ()))


def _engine(entry: PipelineEntry | None) -> Mapping[str, Any] | None:
    return entry.notes.get("engine") if entry else None


def _core(record: Manifest, name: str) -> tuple[str, ModelEntry]:
    """The Triton model with the plan."""
    return next(
        (model, entry) for model, entry in record.models.items() if entry.pipeline == name and FACTS in entry.files
    )


def _against(name: str, record: Manifest, other: _Other) -> Iterator[Problem]:
    mine, theirs = record.pipelines[name], other.record.pipelines[name]
    here, there = mine.notes["engine"], theirs.notes["engine"]
    pairs = {
        "target": (mine.target, theirs.target),
        "TensorRT": (_builder(here), _builder(there)),
        "interface": (mine.interface, theirs.interface),
        "inputs and outputs of the engine": (_ports(record, name), _ports(other.record, name)),
        **{what.replace("_", " "): (here[what], there[what]) for what in SAME},
        "network": (_network(mine), _network(theirs)),
    }
    for what, (one, two) in pairs.items():
        if one != two:
            yield _refused(name, other, f"another {what}: {_short(two)} there, {_short(one)} here", "build both from one spec, "
                           "with one TensorRT (`upgrade`, or `--in-container`)")  # fmt: skip
    if twice := sorted({*here["compute_capabilities"]} & {*there["compute_capabilities"]}):
        yield _refused(name, other, f"both have a plan for {', '.join(twice)}", "add plans of other kinds of GPUs")
    if not here["compute_capabilities"] or not there["compute_capabilities"]:
        yield _refused(name, other, "a plan does not say for which compute capability it is", "build it again")
    if there.get(ADDED):
        yield _refused(
            name, other, "it holds added plans itself", "name the repositories from which they came, one by one"
        )


def _refused(name: str, other: _Other, why: str, fix: str) -> Problem:
    return Problem(f"cannot add the plan of `{name}`", str(other.folder), why, fix)


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) < 80 else f"{text[:76]} …"


def _builder(engine: Mapping[str, Any]) -> str:
    return f"{engine['builder']['package']} {engine['builder']['version']}"


def _ports(record: Manifest, name: str) -> Any:
    return record.pipelines[name].notes["engine"].get("ports")


def _network(entry: PipelineEntry) -> dict[str, Any]:
    recipes = {stage.rpartition("/")[2]: told["recipe"] for stage, told in entry.stages.items()}
    return {stage: recipes[stage]["sources"] for stage in NETWORK if stage in recipes}


def _added(
    name: str, contents: Mapping[str, Content], record: Manifest, other: _Other
) -> tuple[dict[str, Content], Manifest]:
    core, entry = _core(record, name)
    theirs, their_entry = _core(other.record, name)
    version = next(path for path in their_entry.files if path.endswith(f"/{PLAN}")).partition("/")[0]
    own = next(path for path in entry.files if path.endswith(f"/{PLAN}")).partition("/")[0]
    engine = other.record.pipelines[name].notes["engine"]
    numbers = list(engine["compute_capabilities"])
    plan = f"model.{'-'.join(numbers)}.plan"
    fresh: dict[str, Content] = {
        f"{core}/{own}/{plan}": _intact(other, theirs, their_entry, f"{version}/{PLAN}"),
        f"{core}/engine.{'-'.join(numbers)}.json": _intact(other, theirs, their_entry, FACTS),
        f"{core}/{CONFIG}": _config(contents[f"{core}/{CONFIG}"], numbers, plan, other.folder),
    }
    listed = {path: FileEntry(_digest(content), _size(content)) for path, content in fresh.items()}
    files = {**entry.files, **{path.partition("/")[2]: found.sha256 for path, found in listed.items()}}
    told = {key: engine[key] for key in ("builder", "precision", "bytes", "compute_capabilities")}
    added = {"from": other.folder.name, "file": plan, **told}
    mine = record.pipelines[name]
    noted = {
        **mine.notes["engine"],
        "compute_capabilities": [*mine.notes["engine"]["compute_capabilities"], *numbers],
        ADDED: [*_added_plans(record, name), added],
    }
    changed = replace(
        record,
        pipelines={**record.pipelines, name: replace(mine, notes={**mine.notes, "engine": noted})},
        models={**record.models, core: replace(entry, files=files)},
        files={**record.files, **listed},
    )
    return {**contents, **fresh}, changed


def _intact(other: _Other, model: str, entry: ModelEntry, path: str) -> Path:
    """The file of the other repository, as its manifest knows it."""
    file = other.folder / model / path
    if not file.is_file() or _digest(file) != entry.files[path]:
        raise RepositoryError(
            f"{file} is not the file that was built",
            where="--add-plan-from",
            why=f"its digest is not the one in {other.folder / manifests.FILENAME}",
            fix="build that repository again",
        )
    return file


def _config(content: Content, numbers: Sequence[str], plan: str, folder: Path) -> bytes:
    """The config with the plan under its compute capabilities; entries of a map may stand anywhere in the text."""
    text = content.decode() if isinstance(content, bytes) else content.read_text(encoding="utf-8")
    lines = [f"# the plan that was built as {folder.name}"]
    lines += [f'cc_model_filenames {{ key: "{number}" value: "{plan}" }}' for number in numbers]
    changed = f"{text.rstrip()}\n" + "\n".join(lines) + "\n"
    pbtxt.parse(changed, CONFIG)
    return changed.encode()


def _digest(content: Content) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(content: Content) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size
