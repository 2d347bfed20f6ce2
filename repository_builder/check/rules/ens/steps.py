"""ENS020 to ENS027: the models that the steps of an ensemble name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from repository_builder.check.inputs import Model
from repository_builder.check.rule import Edit, Found, Severity, Skip, rule
from repository_builder.check.rules.bat.dynamic import may_complete_batching
from repository_builder.check.rules.ens.graph import steps
from repository_builder.errors import nearest


def known_steps(model: Model) -> Iterator[tuple[str, Any, Model]]:
    """(field path, step, the step's model) of every step whose model is in the repository and readable."""
    for path, step in steps(model):
        target = model.repository.models.get(step.model_name)
        if target is not None and target.is_readable and not step.model_namespace:
            yield path, step, target


@rule(
    "ENS020",
    "missing-step-model",
    Severity.ERROR,
    requires=("ENS005",),
    triton="contains models that are not available",
)
def missing_step_model(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that every step names a model of the same repository.

    ## Why is this bad?
    Triton refuses the ensemble: it `contains models that are not available or ambiguous`. (If the model comes from a second
    repository on the same server, ignore the finding and say so.)

    ## Example
    ```pbtxt
    step [ { model_name: "resnet5O" … } ]
    ```
    """
    models = model.repository.models
    for path, step in steps(model):
        if step.model_name not in models and not step.model_namespace and step.model_name:
            hint = nearest(step.model_name, [name for name in models if name != model.name])
            message = f"the repository has no model `{step.model_name}`{hint}"
            yield model.finding(f"{path}.model_name", message, fix="name a model of this repository")


@rule("ENS021", "circular-ensemble", Severity.ERROR, triton="circular dependency between ensembles")
def circular_ensemble(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that no ensemble is a step of itself, directly or through other ensembles.

    ## Why is this bad?
    Triton refuses all ensembles of the circle.

    ## Example
    ```pbtxt
    name: "a"
    ensemble_scheduling { step [ { model_name: "a" … } ] }
    ```
    """
    circles = model.repository.circles
    if model.name not in circles:
        return
    for path, step in steps(model):
        if circles.get(step.model_name) == circles[model.name]:
            message = f"`{step.model_name}` leads back to `{model.name}`"
            yield model.finding(f"{path}.model_name", message, fix="break the circle")


@rule("ENS022", "step-version-zero", Severity.ERROR, triton="whose required version 0 is not loaded")
def step_version_zero(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that a step does not ask for version 0, which is what leaving `model_version` out means.

    ## Why is this bad?
    Triton refuses the ensemble, unless the model really has a version 0. "The newest" is written -1.

    ## Example
    ```pbtxt
    step [ { model_name: "net" input_map { key: "x" value: "image" } output_map { key: "y" value: "scores" } } ]
    ```
    """
    for path, step, target in known_steps(model):
        if step.model_version == 0 and not any(version.number == 0 for version in target.served):
            given = model.parsed.has(f"{path}.model_version")
            words = "0 is asked for" if given else "left out, which means 0"
            yield model.finding(
                f"{path}.model_version",
                f"the version of `{step.model_name}` is {words}, and there is no version 0",
                fix="write model_version: -1",
                changes=() if given else _with_version(model, path),
            )


def _with_version(model: Model, path: str) -> tuple[Edit, ...]:
    """Write `model_version: -1` behind the step's `model_name`."""
    start = model.parsed.offset(f"{path}.model_name")
    found = re.match(r'model_name\s*:\s*("[^"\\\n]*"|\'[^\'\\\n]*\')\s*?[,;]?', model.parsed.text[start : start + 500])
    if not found:
        return ()
    end = start + found.end()
    begin = model.parsed.text.rfind("\n", 0, start) + 1
    indent = model.parsed.text[begin:start]
    separator = f"\n{indent}" if not indent.strip() and begin else " "
    return (Edit(model.config_path, end, end, f"{separator}model_version: -1"),)


@rule("ENS023", "missing-step-version", Severity.ERROR, triton="whose required version … is not loaded")
def missing_step_version(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that a step's `model_version` is -1 or a version that the step's model serves.

    ## Why is this bad?
    Triton refuses the ensemble, also when the version exists and the version policy of the step's model leaves it out.

    ## Example
    ```pbtxt
    step [ { model_name: "net" model_version: 3 … } ]       # net/ has 1 and 2
    ```
    """
    for path, step, target in known_steps(model):
        wanted = step.model_version
        served = [version.number for version in target.served]
        if wanted not in (-1, 0) and wanted not in served:
            exists = any(version.number == wanted for version in target.versions)
            why = "is left out by its version policy" if exists else "does not exist"
            message = f"version {wanted} of `{step.model_name}` {why} (served: {', '.join(map(str, served)) or 'none'})"
            yield model.finding(f"{path}.model_version", message, fix="write -1, or a version that is served")


@rule(
    "ENS024",
    "batch-above-step",
    Severity.ERROR,
    requires=("CFG021",),
    triton="which only allows maximum batch size to be …",
)
def batch_above_step(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that an ensemble's `max_batch_size` is not above that of any batching step.

    ## Why is this bad?
    Triton refuses an ensemble that promises batches which a step cannot take.

    ## Example
    ```pbtxt
    platform: "ensemble"
    max_batch_size: 16        # and the step's model has 8
    ```
    """
    if not model.config.HasField("ensemble_scheduling"):
        return
    for path, step, target in known_steps(model):
        own = target.config.max_batch_size
        if own == 0 and may_complete_batching(target):
            raise Skip(f"the maximum batch of {target.name} is known only after auto-completion")
        if 0 < own < model.config.max_batch_size:
            yield model.finding(
                "max_batch_size",
                f"the ensemble allows {model.config.max_batch_size}, its step `{step.model_name}` only {own}",
                fix=f"write {own}, or raise it in {step.model_name}/config.pbtxt",
            )
        del path


@rule("ENS025", "step-without-batch", Severity.WARNING)
def step_without_batch(model: Model) -> Iterator[Found]:
    """## What it does
    Reports a batching ensemble with a step that does not batch and whose first dimension is not variable.

    ## Why is this bad?
    It loads and works with batch 1. The step's model gets the batch as an ordinary first dimension, so any other batch is
    answered with `unexpected shape for input … Expected [4], got [2,4]`.

    ## Example
    ```pbtxt
    # ensemble: max_batch_size 8, dims [ 4 ]; its step: max_batch_size 0, dims [ 4 ] instead of [ -1, 4 ]
    ```
    """
    if model.config.max_batch_size <= 1 or not model.config.HasField("ensemble_scheduling"):
        return
    for path, step, target in known_steps(model):
        if target.config.max_batch_size or may_complete_batching(target) or target.is_ensemble:
            continue
        for tensor in target.inputs:
            if tensor.name in step.input_map and tensor.dims and tensor.dims[0] != -1:
                yield model.finding(
                    f'{path}.input_map["{tensor.name}"]',
                    f"`{step.model_name}` does not batch and takes `{tensor.name}` as {list(tensor.dims)}: only one batch fits",
                    fix="let the step batch, or give it a leading -1 dimension, or set the ensemble's max_batch_size to 0",
                )


@rule(
    "ENS026",
    "merged-decoupled-branches",
    Severity.ERROR,
    triton="receives inputs originated from different decoupled models",
)
def merged_decoupled_branches(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that no step joins tensors that come from different decoupled steps, and that all outputs of the ensemble come
    from one.

    ## Why is this bad?
    Decoupled models answer a request with any number of responses; Triton cannot pair those of two, and refuses.

    ## Example
    ```pbtxt
    # step 1: decoupled, writes a · step 2: decoupled, writes b · step 3: reads a and b
    ```
    """
    if not model.config.HasField("ensemble_scheduling"):
        return
    decoupled = {path: target.config.model_transaction_policy.decoupled for path, _, target in known_steps(model)}
    if not any(decoupled.values()):
        return
    origin: dict[str, str] = {tensor.name: "" for tensor in model.inputs}
    every = steps(model)
    for index in model.flow.order:
        path, step = every[index]
        origins = {origin.get(tensor, "") for tensor in step.input_map.values()}
        if len(origins) > 1:
            message = f"`{step.model_name}` joins tensors that stem from different decoupled steps"
            yield model.finding(f"{path}.input_map", message, fix="take them from one branch")
        origin |= dict.fromkeys(step.output_map.values(), path if decoupled.get(path) else min(origins, default=""))
    if len({origin.get(tensor.name, "") for tensor in model.outputs}) > 1:
        yield model.finding(
            "output", "the outputs stem from different decoupled steps", fix="take them from one branch"
        )


@rule("ENS027", "batch-limit-unknown-to-clients", Severity.WARNING)
def batch_limit_unknown_to_clients(model: Model) -> Iterator[Found]:
    """## What it does
    Reports an ensemble with `max_batch_size: 0` whose input's first dimension becomes the batch of a batching step and may
    be above that step's limit.

    ## Why is this bad?
    It loads. The ensemble promises any size, and the step refuses what is above its own `max_batch_size`: the request fails
    (`inference request batch-size must be <= 4 for 'net'`), perhaps after other steps have worked on it.

    ## Example
    ```pbtxt
    # ensemble: max_batch_size 0, input dims [ -1, 3 ]; its step: max_batch_size 4, input dims [ 3 ]
    ```
    """
    if model.config.max_batch_size or not model.config.HasField("ensemble_scheduling"):
        return
    limits: dict[str, tuple[int, str]] = {}
    for _, step, target in known_steps(model):
        ranks = {tensor.name: len(tensor.dims) for tensor in target.inputs}
        for key, value in step.input_map.items():
            limit = (target.config.max_batch_size, target.name)
            if limit[0] and key in ranks:
                limits[f"{value}/{ranks[key] + 1}"] = min(limit, limits.get(f"{value}/{ranks[key] + 1}", limit))
    for index, tensor in enumerate(model.inputs):
        size, name = limits.get(f"{tensor.name}/{len(tensor.dims)}", (0, ""))
        if size and (tensor.dims[0] == -1 or tensor.dims[0] > size):
            yield model.finding(
                f"input[{index}].dims",
                f"the first dimension becomes the batch of `{name}`, which takes at most {size}",
                fix=f"let the ensemble batch: max_batch_size of at most {size}, and dims without the batch",
            )
