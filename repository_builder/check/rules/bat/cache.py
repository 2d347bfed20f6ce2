"""BAT020 to BAT022: the response cache and custom batching."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from repository_builder.check.inputs import Model
from repository_builder.check.rule import Found, Severity, Skip, rule


@rule("BAT020", "cache-of-sequences", Severity.ERROR, triton="Response Cache does not currently support model …")
def cache_of_sequences(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that `response_cache` is not enabled for a sequence-batching or decoupled model.

    ## Why is this bad?
    The answers of such models depend on more than the request; Triton refuses the combination.

    ## Example
    ```pbtxt
    model_transaction_policy { decoupled: true }
    response_cache { enable: true }
    ```
    """
    config = model.config
    if not config.response_cache.enable:
        return
    if config.HasField("sequence_batching"):
        reason = "sequence batching"
    elif config.model_transaction_policy.decoupled:
        reason = "a decoupled model"
    else:
        return
    yield model.finding("response_cache", f"the response cache does not support {reason}", fix="remove response_cache")


STRATEGY = "TRITON_BATCH_STRATEGY_PATH"


@rule(
    "BAT021",
    "strategy-for-sequences",
    Severity.ERROR,
    triton="TRITON_BATCH_STRATEGY_PATH cannot be specified with sequence batcher",
)
def strategy_for_sequences(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that a custom batching strategy is not combined with sequence batching.

    ## Why is this bad?
    Triton refuses the model.

    ## Example
    ```pbtxt
    sequence_batching { }
    parameters { key: "TRITON_BATCH_STRATEGY_PATH" value { string_value: "/models/m/strategy.so" } }
    ```
    """
    if STRATEGY in model.config.parameters and model.config.HasField("sequence_batching"):
        yield model.finding(
            f'parameters["{STRATEGY}"]',
            "a batching strategy does not go with sequence batching",
            fix="remove one of the two",
        )


@rule("BAT022", "missing-strategy-library", Severity.ERROR, requires=("BAT021",), triton="Batching library path …")
def missing_strategy_library(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that the library of a custom batching strategy exists and lies in the model's folder.

    ## Why is this bad?
    Triton refuses a path that leads nowhere or out of the model's folder.

    ## Example
    ```pbtxt
    parameters { key: "TRITON_BATCH_STRATEGY_PATH" value { string_value: "strategy.so" } }
    ```
    """
    if STRATEGY not in model.config.parameters:
        return
    value = model.config.parameters[STRATEGY].string_value
    path = Path(value)
    if not path.is_absolute():
        message = f"`{value}` is relative: the server takes it from its own working directory"
    elif path.name in model.files:
        return
    elif not any(path.parts[-2:] == (folder, path.name) for folder in (model.name, *model.folders)):
        message = f"`{value}` does not lie in the model's folder"
    elif any((model.path / folder / path.name).is_file() for folder in model.folders):
        return
    else:
        raise Skip(f"`{value}` is a path on the server")
    yield model.finding(
        f'parameters["{STRATEGY}"]', message, fix="put the library into the model's folder and write its absolute path"
    )
