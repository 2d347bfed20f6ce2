"""WRM010 and WRM011: the data of warm-up samples."""

from __future__ import annotations

from collections.abc import Iterator

from repository_builder.check.inputs import Model
from repository_builder.check.rule import Found, Severity, rule
from repository_builder.check.rules.seq.state import file_findings
from repository_builder.check.rules.wrm.samples import tensors


@rule(
    "WRM010", "missing-warmup-file", Severity.ERROR, requires=("WRM001",), triton="failed to open text file for read …"
)
def missing_warmup_file(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that an `input_data_file` lies in the model's folder `warmup` and is long enough for type and dims.

    ## Why is this bad?
    Triton refuses the model.

    ## Example
    ```pbtxt
    model_warmup [ { batch_size: 1 inputs { key: "x" value {
      data_type: TYPE_FP32 dims: [ 3 ] input_data_file: "x.raw" } } } ]      # and no warmup/x.raw
    ```
    """
    for path, _, given, _ in tensors(model):
        if given.WhichOneof("input_data_type") == "input_data_file":
            file = model.path / "warmup" / given.input_data_file
            yield from file_findings(model, f"{path}.input_data_file", file, given)


@rule("WRM011", "false-means-zeros", Severity.WARNING)
def false_means_zeros(model: Model) -> Iterator[Found]:
    """## What it does
    Reports `zero_data: false` and `random_data: false`.

    ## Why is this bad?
    Triton looks at which field is given, not at its value: `zero_data: false` still means zeros.

    ## Example
    ```pbtxt
    model_warmup [ { batch_size: 1 inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 3 ] zero_data: false } } } ]
    ```
    """
    for path, _, given, _ in tensors(model):
        field = given.WhichOneof("input_data_type")
        if field in ("zero_data", "random_data") and not getattr(given, field):
            meant = "zeros" if field == "zero_data" else "random values"
            yield model.finding(f"{path}.{field}", f"`{field}: false` still means {meant}", fix=f"write {field}: true")
