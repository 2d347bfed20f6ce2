"""TRT050 to TRT055: CUDA graphs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from repository_builder.check.inputs import Model, Version
from repository_builder.check.rule import Found, Severity, Skip, rule
from repository_builder.check.rules.trt.engine import listed
from repository_builder.check.rules.trt.settings import is_trt


def specs(model: Model) -> Iterator[tuple[str, Any]]:
    """(field path, spec) of every graph spec."""
    for index, spec in enumerate(model.config.optimization.cuda.graph_spec):
        yield f"optimization.cuda.graph_spec[{index}]", spec


def _captures(model: Model) -> bool:
    return is_trt(model) and bool(model.config.optimization.cuda.graphs)


@rule("TRT050", "graph-batch-out-of-range", Severity.ERROR, requires=("CFG021",))
def graph_batch_out_of_range(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that the batch of a CUDA-graph spec, and of its lower bound, lies between 1 and `max_batch_size` (is 0 or 1 without
    batching), and that the lower bound is not above the spec.

    ## Why is this bad?
    The backend does not load the model. `graph_lower_bound { }` means batch 0.

    ## Example
    ```pbtxt
    max_batch_size: 8
    optimization { cuda { graphs: true graph_spec [ { batch_size: 8 graph_lower_bound { } } ] } }
    ```
    """
    if not _captures(model):
        return
    maximum = model.config.max_batch_size
    if maximum == 0 and model.host.auto_complete:
        raise Skip(f"the maximum batch of {model.name} is known only after auto-completion")
    for path, spec in specs(model):
        low, high = (1, maximum) if maximum > 0 else (0, 0)
        if not low <= spec.batch_size <= high:
            message = f"batch {spec.batch_size} is outside {low} to {high}"
            yield model.finding(f"{path}.batch_size", message, fix="write a batch that the model takes")
        if spec.HasField("graph_lower_bound"):
            bound = spec.graph_lower_bound.batch_size
            if not low <= bound <= high or bound > spec.batch_size:
                message = f"the lower bound's batch {bound} is outside {low} to {spec.batch_size}"
                yield model.finding(f"{path}.graph_lower_bound.batch_size", message, fix="write the smallest batch")


@rule("TRT051", "graph-bound-differs", Severity.ERROR, requires=("TRT050",))
def graph_bound_differs(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that a lower bound lists every input of its spec, with the same rank and no larger sizes.

    ## Why is this bad?
    The backend does not load the model.

    ## Example
    ```pbtxt
    graph_spec [ { batch_size: 4 input { key: "x" value { dim: [ 128 ] } } graph_lower_bound { batch_size: 1 } } ]
    ```
    """
    if not _captures(model):
        return
    for path, spec in specs(model):
        if not spec.HasField("graph_lower_bound"):
            continue
        for name, shape in spec.input.items():
            field = f"{path}.graph_lower_bound"
            bound = spec.graph_lower_bound.input.get(name) if name in spec.graph_lower_bound.input else None
            if bound is None:
                yield model.finding(field, f"the lower bound lacks input `{name}`", fix="add it")
            elif len(bound.dim) != len(shape.dim) or any(
                b > s or b < 0 for b, s in zip(bound.dim, shape.dim, strict=False)
            ):
                message = f"the lower bound {list(bound.dim)} of `{name}` does not fit {list(shape.dim)}"
                yield model.finding(f'{field}.input["{name}"]', message, fix="same rank, sizes from 0 to the spec's")


@rule("TRT052", "graph-spec-without-graphs", Severity.WARNING)
def graph_spec_without_graphs(model: Model) -> Iterator[Found]:
    """## What it does
    Reports `graph_spec` without `graphs: true`.

    ## Why is this bad?
    Nothing is captured: the specs are not even looked at.

    ## Example
    ```pbtxt
    optimization { cuda { graph_spec [ { batch_size: 8 } ] } }
    ```
    """
    cuda = model.config.optimization.cuda
    if cuda.graph_spec and not cuda.graphs and not model.is_ensemble:
        yield model.finding(
            "optimization.cuda.graph_spec", "`graphs` is not true: no graph is captured", fix="add graphs: true"
        )


@rule("TRT053", "graphs-without-batching", Severity.WARNING)
def graphs_without_batching(model: Model) -> Iterator[Found]:
    """## What it does
    Reports CUDA graphs of a TensorRT model that does not batch.

    ## Why is this bad?
    The graph is captured for batch 0 and looked up for batch 1 (seen in 24.05 to 26.08): it costs memory and is never
    launched.

    ## Example
    ```pbtxt
    max_batch_size: 0
    optimization { cuda { graphs: true } }
    ```
    """
    if _captures(model) and model.config.max_batch_size == 0 and model.parsed.has("max_batch_size"):
        yield model.finding(
            "optimization.cuda.graphs",
            "without batching graphs are captured and never used",
            fix="set max_batch_size to 1",
        )


@rule("TRT054", "graphs-for-two-batches-only", Severity.WARNING)
def graphs_for_two_batches_only(model: Model) -> Iterator[Found]:
    """## What it does
    Reports `graphs: true` with a dynamic batcher, without preferred sizes and without specs, on a model with larger batches.

    ## Why is this bad?
    Graphs are then captured for batch 1 and for `max_batch_size` only, and for the profile's optimal sizes. A batch of any
    other size runs without a graph.

    ## Example
    ```pbtxt
    max_batch_size: 16
    dynamic_batching { }
    optimization { cuda { graphs: true } }
    ```
    """
    batching = model.config.dynamic_batching
    unspecified = not batching.preferred_batch_size and not model.config.optimization.cuda.graph_spec
    if (
        _captures(model)
        and model.config.HasField("dynamic_batching")
        and unspecified
        and model.config.max_batch_size > 2
    ):
        message = f"graphs exist for batches 1 and {model.config.max_batch_size} only"
        yield model.finding("optimization.cuda.graphs", message, fix="list the batches that matter in graph_spec")


@rule("TRT055", "graph-that-never-matches", Severity.WARNING, requires=("TRT050", "TRT051", "TRT020"))
def graph_that_never_matches(version: Version) -> Iterator[Found]:
    """## What it does
    Checks that every CUDA-graph spec lists exactly the engine's inputs, with a shape that a listed profile takes, and that
    the engine has no shape tensors.

    ## Why is this bad?
    A spec that cannot be captured is only logged; requests run without a graph.

    ## Example
    ```pbtxt
    graph_spec [ { batch_size: 8 input { key: "image" value { dim: [ 3, 640, 640 ] } } } ]      # the profile ends at 512
    ```
    """
    model = version.model
    if not _captures(model) or not model.config.optimization.cuda.graph_spec:
        return
    engine = version.engine
    names = {tensor.name for tensor in engine.inputs}
    if any(tensor.is_shape_tensor for tensor in engine.inputs):
        message = "an engine with shape tensors is never captured"
        yield version.finding("optimization.cuda.graph_spec", message, fix="remove CUDA graphs")
        return
    numbers = sorted({number for _, group in listed(model, engine) for number in group})
    for path, spec in specs(model):
        if set(spec.input) != names:
            odd = ", ".join(sorted(set(spec.input) ^ names))
            yield version.finding(
                f"{path}.input", f"the spec must list exactly the engine's inputs (see {odd})", fix="equal them"
            )
            continue
        shapes = {name: [spec.batch_size, *shape.dim] for name, shape in spec.input.items()}
        if not any(_takes(engine.profiles[number], shapes) for number in numbers):
            message = f"no listed profile takes {', '.join(f'{name} {shape}' for name, shape in shapes.items())}"
            yield version.finding(path, message, fix="use a shape inside a listed profile")


def _takes(profile: Any, shapes: dict[str, list[int]]) -> bool:
    return all(
        name in profile
        and len(shape) == len(profile[name].min)
        and all(
            low <= size <= high for low, size, high in zip(profile[name].min, shape, profile[name].max, strict=True)
        )
        for name, shape in shapes.items()
    )
