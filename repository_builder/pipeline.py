"""From a spec to a repository: `make_graph` and `assemble`. The one module that knows all stages and targets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from repository_builder import __version__
from repository_builder.build.run import Artifacts
from repository_builder.build.stage import Recipe, Stage, content_digest
from repository_builder.errors import RepositoryBuilderError, SpecError, TargetUnavailable
from repository_builder.machine import Machine, Obstacle
from repository_builder.repository import container, golden, kubernetes, launch
from repository_builder.repository.ensemble import Pipeline, ensemble
from repository_builder.repository.manifest import FileEntry, Manifest, ModelEntry, PipelineEntry
from repository_builder.repository.model_config import Config, Queue, python_model
from repository_builder.repository.python_model import deployed_files
from repository_builder.repository.tree import VERSION_PLACEHOLDER, Content, TritonModel
from repository_builder.repository.tuning import Tuning, tuned, tuned_fields
from repository_builder.spec.model import ModelSpec, PytorchSource, Spec, triton_names
from repository_builder.spec.processor import Processor
from repository_builder.stages import golden as golden_stage
from repository_builder.stages import graph as graph_stage
from repository_builder.stages.graph import GraphFacts
from repository_builder.targets import Choice, Core, choose

GRAPH_TOOLS = ("onnx", "onnxruntime")
REFERENCE_TOOLS = ("onnxruntime", "numpy")
PYTHON = "python:"
"""Prefix of a need that is one of our Python models."""
PROCESSOR_TOOLS = {"image_decode": ("pillow",), "text_tokenize": ("tokenizers",)}


@dataclass(frozen=True)
class Plan:
    """The stages of one public model, by role, and the target that was chosen."""

    name: str
    spec: ModelSpec
    choice: Choice
    stages: Mapping[str, Stage]


@dataclass(frozen=True)
class BuildGraph:
    """What a spec means on a machine. Pure: nothing has run."""

    plans: tuple[Plan, ...]
    origin: str
    """The spec, as the manifest calls it."""
    machine: Machine

    @property
    def stages(self) -> dict[str, Stage]:
        """Every stage by its full name."""
        return {stage.name: stage for plan in self.plans for stage in plan.stages.values()}


@dataclass(frozen=True)
class ModelRepository:
    """The finished repository as a value: every file, and the manifest."""

    contents: Mapping[str, Content]
    manifest: Manifest


def make_graph(spec: Spec, machine: Machine, origin: str) -> BuildGraph:
    """The stages that a spec needs on a machine; raises with every model that cannot be built there."""
    plans, problems = [], []
    kind: type[RepositoryBuilderError] | None = None
    for name, model in spec.models.items():
        try:
            plans.append(_plan(name, model, machine))
        except RepositoryBuilderError as error:
            problems += list(error.problems)
            kind = kind or type(error)
    if kind:
        raise kind.many(problems)
    return BuildGraph(tuple(plans), origin, machine)


def _plan(name: str, model: ModelSpec, machine: Machine) -> Plan:
    choice = choose(name, model, machine)
    before, after = processors_of(model)
    exported = _export(name, model.source.pytorch, machine) if model.source.pytorch else None
    defined = _define(name, model, exported) if model.plugins else None
    graph = graph_stage.stage(
        name,
        onnx_file=None if defined else model.source.onnx,
        export=defined or exported,
        max_batch_size=model.max_batch_size,
        reads=_reads(model, choice),
        tools=machine.versions(*GRAPH_TOOLS),
    )
    tools = {p for processor in (before, after) if processor for p in PROCESSOR_TOOLS.get(processor.entry, ())}
    recorded = golden_stage.stage(
        name,
        graph=graph,
        before=before,
        after=after,
        spec=model.golden,
        max_batch_size=choice.target.max_batch_size(model),
        tools=machine.versions(*REFERENCE_TOOLS, *tools),
    )
    compiled = _plugins(name, model, graph, choice)
    own = choice.target.stages(name, model, graph, recorded, machine)
    if compiled and choice.target.NAME == "tensorrt_plan":
        own = own | {"engine": replace(own["engine"], needs={**own["engine"].needs, "plugins": compiled})}
    optional = {"export": exported, "define": defined, "plugins": compiled}
    found = {role: stage for role, stage in optional.items() if stage}
    return Plan(name, model, choice, found | {"graph": graph, "golden": recorded} | own)


def _reads(model: ModelSpec, choice: Choice) -> Mapping[str, Any]:
    """What the target reads; with plugins the graph may be as new as ONNX Runtime reads: the new operators are plugins."""
    from repository_builder.plugins.cpu import RUNTIME_OPSET

    reads = choice.target.READS
    return {**reads, "opset": max(reads["opset"], RUNTIME_OPSET)} if model.plugins else reads


def _define(name: str, model: ModelSpec, exported: Stage | None) -> Stage:
    from repository_builder.stages import plugin

    folders = model.plugins.folders if model.plugins else ()
    return plugin.define_stage(name, onnx_file=model.source.onnx, export=exported, folders=folders)


def _plugins(name: str, model: ModelSpec, graph: Stage, choice: Choice) -> Stage | None:
    """The stage that compiles plugins, where the spec and the target want it."""
    from repository_builder.stages import plugin

    wanted = model.plugins
    if wanted is None or (wanted.compile != "always" and choice.target.NAME != "tensorrt_plan"):
        return None
    params = {
        "architectures": wanted.architectures,
        "headers": str(wanted.tensorrt_headers),
        "ahead_of_time": wanted.ahead_of_time,
    }
    return plugin.stage(name, graph=graph, folders=wanted.folders, params=params)


def _with_plugins(core: Core, folders: Mapping[str, Path]) -> Core:
    """The core model with its plugin libraries: files of its folder, which the server is told to load."""
    from repository_builder.stages import plugin

    if "plugins" not in folders:
        return core
    found = plugin.libraries(folders["plugins"])
    name = core.config.message.name
    return replace(
        core,
        files={**core.files, **found},
        container={**core.container, **{f"plugin:{file}": f"{name}/{file}" for file in found}},
        notes={**core.notes, "plugins": json.loads((folders["plugins"] / plugin.FACTS).read_text())},
    )


def _export(name: str, source: PytorchSource, machine: Machine) -> Stage:
    from repository_builder.stages import export

    return Stage(
        name=f"{name}/export",
        run=export.run,
        params={
            **source.model_dump(mode="json", exclude={"factory", "files"}),
            "function": source.factory.function,
            "order": [list(source.inputs), list(source.outputs)],  # keys of a recipe are sorted, and arguments are not
        },
        sources={"code": source.factory.file, **{f"file/{n}": path for n, path in enumerate(source.files)}},
        modules=("repository_builder.stages.export_worker",),
        tools=machine.versions("torch", "onnx", "onnxscript"),
    )


def processors_of(model: ModelSpec) -> tuple[Processor | None, Processor | None]:
    """The pre- and the post-processor of a model."""
    before, after = model.preprocess, model.postprocess
    return (
        getattr(before, before.chosen) if before else None,
        getattr(after, after.chosen) if after else None,
    )


def assemble(graph: BuildGraph, artifacts: Artifacts) -> ModelRepository:
    """The models that finished stages make, without what a whole repository needs (`furnish`); copies nothing."""
    contents: dict[str, Content] = {}
    pipelines: dict[str, PipelineEntry] = {}
    entries: dict[str, ModelEntry] = {}
    for plan in graph.plans:
        folders = {role: artifacts.of(stage) for role, stage in plan.stages.items()}
        made = _models(plan, folders)
        for model in made.models:
            files = {f"{model.name}/{path}": content for path, content in model.contents(_header(plan)).items()}
            contents |= files
            digests = {path.partition("/")[2]: digest(content) for path, content in files.items()}
            entries[model.name] = ModelEntry(plan.name, model.public, plan.choice.target.NAME, digests)
        pipelines[plan.name] = _pipeline_entry(plan, graph, folders, made)
    manifest = Manifest(
        generator=f"triton-repo {__version__}",
        container={},
        machine=graph.machine.as_json(),
        pipelines=pipelines,
        models=entries,
        files=_listed(contents),
    )
    return ModelRepository(contents, manifest)


def furnish(repository: ModelRepository) -> ModelRepository:
    """Choose the container that serves *all* models, and add the files at the root that start it."""
    pipelines = repository.manifest.pipelines
    needs: dict[str, str] = {}
    for name, entry in pipelines.items():
        for need, value in entry.needs.items():
            if needs.setdefault(need, value) != value:
                raise TargetUnavailable(
                    f"`{name}` cannot be served by the same container as the models beside it",
                    why=f"it needs {need} {value}, they need {needs[need]}",
                    fix="build it into another repository with `--output`, or build all with one version",
                )
    image = container.choose({need: value for need, value in needs.items() if not need.startswith(PYTHON)})
    entries = {need.removeprefix(PYTHON) for need in needs if need.startswith(PYTHON)}
    files = launch.files(image, entries, kubernetes.cluster(pipelines.values(), repository.manifest.files))
    manifest = replace(
        repository.manifest, container=image.as_json(), files={**repository.manifest.files, **_listed(files)}
    )
    return ModelRepository({**repository.contents, **files}, manifest)


def _listed(contents: Mapping[str, Content]) -> dict[str, FileEntry]:
    return {path: FileEntry(digest(content), _size(content)) for path, content in contents.items()}


@dataclass(frozen=True)
class _Made:
    """What was made for one public model."""

    models: list[TritonModel]
    """The public one first."""
    pipeline: Pipeline
    core: Core


def _models(plan: Plan, folders: Mapping[str, Path]) -> _Made:
    facts = GraphFacts.read(folders["graph"])
    before, after = processors_of(plan.spec)
    pipeline = golden_stage.pipeline_of(facts.interface, before, after)
    recorded = {golden.FILENAME: folders["golden"] / golden.FILENAME}
    names = triton_names(plan.name, plan.spec)
    if len(names) == 1:
        core = _with_plugins(plan.choice.target.core(plan.name, plan.spec, folders), folders)
        config = _tuned(plan, "core", core.config)
        return _Made([TritonModel(config, {**core.files, **recorded}, public=True)], pipeline, core)
    core = _with_plugins(plan.choice.target.core(f"{plan.name}_core", plan.spec, folders), folders)
    limit = core.config.message.max_batch_size
    models = {"core": TritonModel(_tuned(plan, "core", core.config), core.files)}
    for role, processor in (("preprocess", before), ("postprocess", after)):
        if processor:
            models[role] = _python(plan, role, processor, facts, limit)
    roles = {role: model.name for role, model in models.items()}
    limits = [size for model in models.values() if (size := model.config.message.max_batch_size)]
    front = ensemble(plan.name, pipeline, roles, min(limits, default=limit))
    public = TritonModel(front, {f"{plan.spec.version}/{VERSION_PLACEHOLDER}": b"", **recorded}, public=True)
    return _Made([public, *models.values()], pipeline, core)


def _python(plan: Plan, role: str, processor: Processor, facts: GraphFacts, limit: int) -> TritonModel:
    config = python_model(
        f"{plan.name}_{role}",
        golden_stage.interface_of(processor, facts.interface),
        max_batch_size=limit,
        count=getattr(plan.spec.instances, role),
        parameters=processor.parameters(facts.interface),
        queue=Queue(**plan.spec.batching.model_dump()),
    )
    files = deployed_files(processor.entry) | processor.files()
    contents = {f"{plan.spec.version}/{name}": path for name, path in files.items()}
    return TritonModel(_tuned(plan, role, config), contents)


def _tuned(plan: Plan, role: str, config: Config) -> Config:
    """The config of one model with the spec's `tuning` of its role."""
    values = getattr(plan.spec.tuning, role).model_dump(exclude_none=True)
    if not values:
        return config
    built = config.message.max_batch_size
    if values.get("max_batch_size", 0) > built:
        raise SpecError(
            f"cannot tune `{config.message.name}` to batches of {values['max_batch_size']}",
            where=f"{plan.name}.tuning.{role}.max_batch_size",
            why=f"it is built for batches of at most {built}",
            fix="raise `max_batch_size` of the model (or its profiles) as well",
        )
    notes = dict.fromkeys(tuned_fields(values), "tuning of the spec")
    return Config(tuned(config.message, Tuning(**values)), {**config.comments, **notes})


def _pipeline_entry(plan: Plan, graph: BuildGraph, folders: Mapping[str, Path], made: _Made) -> PipelineEntry:
    facts = GraphFacts.read(folders["graph"])
    spec = portable(plan.spec)
    recipes: dict[str, Recipe] = {s.name: {"key": s.key, "recipe": s.recipe} for s in plan.stages.values()}
    warnings = {"warnings": list(facts.warnings)} if facts.warnings else {}
    sources = {role: content_digest(path) for stage in plan.stages.values() for role, path in stage.sources.items()}
    return PipelineEntry(
        origin=graph.origin,
        target=plan.choice.target.NAME,
        target_why=plan.choice.why,
        spec=spec,
        spec_sha256=hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest(),
        sources=sources,
        stages=recipes,
        interface=made.pipeline.public.as_json(),
        batching={"max_batch_size": made.models[0].config.message.max_batch_size, "why": facts.why},
        golden=golden.read(folders["golden"] / golden.FILENAME).origin,
        needs={**made.core.container, **{f"{PYTHON}{p.entry}": "" for p in processors_of(plan.spec) if p}},
        notes={**made.core.notes, **_parity(made.core, folders, graph.machine), **warnings},
    )


def _parity(core: Core, folders: Mapping[str, Path], machine: Machine) -> dict[str, Any]:
    """How far the engine's own numbers are from the reference, or why nobody looked."""
    from repository_builder.stages import parity
    from repository_builder.targets import engine_stages

    engine = core.notes.get("engine")
    if engine is None:
        return {}
    if "parity" in folders:
        return {"parity": json.loads((folders["parity"] / parity.REPORT).read_text())}
    found = engine_stages.runner(machine, engine["builder"]["package"], engine["compute_capabilities"])
    return {"parity": {"not looked at": found.why if isinstance(found, Obstacle) else "the build has no such stage"}}


def portable(spec: ModelSpec) -> dict[str, Any]:
    """A model's spec as plain JSON, with the names of files instead of this machine's paths."""

    def strip(value: Any) -> Any:
        if isinstance(value, Path):
            return value.name
        if isinstance(value, dict):
            return {key: strip(item) for key, item in value.items()}
        return [strip(item) for item in value] if isinstance(value, (list, tuple)) else value

    plain: dict[str, Any] = strip(spec.model_dump(exclude_none=True))
    return plain


def digest(content: Content) -> str:
    """SHA-256 of a file to be written."""
    return hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else content_digest(content)


def _size(content: Content) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _header(plan: Plan) -> str:
    return f"Generated by triton-repo {__version__} for {plan.choice.target.NAME}: change the spec, not this file."
