"""Configurations against graphs, as Triton's own ONNX Runtime backend judges them."""

from __future__ import annotations

from typing import Any

import onnx
import onnxruntime
import pytest

from python_backends.backends.onnxruntime.onnx_config import Config, Graph, Refused, check, complete
from python_backends.backends.onnxruntime.onnx_session import intra_op_threads

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
NEGATE = "g (float[N,4] x) => (float[N,4] y) { y = Neg(x) }"
FIXED = "g (float[2,4] x) => (float[2,4] y) { y = Neg(x) }"
LONG = "g (float[N,T] x) => (float[N,T] y) { y = Neg(x) }"
TWO = "g (float[N,4] x, float[N,4] z) => (float[N,4] y) { y = Add(x, z) }"
SCALAR = "g (float[N,4] x, float s) => (float[N,4] y) { y = Mul(x, s) }"
OVERRIDABLE = "g (float[N,4] x, float[1] s = {2}) => (float[N,4] y) { y = Mul(x, s) }"


def graph(text: str) -> Graph:
    model = onnx.parser.parse_model(HEAD + text).SerializeToString()
    return Graph.of(onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]))


def tensor(name: str = "x", dims: list[int] | None = None, kind: str = "FP32", **more: Any) -> dict[str, Any]:
    return {"name": name, "data_type": f"TYPE_{kind}", "dims": [4] if dims is None else dims} | more


def config(inputs: Any = None, outputs: Any = None, batch: int = 8, **more: Any) -> Config:
    given = {"input": inputs or [tensor()], "output": outputs or [tensor("y")]}
    return {"name": "m", "max_batch_size": batch} | given | more


@pytest.mark.parametrize(
    ("text", "given"),
    [
        (NEGATE, config()),
        (NEGATE, config([tensor(dims=[-1, 4])], [tensor("y", [-1, 4])], 0)),
        (NEGATE, config([tensor(dims=[3, 4])], [tensor("y", [-1, 4])], 0)),
        (LONG, config([tensor(dims=[7])], [tensor("y", [-1])])),
        (FIXED, config([tensor(dims=[2, 4])], [tensor("y", [2, 4])], 0)),
        (NEGATE, config([tensor(dims=[2, 2], reshape={"shape": [4]})])),
        (SCALAR, config([tensor(dims=[-1, 4]), tensor("s", [1])], [tensor("y", [-1, 4])], 0)),
        (OVERRIDABLE, config([tensor(dims=[-1, 4]), tensor("s", [1], optional=True)], [tensor("y", [-1, 4])], 0)),
        (NEGATE, config([tensor(dims=["4"])])),
    ],
)
def test_what_agrees_is_accepted(text: str, given: Config) -> None:
    check(given, graph(text))


@pytest.mark.parametrize(
    ("text", "given", "message"),
    [
        (
            NEGATE,
            config([tensor(kind="FP16")]),
            "unable to load model 'm', configuration expects datatype TYPE_FP16 for input 'x', model provides TYPE_FP32",
        ),
        (NEGATE, config(outputs=[tensor("y", kind="INT8")]), "TYPE_INT8 for output 'y', model provides TYPE_FP32"),
        (NEGATE, config([tensor("z")]), "unexpected inference input 'z', allowed inputs are: x"),
        (NEGATE, config(outputs=[tensor("z")]), "unexpected inference output 'z', allowed outputs are: y"),
        (TWO, config(), "configuration expects 1 inputs, model provides 2"),
        (
            NEGATE,
            config([tensor(dims=[5])]),
            "model 'm', tensor 'x': the model expects 2 dimensions (shape [-1,4]) but the model configuration specifies "
            "2 dimensions (an initial batch dimension because max_batch_size > 0 followed by the explicit tensor shape, "
            "making complete shape [-1,5])",
        ),
        (NEGATE, config([tensor(dims=[-1])]), "making complete shape [-1,-1])"),
        (LONG, config(outputs=[tensor("y", [4])]), "tensor 'y': the model expects 2 dimensions (shape [-1,-1])"),
        (NEGATE, config(batch=0), "(shape [-1,4]) but the model configuration specifies 1 dimensions (shape [4])"),
        (FIXED, config(), "the first dimension must be -1; but shape expected by the model is [2,4]"),
        (
            SCALAR,
            config([tensor(dims=[-1, 4]), tensor("s", [2])], [tensor("y", [-1, 4])], 0),
            "should only provide 1 in the model configuration",
        ),
        (
            OVERRIDABLE,
            config([tensor(), tensor("s", [1], optional=True)]),
            "optional input 's' is not supported for models that support batching",
        ),
        (NEGATE, config([tensor(allow_ragged_batch=True)]), "ragged input 'x' is not supported by the embedded"),
        (NEGATE, config(sequence_batching={"x": 1}), "`sequence_batching` is not supported by the embedded"),
        (
            "g (bfloat16[N,4] x) => (bfloat16[N,4] y) { y = Identity(x) }",
            config([tensor(kind="BF16")]),
            "unsupported datatype tensor(bfloat16) for input 'x'",
        ),
    ],
)
def test_what_disagrees_is_refused(text: str, given: Config, message: str) -> None:
    with pytest.raises(Refused) as refusal:
        check(given, graph(text))
    assert message in str(refusal.value)


def test_only_missing_lists_are_completed() -> None:
    given: Config = {"name": "m", "max_batch_size": 0, "input": [tensor()], "output": []}
    complete(given, graph(NEGATE))
    assert given["input"] == [tensor()]
    assert given["output"] == [tensor("y")]
    assert given["max_batch_size"] == 4
    whole = config(batch=0)
    complete(whole, graph(NEGATE))
    assert whole == config(batch=0), "with both lists given nothing is touched"


def test_completion_leaves_a_scheduler_alone_and_adds_none_for_a_batch_of_one() -> None:
    given = {"name": "m", "max_batch_size": 1, "input": [], "output": []}
    complete(given, graph(NEGATE))
    assert "dynamic_batching" not in given
    given = {"name": "m", "max_batch_size": 8, "input": [], "output": [], "sequence_batching": {}}
    complete(given, graph(NEGATE))
    assert "dynamic_batching" not in given


def test_a_batch_for_a_fixed_graph_cannot_be_completed() -> None:
    given = {"name": "m", "max_batch_size": 4, "input": [], "output": []}
    with pytest.raises(Refused, match="autofill failed for model 'm': model does not support batching"):
        complete(given, graph(FIXED))


def test_threads_are_shared_by_the_instances() -> None:
    groups = {"instance_group": [{"count": 2}, {"count": 1}]}
    assert intra_op_threads(groups, 12) == 4
    assert intra_op_threads(groups, 2) == 1
    assert intra_op_threads({}, 2) == 2
    assert intra_op_threads(groups | {"parameters": {"intra_op_thread_count": {"string_value": "5"}}}, 12) == 5
