"""Joins pre-processing, core model and post-processing: which tensor goes where, and Triton's ensemble for it.

Tensors are wired by name: what the pre-processor gives carries the names of the core's inputs, and what the post-processor
takes carries the names of the core's outputs (or of anything else that is there, such as an attention mask).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from repository_builder.errors import SpecError
from repository_builder.repository.model_config import Config, model_config
from repository_builder.tensor import Interface, Tensor

LATEST = -1
"""`model_version` of a step: an omitted one means 0, which is a version like any other."""


@dataclass(frozen=True)
class Pipeline:
    """A core model with an optional model before and behind it."""

    core: Interface
    before: Interface | None = None
    after: Interface | None = None

    @cached_property
    def public(self) -> Interface:
        """What clients see: the ends of the pipeline, and the core's inputs and outputs that nothing else uses."""
        made = _names(self.before.outputs if self.before else ())
        used = _names(self.after.inputs if self.after else ())
        inputs = (*(self.before.inputs if self.before else ()), *(t for t in self.core.inputs if t.name not in made))
        outputs = (*(self.after.outputs if self.after else ()), *(t for t in self.core.outputs if t.name not in used))
        _refuse_duplicates("input", inputs)
        _refuse_duplicates("output", outputs)
        return Interface(inputs, outputs)

    @cached_property
    def tensors(self) -> dict[tuple[str, str], str]:
        """(role, tensor name) → ensemble tensor, for everything that is produced: `("core", "logits") → "logits"`."""
        names = {("", t.name): t.name for t in self.public.inputs}
        taken = _names(self.public.inputs) | _names(self.public.outputs)
        for role, model in (("preprocess", self.before), ("core", self.core), ("postprocess", self.after)):
            for tensor in model.outputs if model else ():
                public = tensor.name in _names(self.public.outputs) and _is_public(self, role, tensor)
                names[role, tensor.name] = tensor.name if public else _fresh(f"{role}_{tensor.name}", taken)
        return names

    def source(self, role: str, name: str) -> str:
        """The ensemble tensor that feeds input `name` of `role`."""
        order = {"preprocess": ("",), "core": ("preprocess", ""), "postprocess": ("core", "preprocess", "")}[role]
        for producer in order:
            if (producer, name) in self.tensors:
                return self.tensors[producer, name]
        known = ", ".join(sorted({tensor for _, tensor in self.tensors}))
        raise SpecError(
            f"nothing produces `{name}`, which the {role} needs",
            why=f"tensors there are: {known}",
            fix=f"name the tensor in the options of the {role}",
        )


def ensemble(name: str, pipeline: Pipeline, models: Mapping[str, str], max_batch_size: int) -> Config:
    """Config of the public ensemble; `models` maps role (`preprocess`, `core`, `postprocess`) to Triton model."""
    config = model_config(name, pipeline.public, max_batch_size=max_batch_size, platform="ensemble")
    interfaces = {"preprocess": pipeline.before, "core": pipeline.core, "postprocess": pipeline.after}
    comments = {"max_batch_size": "the smallest of its steps that batch"}
    for role, interface in interfaces.items():
        if interface is not None:
            step = config.ensemble_scheduling.step.add(model_name=models[role], model_version=LATEST)
            _connect(step, pipeline, role, interface)
    return Config(config, comments)


def _connect(step: Any, pipeline: Pipeline, role: str, interface: Interface) -> None:
    for tensor in interface.inputs:
        step.input_map[tensor.name] = pipeline.source(role, tensor.name)
    for tensor in interface.outputs:
        if _is_used(pipeline, role, tensor):
            step.output_map[tensor.name] = pipeline.tensors[role, tensor.name]


def _is_used(pipeline: Pipeline, role: str, tensor: Tensor) -> bool:
    """Whether a produced tensor goes anywhere: Triton refuses an internal tensor that nobody reads."""
    name = pipeline.tensors[role, tensor.name]
    if name in _names(pipeline.public.outputs) and _is_public(pipeline, role, tensor):
        return True
    readers = (("core", pipeline.core), ("postprocess", pipeline.after))
    return any(
        pipeline.source(reader, t.name) == name for reader, model in readers for t in (model.inputs if model else ())
    )


def _is_public(pipeline: Pipeline, role: str, tensor: Tensor) -> bool:
    if role == "postprocess":
        return True
    used = _names(pipeline.after.inputs if pipeline.after else ())
    return role == "core" and tensor.name not in used


def _names(tensors: tuple[Tensor, ...]) -> set[str]:
    return {tensor.name for tensor in tensors}


def _fresh(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _refuse_duplicates(kind: str, tensors: tuple[Tensor, ...]) -> None:
    names = [tensor.name for tensor in tensors]
    for name in names:
        if names.count(name) > 1:
            raise SpecError(
                f"the public model would have two {kind}s called `{name}`",
                why=f"the core model's own spare {kind} has the name that the {'pre' if kind == 'input' else 'post'}"
                "-processor uses",
                fix=f"rename that {kind} of the ONNX graph",
            )
