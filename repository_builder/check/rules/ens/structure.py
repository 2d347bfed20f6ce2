"""ENS001 to ENS006: what an ensemble is made of."""

from __future__ import annotations

from collections.abc import Iterator

from repository_builder.check.inputs import Model
from repository_builder.check.rule import Found, Severity, rule


@rule("ENS001", "ensemble-without-scheduling", Severity.ERROR, triton="ensemble scheduling must be set for ensemble …")
def ensemble_without_scheduling(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that a model with `platform: "ensemble"` has `ensemble_scheduling`.

    ## Why is this bad?
    Its steps are what an ensemble consists of; Triton refuses it. (`dynamic_batching` on an ensemble takes the place of
    `ensemble_scheduling`: batches are formed by the steps.)

    ## Example
    ```pbtxt
    platform: "ensemble"
    dynamic_batching { }
    ```
    """
    config = model.config
    if config.platform == "ensemble" and not config.HasField("ensemble_scheduling") and not config.backend:
        other = config.WhichOneof("scheduling_choice")
        message = f"an ensemble has steps, not `{other}`" if other else "the ensemble has no steps"
        yield model.finding(other or "platform", message, fix="add `ensemble_scheduling { step [ … ] }`")


@rule(
    "ENS002",
    "scheduling-without-ensemble",
    Severity.ERROR,
    requires=("CFG015",),
    triton="ensemble scheduling cannot be set for model '…' whose platform is not ensemble",
)
def scheduling_without_ensemble(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that a model with `ensemble_scheduling` has `platform: "ensemble"`.

    ## Why is this bad?
    Triton takes it for a model of some backend and refuses it.

    ## Example
    ```pbtxt
    backend: "python"
    ensemble_scheduling { step [ ] }
    ```
    """
    if model.config.HasField("ensemble_scheduling") and model.config.platform != "ensemble":
        field = "platform" if model.config.platform else "ensemble_scheduling"
        yield model.finding(
            field, "only an ensemble has ensemble_scheduling", fix='write platform: "ensemble" and no backend'
        )


_FORBIDDEN = {
    "instance_group": "instance group should not be specified for ensemble",
    "optimization": "optimization should not be specified for ensemble",
    "model_warmup": "model_warmup can not be specified for ensemble",
}


@rule("ENS003", "field-of-a-step", Severity.ERROR, triton="should not be specified for ensemble '…'")
def field_of_a_step(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that an ensemble has no `instance_group`, `optimization` or `model_warmup`.

    ## Why is this bad?
    An ensemble runs nothing itself: these belong to its steps, and Triton refuses them here.

    ## Example
    ```pbtxt
    platform: "ensemble"
    instance_group [ { count: 2 } ]
    ```
    """
    if not model.config.HasField("ensemble_scheduling"):
        return
    for field in _FORBIDDEN:
        if model.parsed.has(field):
            yield model.finding(field, f"an ensemble has no `{field}`", fix="move it to the step's model, or remove it")


@rule("ENS004", "ensemble-without-step", Severity.ERROR, triton="must specify 'step' for ensemble '…'")
def ensemble_without_step(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that an ensemble has at least one step.

    ## Why is this bad?
    Triton refuses it.

    ## Example
    ```pbtxt
    ensemble_scheduling { step [ ] }
    ```
    """
    if model.config.HasField("ensemble_scheduling") and not model.config.ensemble_scheduling.step:
        yield model.finding("ensemble_scheduling", "the ensemble has no steps", fix="add a step")


@rule("ENS005", "incomplete-step", Severity.ERROR, triton="must specify '…' in step … of ensemble '…'")
def incomplete_step(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that every step has `model_name`, `input_map` and `output_map`.

    ## Why is this bad?
    Triton refuses the ensemble.

    ## Example
    ```pbtxt
    ensemble_scheduling { step [ { model_name: "net" model_version: -1 } ] }
    ```
    """
    for index, step in enumerate(model.config.ensemble_scheduling.step):
        for field in ("model_name", "input_map", "output_map"):
            if not getattr(step, field):
                path = f"ensemble_scheduling.step[{index}].{field}"
                yield model.finding(path, f"step {index} has no `{field}`", fix=f"add {field}")
