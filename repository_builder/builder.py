"""The whole of a build, from the spec file to the repository on disk. What the commands `build` and `plan` stand on."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from repository_builder.build import graph as build_graph
from repository_builder.build.cache import Cache, clear_unfinished
from repository_builder.build.graph import Step
from repository_builder.build.run import Artifacts, Reporter, run
from repository_builder.build.stage import content_digest
from repository_builder.errors import (
    CheckFailed,
    GraphError,
    Problem,
    RepositoryBuilderError,
    RepositoryError,
    SpecError,
)
from repository_builder.machine import Machine, this_machine
from repository_builder.pipeline import BuildGraph, ModelRepository, assemble, furnish, make_graph
from repository_builder.repository import added_plans, agreement, baseline, lock, manifest, releases, tree
from repository_builder.repository.baseline import Baseline
from repository_builder.repository.manifest import Manifest, PipelineEntry
from repository_builder.resources import cache_folder
from repository_builder.spec.load import load, place
from repository_builder.spec.model import ModelSpec
from repository_builder.targets import tensorrt_plan


@dataclass(frozen=True)
class Built:
    """What a build did."""

    repository: ModelRepository
    models: tuple[str, ...]
    """Public models of this build; the repository may hold more, of other specs."""
    ran: tuple[str, ...]
    """Stages that really ran."""
    changed: bool
    """Whether the repository had to be written."""

    def as_json(self) -> dict[str, Any]:
        """The report of `build --json`."""
        pipelines = self.repository.manifest.pipelines
        return {
            "changed": self.changed,
            "stages_run": list(self.ran),
            "models": {
                name: {
                    "target": pipelines[name].target,
                    "target_why": pipelines[name].target_why,
                    "batching": pipelines[name].batching,
                    "interface": pipelines[name].interface,
                    "keys": {stage: entry["key"] for stage, entry in pipelines[name].stages.items()},
                    "notes": pipelines[name].notes,
                }
                for name in self.models
            },
            "container": self.repository.manifest.container,
        }


def origin(spec_file: Path, output: Path) -> str:
    """How the manifest calls a spec: its path seen from the repository, the same wherever both lie."""
    return Path(os.path.relpath(spec_file.absolute(), output.absolute())).as_posix()


def stage_cache(warn: Callable[[str], None] = lambda _: None) -> Cache:
    """The cache of stage results below the user's cache folder."""
    return Cache(cache_folder() / "stages", warn)


def plan(spec_file: Path, output: Path) -> tuple[BuildGraph, list[Step]]:
    """The build graph of a spec and what running it would do."""
    if spec_file.suffix.lower() == ".onnx":
        raise SpecError(
            f"cannot plan {spec_file}",
            where=spec_file,
            why="it is an ONNX file; a plan is made for a spec",
            fix=f"`triton-repo build {spec_file}` infers a spec and writes it beside the repository; plan that one",
        )
    with _placing(spec_file):
        graph = make_graph(load(spec_file), this_machine(), origin(spec_file, output))
    before = manifest.read(output)
    recipes = {
        name: entry["recipe"]
        for pipeline in (before.pipelines.values() if before else ())
        for name, entry in pipeline.stages.items()
    }
    return graph, list(build_graph.explain(graph.stages, stage_cache(), recipes))


def build(
    spec_file: Path,
    output: Path,
    reporter: Reporter,
    warn: Callable[[str], None],
    *,
    machine: Machine | None = None,
    against: Path | None = None,
    accept: bool = False,
    plans_from: Sequence[Path] = (),
) -> Built:
    """Build a spec into a repository. The old repository stays as it is until the new one is complete.

    `machine` stands for this one with other versions of tools, which the stages then fetch (`upgrade`). `against` is the
    repository behind whose accuracy the new one must not fall (default: the one that it replaces), unless `accept`.
    `plans_from` are repositories of the same spec, built for other GPUs, whose plans are added.
    """
    output = output.absolute()
    with _placing(spec_file):
        graph = make_graph(load(spec_file), machine or this_machine(), origin(spec_file, output))
    with lock.building(output):
        tree.refuse_foreign(output)
        cache = stage_cache(warn)
        clear_unfinished(cache.root)
        with _placing(spec_file):
            artifacts = run(graph.stages, cache, reporter)
        return _write(graph, artifacts, output, _Judge(against or output, accept, warn, plans_from))


def in_container(tag: str) -> Machine:
    """This machine with the TensorRT of a monthly container, inside which engines are then built."""
    release = releases.by_tag(tag)
    if release is None or release.tensorrt is None:
        known = ", ".join(r.release for r in releases.releases() if r.tensorrt)
        raise SpecError(
            f"it is not known which TensorRT the container `{tag}` holds",
            where="--in-container",
            fix=f"name one of {known}",
        )
    machine = this_machine()
    packages = {**machine.packages, "tensorrt": release.tensorrt, tensorrt_plan.IN_CONTAINER: release.build_image}
    return replace(machine, packages=packages)


@contextmanager
def _placing(spec_file: Path) -> Iterator[None]:
    """Problems that name a key of the spec (`preprocess.image_decode.size` inside a stage) get its file and line."""
    try:
        yield
    except RepositoryBuilderError as error:
        model = error.stage.partition("/")[0]
        error.problems = tuple(_placed(problem, spec_file, model) for problem in error.problems)
        raise


def _placed(problem: Problem, spec_file: Path, model: str) -> Problem:
    head = problem.where.partition(".")[0]
    if head == "models":
        return replace(problem, where=place(spec_file, problem.where))
    if model and head in ModelSpec.model_fields:
        return replace(problem, where=place(spec_file, f"models.{model}.{problem.where}"))
    return problem


@dataclass(frozen=True)
class _Judge:
    """What a finished tree is held to before it takes its place."""

    against: Path
    accept: bool
    warn: Callable[[str], None]
    plans_from: Sequence[Path] = ()

    def baseline(self, made: ModelRepository, models: tuple[str, ...]) -> Baseline:
        """The baseline of the new repository; raises CheckFailed where it is less accurate than the old one allows."""
        known, before = Baseline.read(self.against / baseline.FILENAME), manifest.read(self.against)
        now = baseline.accuracies(made.manifest, models)
        if before is not None:
            known = replace(known, accuracy={**baseline.accuracies(before), **known.accuracy})
            changed = list(agreement.changed_answers(before, made.manifest, self.against, made.contents))
            if changed and not self.accept:
                raise CheckFailed.many(changed)
        for note in baseline.require(known, now, accepted=self.accept):
            self.warn(note)
        return baseline.renewed(known, now, accepted=self.accept)


def _write(graph: BuildGraph, artifacts: Artifacts, output: Path, judging: _Judge) -> Built:
    names = tuple(plan.name for plan in graph.plans)
    made = assemble(graph, artifacts)
    made = ModelRepository(*added_plans.add(made.contents, made.manifest, names, judging.plans_from))
    before = manifest.read(output)
    merged = furnish(_merge(made, before, output, graph.origin) if before else made)
    kept = judging.baseline(merged, names)
    if before is not None and _same(before, merged.manifest) and _intact(before, output, judging.warn):
        if kept != Baseline.read(output / baseline.FILENAME):
            kept.write(output / baseline.FILENAME)
        return Built(ModelRepository(merged.contents, before), names, artifacts.ran, changed=False)

    def finish(fresh: Path) -> None:
        judge(fresh, output, merged.manifest)
        kept.write(fresh / baseline.FILENAME)

    tree.write(merged.contents, merged.manifest, output, check=finish)
    gone = added_plans.lost(before, merged.manifest) if before else ()
    for note in (*_not_run(graph.machine, merged.manifest, names), *gone):
        judging.warn(note)
    return Built(merged, names, artifacts.ran, changed=True)


def _not_run(machine: Machine, record: Manifest, names: tuple[str, ...]) -> Iterator[str]:
    """A note for every engine that the GPU of this machine does not run, so that its numbers were not compared."""
    for name in names:
        why = record.pipelines[name].notes.get("parity", {}).get("not looked at")
        if why and machine.gpus:
            yield f"note: the engine of `{name}` was built, but not run here against the reference: {why}"


def judge(fresh: Path, output: Path, entries: Manifest) -> None:
    """Raise CheckFailed for any finding of the checker in a finished tree that is about to become `output`."""
    from repository_builder.check import check, settings

    release = re.search(r":(\d+\.\d+)-", str(entries.container.get("image", "")))
    report = check(fresh, image=release[1] if release else "", settings=settings.find(output))
    problems = list(report.problems)
    for finding in report.findings:
        found = finding.found
        where = f"{output / found.path.relative_to(fresh)}:{found.line}:{found.column}"
        problems.append(Problem(f"{finding.id}: {found.message}", where, finding.rule.why, found.fix))
    if problems:
        raise CheckFailed.many(problems)


def _merge(made: ModelRepository, before: Manifest, output: Path, origin: str) -> ModelRepository:
    """The new repository and those models of the old one that other specs made."""
    new = made.manifest
    kept = {
        name: entry for name, entry in before.pipelines.items() if name not in new.pipelines and entry.origin != origin
    }
    models = {name: entry for name, entry in before.models.items() if entry.pipeline in kept}
    for name in models.keys() & new.models.keys():
        raise RepositoryError(
            f"cannot build `{new.models[name].pipeline}` into {output}",
            why=f"its model `{name}` would replace one of `{models[name].pipeline}`, which another spec made",
            fix="rename the model in the spec, or build into another folder with `--output`",
        )
    files = {path: entry for path, entry in before.files.items() if path.partition("/")[0] in models}
    contents = {**made.contents, **{path: output / path for path in files}}
    pipelines = {name: _still_tuned(name, entry, new, before) for name, entry in new.pipelines.items()}
    merged = replace(
        new, pipelines={**kept, **pipelines}, models={**models, **new.models}, files={**files, **new.files}
    )
    return ModelRepository(contents, merged)


def _still_tuned(name: str, entry: PipelineEntry, new: Manifest, before: Manifest) -> PipelineEntry:
    """The record of a sweep stays with a model as long as its configuration is the one that the sweep wrote."""
    record = before.pipelines[name].notes.get("tuning") if name in before.pipelines else None
    if record is None:
        return entry
    models = [model for model, owner in new.models.items() if owner.pipeline == name]
    same = all(_config_digest(new, model) == _config_digest(before, model) for model in models)
    return replace(entry, notes={**entry.notes, "tuning": record}) if same else entry


def _config_digest(repository: Manifest, model: str) -> str | None:
    return repository.models[model].files.get(tree.CONFIG) if model in repository.models else None


def _same(before: Manifest, after: Manifest) -> bool:
    return before.to_json() == after.to_json()


def _intact(expected: Manifest, output: Path, warn: Callable[[str], None]) -> bool:
    """Whether the files on disk are those of the manifest; a changed one is named, for it is about to be replaced."""
    intact = True
    for path, entry in expected.files.items():
        file = output / path
        if not file.is_file():
            intact = False
        elif file.stat().st_size != entry.size or content_digest(file) != entry.sha256:
            warn(f"warning: {file} was changed by hand; it is replaced (the old one stays in .{output.name}.previous)")
            intact = False
    return intact


def infer_spec(file: Path, output: Path) -> tuple[Path, bool]:
    """The spec inferred from an ONNX file, written beside the repository; an existing one is kept (False)."""
    from repository_builder.onnx_graph import batch, read
    from repository_builder.spec import infer

    interface = read.interface(read.load(file))
    verdict = batch.batching(interface)
    verdict.require(file.name)
    target = output.absolute().parent / f"{infer.model_name(file)}.deploy.yaml"
    if target.exists():
        return target, False
    text = infer.spec_text(
        file.absolute(), interface, batched=verdict.batched, why=verdict.why, relative_to=target.parent
    )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise GraphError(
            f"cannot write the inferred spec {target}",
            why=error.strerror or str(error),
            fix="choose a folder that can be written with `--output`",
        ) from error
    return target, True
