"""What a repository offers to a sweep: the public model, the models behind it, and how far each may be turned."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from repository_builder.errors import RepositoryError, SpecError, nearest
from repository_builder.repository import manifest, pbtxt
from repository_builder.repository.tree import CONFIG
from repository_builder.sweep.candidates import setting_of
from repository_builder.sweep.sample import Setting
from repository_builder.sweep.space import Runner, Space, batches, preferred_choices, runners

ENSEMBLE = "ensemble"
_GRAPH_LIMIT = 64
"""Largest batch tried for a graph whose batch dimension is free and for which nobody has said a limit."""


@dataclass(frozen=True)
class Member:
    """A Triton model whose knobs can be turned."""

    name: str
    config: Any
    """The official `ModelConfig` message, as the file has it."""
    max_batch: int
    """Never tried beyond this."""
    why_max: str
    optima: tuple[int, ...] = ()
    """Optimum batches of several profiles."""

    @property
    def start(self) -> Setting:
        """The setting as it is."""
        return setting_of(self.config)

    @property
    def gpu(self) -> bool:
        """Whether it runs on a GPU."""
        return any(group.kind == group.KIND_GPU or group.gpus for group in self.config.instance_group)

    @property
    def threads(self) -> bool:
        """Whether the number of threads is a knob."""
        return self.config.backend == "onnxruntime" and not self.gpu

    def space(
        self,
        cores: int,
        concurrency: tuple[int, int],
        *,
        rates: Sequence[float] = (),
        axes: Mapping[str, Sequence[int]] | None = None,
    ) -> Space:
        """The points of this model; `axes` (`instances`, `max_batch`, `delay_us`, `threads`, `concurrency`) narrow it."""
        axes = axes or {}
        arrangements = runners(cores, self.start, threads=self.threads, gpu=self.gpu)
        if "instances" in axes or "threads" in axes:
            arrangements = _chosen_runners(self, axes)
        sizes = tuple(sorted(axes.get("max_batch", ()))) or batches(self.max_batch, self.start.max_batch)
        if sizes[-1] > self.max_batch:
            raise SpecError(
                f"cannot try a batch of {sizes[-1]} for model `{self.name}`",
                where="--grid max_batch",
                why=f"at most {self.max_batch} is possible: {self.why_max}",
                fix="ask for smaller ones, or build with a larger profile",
            )
        loads = tuple(float(value) for value in (rates or axes.get("concurrency", ())))
        return Space(
            self.name,
            self.start,
            arrangements,
            sizes,
            concurrency,
            loads=tuple(sorted(loads)),
            kind="rate" if rates else "concurrency",
            delays_us=tuple(sorted(axes.get("delay_us", ()))),
            preferred=preferred_choices(self.optima, sizes),
        )


@dataclass(frozen=True)
class Subject:
    """A public model and everything behind it."""

    model: str
    members: tuple[Member, ...]
    """Models that compute; one, or those of the ensemble in the order of its steps."""
    ensembles: Mapping[str, Any]
    """Ensemble → its configuration; empty for a single model."""
    digest: str
    """Changes with any file of these models."""

    def member(self, name: str) -> Member:
        """One of the members; raises SpecError for another name."""
        found = next((member for member in self.members if member.name == name), None)
        if found is None:
            names = [member.name for member in self.members]
            raise SpecError(
                f"`{name}` is not part of `{self.model}`{nearest(name, names)}", fix=f"name one of {', '.join(names)}"
            )
        return found


def subject(repository: Path, model: str = "") -> Subject:
    """Read a repository; raises RepositoryError for one that cannot be swept."""
    name = model or _only_public(repository)
    found = _subject(name, lambda asked: _config(repository, asked), _profile_limits(repository))
    return replace(found, digest=_digest(repository, [*found.ensembles, *(member.name for member in found.members)]))


def remote_subject(url: str, model: str, config_of: Callable[[str], Any]) -> Subject:
    """The same of a running server, which tells its configurations; it is known by its address."""
    found = _subject(model, config_of, {})
    texts = sorted(str(member.config) for member in found.members)
    return replace(found, digest=hashlib.sha256("".join([url, *texts]).encode()).hexdigest()[:16])


def _subject(model: str, config_of: Callable[[str], Any], limits: Mapping[str, tuple[int, ...]]) -> Subject:
    ensembles: dict[str, Any] = {}
    configs: dict[str, Any] = {}
    for config in _closure(config_of, model, ()):
        (ensembles if config.platform == ENSEMBLE else configs)[config.name] = config
    return Subject(model, tuple(_member(config, limits) for config in configs.values()), ensembles, "")


def _chosen_runners(member: Member, axes: Mapping[str, Sequence[int]]) -> tuple[Runner, ...]:
    start = member.start
    return tuple(
        sorted(
            Runner(instances, threads)
            for instances in axes.get("instances", (start.instances,))
            for threads in axes.get("threads", (start.threads,))
        )
    )


def _only_public(repository: Path) -> str:
    built = manifest.read(repository)
    if built is not None:
        names = sorted(name for name, entry in built.models.items() if entry.public)
    else:
        names = sorted(path.parent.name for path in repository.glob(f"*/{CONFIG}"))
        inside = {step.model_name for name in names for step in _config(repository, name).ensemble_scheduling.step}
        names = [name for name in names if name not in inside]
    if len(names) != 1:
        raise SpecError(
            f"which model of {repository.name} is to be swept?",
            where=repository,
            why=f"it has {len(names) or 'no'} public models" + (f": {', '.join(names)}" if names else ""),
            fix="name one behind the repository" if names else "build one: `triton-repo build deploy.yaml`",
        )
    return names[0]


def _closure(config_of: Callable[[str], Any], name: str, path: tuple[str, ...]) -> Iterator[Any]:
    """The configuration of a model and of all models behind it."""
    if name in path:
        raise RepositoryError(f"the ensemble `{name}` contains itself", why=" → ".join([*path, name]))
    config = config_of(name)
    if config.sequence_batching.ByteSize() or config.model_transaction_policy.decoupled:
        raise RepositoryError(
            f"cannot sweep model `{name}`",
            why="it keeps sequences, or answers more than once: a closed loop of single requests says nothing about it",
            fix="sweep another model",
        )
    yield config
    for step in config.ensemble_scheduling.step:
        yield from _closure(config_of, step.model_name, (*path, name))


def _config(repository: Path, name: str) -> Any:
    file = repository / name / CONFIG
    try:
        text = file.read_bytes()
    except OSError as error:
        known = [path.parent.name for path in repository.glob(f"*/{CONFIG}")]
        raise RepositoryError(
            f"there is no model `{name}`{nearest(name, known)}",
            where=file,
            why=error.strerror or str(error),
            fix=f"models here: {', '.join(sorted(known)) or 'none'}",
        ) from error
    config = pbtxt.parse(text, file).config
    config.name = config.name or name
    return config


def _member(config: Any, limits: Mapping[str, tuple[int, ...]]) -> Member:
    size, profiles = config.max_batch_size, limits.get(config.name, ())
    backend = config.backend or config.platform
    if size == 0:
        return Member(config.name, config, 0, "it does not batch")
    if profiles and not backend.startswith("python"):
        *optima, largest = profiles
        return Member(config.name, config, largest, "largest batch of its profiles", tuple(optima))
    if backend.startswith("onnxruntime"):
        return Member(config.name, config, max(size, _GRAPH_LIMIT), "the graph takes any batch")
    return Member(config.name, config, size, "max_batch_size of its config.pbtxt")


def _profile_limits(repository: Path) -> dict[str, tuple[int, ...]]:
    """Model → optimum batches of its profiles and, last, the largest batch of any."""
    built = manifest.read(repository)
    found: dict[str, tuple[int, ...]] = {}
    for name, entry in (built.models if built else {}).items():
        pipeline = built.pipelines[entry.pipeline] if built else None
        ranges = (
            [r for profile in (pipeline.spec.get("profiles") or {}).values() for r in profile.values()]
            if pipeline
            else []
        )
        if ranges:
            found[name] = (*sorted({r["opt"][0] for r in ranges}), max(r["max"][0] for r in ranges))
    return found


def _digest(repository: Path, models: Sequence[str]) -> str:
    """Changes with any file of the models; sizes and times, since weights can be many gigabytes."""
    hasher = hashlib.sha256()
    for model in sorted(models):
        for folder, below, files in os.walk(repository / model):
            below[:] = sorted(set(below) - {"__pycache__"})  # the server leaves these behind
            for name in sorted(files):
                path = Path(folder, name)
                facts = path.stat()
                hasher.update(f"{path.relative_to(repository)} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return hasher.hexdigest()[:16]
