"""ENS030 to ENS036: how ensemble tensors fit the inputs and outputs of the steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from repository_builder.check.inputs import Model, dtype_name
from repository_builder.check.rule import Found, Severity, Skip, rule
from repository_builder.check.rules.bat.dynamic import may_complete_batching
from repository_builder.check.rules.ens.steps import known_steps
from repository_builder.errors import nearest


@dataclass(frozen=True)
class Side:
    """One end of an edge: an ensemble's or a step's tensor."""

    owner: str
    dtype: int
    dims: tuple[int, ...]
    batching: bool | None
    """Is there a batch dimension before `dims`? None: not known."""

    @property
    def full(self) -> tuple[int, ...]:
        """Dims with the batch."""
        return (-1, *self.dims) if self.batching else self.dims

    def fits(self, other: Side) -> bool:
        """Triton's comparison: without, then with the batch dimension; -1 fits everything."""
        if _fit(self.dims, other.dims) or _fit(self.full, other.full):
            return True
        if None not in (self.batching, other.batching):
            return False
        ours = (self.dims, (-1, *self.dims)) if self.batching is None else (self.full,)
        theirs = (other.dims, (-1, *other.dims)) if other.batching is None else (other.full,)
        return any(_fit(one, two) for one in ours for two in theirs)


def _fit(one: tuple[int, ...], two: tuple[int, ...]) -> bool:
    return len(one) == len(two) and all(a == b or -1 in (a, b) for a, b in zip(one, two, strict=True))


def _lists(target: Model, side: str) -> dict[str, Any] | None:
    """Name → tensor of a step's model as Triton will see it; None if only auto-completion knows."""
    tensors = {tensor.name: tensor for tensor in getattr(target, f"{side}s")}
    complete = bool(tensors) and all(tensor.data_type and tensor.dims for tensor in tensors.values())
    if complete and target.backend != "python":
        return tensors
    open_ = target.backend in ("python", "") and target.host.auto_complete and not target.is_ensemble
    if not complete or (open_ and any(version.may_complete for version in target.served)):
        return None
    return tensors


@rule("ENS030", "unknown-step-input", Severity.ERROR, triton="is mapping to non-existing input …")
def unknown_step_input(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that the *keys* of `input_map` are inputs of the step's model.

    ## Why is this bad?
    Triton refuses the ensemble. A frequent slip: key and value are swapped (the value names the ensemble's tensor).

    ## Example
    ```pbtxt
    step [ { model_name: "net" input_map { key: "image" value: "x" } … } ]      # net's input is x
    ```
    """
    yield from _unknown(model, "input")


@rule("ENS031", "unknown-step-output", Severity.ERROR, triton="is mapped from non-existing output …")
def unknown_step_output(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that the *keys* of `output_map` are outputs of the step's model.

    ## Why is this bad?
    Triton refuses the ensemble. A frequent slip: key and value are swapped (the value names the ensemble's tensor).

    ## Example
    ```pbtxt
    step [ { model_name: "net" output_map { key: "scores" value: "y" } … } ]    # net's output is y
    ```
    """
    yield from _unknown(model, "output")


def _unknown(model: Model, side: str) -> Iterator[Found]:
    for path, step, target in known_steps(model):
        tensors = _lists(target, side)
        if tensors is None:
            raise Skip(f"the {side}s of {target.name} are known only after auto-completion")
        mapping = getattr(step, f"{side}_map")
        for key, value in mapping.items():
            if key not in tensors:
                hint = " (key and value are swapped)" if value in tensors else nearest(key, tensors)
                message = f"`{step.model_name}` has no {side} `{key}`{hint}"
                yield model.finding(
                    f'{path}.{side}_map["{key}"]', message, fix=f"the key is one of {', '.join(tensors)}"
                )


@rule(
    "ENS032",
    "unmapped-step-input",
    Severity.ERROR,
    requires=("ENS005", "ENS030"),
    triton="is not mapped to any ensemble tensors",
)
def unmapped_step_input(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that every input of a step's model that is not optional is mapped.

    ## Why is this bad?
    Triton refuses the ensemble.

    ## Example
    ```pbtxt
    step [ { model_name: "add" input_map { key: "a" value: "x" } … } ]      # add also has an input b
    ```
    """
    for path, step, target in known_steps(model):
        tensors = _lists(target, "input")
        if tensors is None:
            raise Skip(f"the inputs of {target.name} are known only after auto-completion")
        for name, tensor in tensors.items():
            if name not in step.input_map and not tensor.optional:
                message = f"input `{name}` of `{step.model_name}` is not mapped"
                yield model.finding(f"{path}.input_map", message, fix=f'add input_map {{ key: "{name}" value: "…" }}')


def edges(model: Model) -> Iterator[tuple[str, str, Side, Side]]:
    """(field path, ensemble tensor, what is known of it first, what this step says) in Triton's order."""
    known: dict[str, Side] = {}
    batching = model.config.max_batch_size > 0
    for tensor in (*model.inputs, *model.outputs):
        dims = tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims
        if tensor.data_type and tensor.dims:
            known.setdefault(tensor.name, Side(f"ensemble `{model.name}`", tensor.data_type, tuple(dims), batching))
    for path, step, target in known_steps(model):
        for side in ("input", "output"):
            tensors = _lists(target, side) or {}
            for key, value in getattr(step, f"{side}_map").items():
                tensor = tensors.get(key)
                if tensor is None or not tensor.data_type or not tensor.dims:
                    continue
                own = Side(f"`{target.name}`", tensor.data_type, tuple(tensor.dims), _batching(target))
                if value in known:
                    yield f'{path}.{side}_map["{key}"]', value, known[value], own
                else:
                    known[value] = own


def _batching(target: Model) -> bool | None:
    if target.config.max_batch_size > 0:
        return True
    return None if may_complete_batching(target) else False


@rule(
    "ENS033",
    "type-differs-along-edge",
    Severity.ERROR,
    triton="inconsistent data type: … is inferred from model … while … is inferred from model …",
)
def type_differs_along_edge(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that all who write and read an ensemble tensor give it the same data type.

    ## Why is this bad?
    Triton converts nothing and refuses the ensemble.

    ## Example
    ```pbtxt
    # ensemble input x: TYPE_UINT8; mapped to an input of type TYPE_FP32
    ```
    """
    for path, tensor, one, two in edges(model):
        if one.dtype != two.dtype:
            message = (
                f"`{tensor}` is {dtype_name(one.dtype)} for {one.owner} and {dtype_name(two.dtype)} for {two.owner}"
            )
            yield model.finding(path, message, fix="give both the same type, or convert in a step between")


@rule(
    "ENS034",
    "shape-differs-along-edge",
    Severity.ERROR,
    triton="inconsistent shape: … is inferred from model … while … is inferred from model …",
)
def shape_differs_along_edge(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that all who write and read an ensemble tensor give it the same rank and sizes, where -1 fits everything; first
    without the batch, then with it (so that a step without batching may take `[ -1, 3 ]` where others take `[ 3 ]`).

    ## Why is this bad?
    Triton refuses the ensemble.

    ## Example
    ```pbtxt
    # ensemble input x: dims [ 3, 224, 224 ]; mapped to an input with dims [ 224, 224, 3 ]
    ```
    """
    for path, tensor, one, two in edges(model):
        if not one.fits(two):
            message = f"`{tensor}` is {list(one.full)} for {one.owner} and {list(two.full)} for {two.owner}"
            yield model.finding(path, message, fix="make rank and sizes agree; -1 fits any size")


@rule("ENS035", "optional-input-of-a-step-that-needs-it", Severity.WARNING)
def optional_input_of_a_step_that_needs_it(model: Model) -> Iterator[Found]:
    """## What it does
    Reports an ensemble input marked `optional` that leads to an input which is not.

    ## Why is this bad?
    The ensemble loads, and fails whenever a client makes use of the option.

    ## Example
    ```pbtxt
    # ensemble input: { name: "mask" … optional: true }; the step's input mask is not optional
    ```
    """
    optional = {tensor.name for tensor in model.inputs if tensor.optional}
    if not optional or not model.config.HasField("ensemble_scheduling"):
        return
    for path, step, target in known_steps(model):
        needed = {tensor.name for tensor in target.inputs if not tensor.optional}
        for key, value in step.input_map.items():
            if value in optional and key in needed:
                message = f"`{value}` is optional, but `{step.model_name}` needs `{key}`"
                yield model.finding(
                    f'{path}.input_map["{key}"]', message, fix="remove `optional`, or mark the step's input"
                )


@rule("ENS036", "two-outputs-of-one-name", Severity.ERROR, triton="are mapped to the same ensemble tensor …")
def two_outputs_of_one_name(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that an output that an ensemble maps exists only once in the step's model.

    ## Why is this bad?
    Two outputs of one name would both write the same ensemble tensor; Triton refuses the ensemble.

    ## Example
    ```pbtxt
    # net: output [ { name: "y" … }, { name: "y" … } ]; ensemble: output_map { key: "y" value: "scores" }
    ```
    """
    for path, step, target in known_steps(model):
        names = [tensor.name for tensor in target.outputs]
        for key in step.output_map:
            if names.count(key) > 1:
                message = f"`{step.model_name}` has {names.count(key)} outputs called `{key}`"
                yield model.finding(
                    f'{path}.output_map["{key}"]', message, fix=f"remove one in {step.model_name}/config.pbtxt"
                )
