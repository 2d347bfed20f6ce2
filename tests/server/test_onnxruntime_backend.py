"""The Python-based backend `onnxruntime`, in the real embedded server: what it completes, refuses, merges and answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from repository_builder.serving.server import Server, serve
from tests.server.kit import executions, infer, infer_all, strings, write_onnx

pytestmark = pytest.mark.server

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
ADD_ONE = HEAD + "g (float[N,4] x) => (float[N,4] y) { one = Constant<value: tensor = float {1}>() y = Add(x, one) }"
FIXED = HEAD + "g (float[2,4] x) => (float[2,4] y) { y = Neg(x) }"
FLAT = HEAD + "g (float[N] x) => (float[N] y) { y = Neg(x) }"
TWO = (
    HEAD
    + "g (float[N,4] a, float[N,4] b) => (float[N,4] sum, float[N,4] difference) { sum = Add(a, b) difference = Sub(a, b) }"
)
LONG = HEAD + "g (float[N,T] x) => (float[N,T] y) { y = Neg(x) }"
PICK = HEAD + "g (float[N,4] x, int64[N,1] index) => (float[N,1] y) { y = GatherElements<axis = 1>(x, index) }"
X = "input [{ name: 'x' data_type: TYPE_FP32 dims: [4] }]\n"
Y = "output [{ name: 'y' data_type: TYPE_FP32 dims: [4] }]\n"
BATCHED = "max_batch_size: 8\n" + X + Y
THREADS = "max_batch_size: 8 parameters {{ key: 'intra_op_thread_count' value {{ string_value: '{}' }} }}"

ACCEPTED = {
    "complete_batched": (ADD_ONE, ""),
    "complete_sixteen": (ADD_ONE, "max_batch_size: 16"),
    "complete_output": (ADD_ONE, "max_batch_size: 2\n" + X),
    "complete_fixed": (FIXED, ""),
    "complete_flat": (FLAT, ""),
    "narrowed": (LONG, "max_batch_size: 4\n" + X + Y.replace("[4]", "[-1]")),
    "merging": (
        ADD_ONE,
        BATCHED + "dynamic_batching { preferred_batch_size: [8] max_queue_delay_microseconds: 300000 }",
    ),
    "two": (
        TWO,
        "max_batch_size: 8\ninput [{ name: 'a' data_type: TYPE_FP32 dims: [4] }, { name: 'b' data_type: TYPE_FP32 dims: [4] }]"
        "\noutput [{ name: 'difference' data_type: TYPE_FP32 dims: [4] }]",
    ),
    "two_outputs": (TWO, ""),
    "pick": (PICK, "max_batch_size: 8"),
    "one_thread": (ADD_ONE, THREADS.format(1)),
    "three_threads": (ADD_ONE, THREADS.format(3)),
    "unbatched": (ADD_ONE, X.replace("[4]", "[-1, 4]") + Y.replace("[4]", "[-1, 4]")),
}
# One of each road to a refusal; all cases: tests/unit/python_backends/test_onnx_config.py.
REFUSED = {
    "batch_of_fixed": (FIXED, "max_batch_size: 4", "does not support batching while non-zero max_batch_size"),
    "input_name": (ADD_ONE, BATCHED.replace("'x'", "'z'"), "unexpected inference input 'z', allowed inputs are: x"),
    "threads": (
        ADD_ONE,
        BATCHED + "parameters { key: 'intra_op_thread_count' value { string_value: 'many' } }",
        "`intra_op_thread_count` must be a whole number, not `many`",
    ),
}
TYPES = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "INT8": np.int8,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP64": np.float64,
    "STRING": np.object_,
}
ONNX_TYPES = {"FP16": "float16", "FP64": "double"}


def every_type() -> str:
    kinds = {dtype: ONNX_TYPES.get(dtype, dtype.lower()) for dtype in TYPES}
    inputs = ", ".join(f"{kind}[N,2] x_{dtype}" for dtype, kind in kinds.items())
    outputs = ", ".join(f"{kind}[N,2] y_{dtype}" for dtype, kind in kinds.items())
    return f"{HEAD}g ({inputs}) => ({outputs}) {{ {' '.join(f'y_{d} = Identity(x_{d})' for d in kinds)} }}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    repository = tmp_path_factory.mktemp("onnxruntime") / "repository"
    for name, (graph, config) in ACCEPTED.items():
        write_onnx(repository, name, graph, config)
    for name, (graph, config, _) in REFUSED.items():
        write_onnx(repository, name, graph, config)
    write_onnx(repository, "types", every_type(), "")
    write_onnx(repository, "absent", ADD_ONE, BATCHED + "default_model_filename: 'other.onnx'")
    wanted = [f"--load-model={name}" for name in (*ACCEPTED, "types")]
    with serve(repository, control="explicit", auto_complete=True, graceful=False, extra_args=wanted) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> triton.InferenceServerClient:
    return triton.InferenceServerClient(server.grpc)


def test_a_missing_config_is_completed(client: triton.InferenceServerClient) -> None:
    config = client.get_model_config("complete_batched").config
    assert config.max_batch_size == 4, "Triton's default-max-batch-size"
    assert config.HasField("dynamic_batching")
    assert [(t.name, list(t.dims)) for t in (*config.input, *config.output)] == [("x", [4]), ("y", [4])]


def test_what_is_given_stays(client: triton.InferenceServerClient) -> None:
    assert client.get_model_config("complete_sixteen").config.max_batch_size == 16
    assert [t.name for t in client.get_model_config("complete_output").config.output] == ["y"]
    assert [t.name for t in client.get_model_config("two_outputs").config.output] == ["sum", "difference"]


def test_a_fixed_batch_is_completed_without_batching(client: triton.InferenceServerClient) -> None:
    config = client.get_model_config("complete_fixed").config
    assert config.max_batch_size == 0
    assert list(config.input[0].dims) == [2, 4]
    ones = np.ones((2, 4), np.float32)
    np.testing.assert_array_equal(infer(client, "complete_fixed", {"x": ones})["y"], -ones)


def test_a_tensor_of_nothing_but_a_batch_gets_a_reshape(client: triton.InferenceServerClient) -> None:
    config = client.get_model_config("complete_flat").config
    assert list(config.input[0].dims) == [1]
    assert config.input[0].HasField("reshape")
    values = np.arange(3, dtype=np.float32).reshape(3, 1)
    np.testing.assert_array_equal(infer(client, "complete_flat", {"x": values})["y"], -values)


@pytest.mark.parametrize("model", REFUSED)
def test_a_config_that_disagrees_is_refused(client: triton.InferenceServerClient, model: str) -> None:
    with pytest.raises(InferenceServerException) as refusal:
        client.load_model(model)
    assert REFUSED[model][2] in str(refusal.value)


def test_a_missing_graph_is_named(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match=r"unable to find .*other\.onnx"):
        client.load_model("absent")


def test_every_type_comes_back_as_it_went(client: triton.InferenceServerClient) -> None:
    config = client.get_model_config("types").config
    types = {tensor.name: triton.model_config_pb2.DataType.Name(tensor.data_type) for tensor in config.input}
    assert types == {f"x_{dtype}": f"TYPE_{dtype}" for dtype in TYPES}
    values = {f"x_{dtype}": np.array([[0, 1], [1, 0], [1, 1]]).astype(kind) for dtype, kind in TYPES.items()}
    values["x_STRING"] = strings("grün", b"\x00", "").repeat(2, 1)
    answers = infer(client, "types", values)
    for dtype in TYPES.keys() - {"STRING"}:
        assert answers[f"y_{dtype}"].dtype == TYPES[dtype]
        np.testing.assert_array_equal(answers[f"y_{dtype}"], values[f"x_{dtype}"])
    assert answers["y_STRING"].tolist() == [["grün".encode()] * 2, [b"\x00"] * 2, [b""] * 2]


def test_narrowed_inputs_are_held_to_it(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="unexpected shape for input 'x'"):
        infer(client, "narrowed", {"x": np.ones((1, 5), np.float32)})


def test_without_batching_the_full_tensor_runs(client: triton.InferenceServerClient) -> None:
    values = np.arange(20, dtype=np.float32).reshape(5, 4)
    np.testing.assert_array_equal(infer(client, "unbatched", {"x": values})["y"], values + 1)


def test_only_outputs_of_the_config_and_of_the_request_are_answered(client: triton.InferenceServerClient) -> None:
    ones = {"a": np.ones((1, 4), np.float32), "b": np.ones((1, 4), np.float32)}
    assert list(infer(client, "two", ones)) == ["difference"]
    assert list(infer(client, "two_outputs", ones, ["sum"])) == ["sum"]


def test_concurrent_requests_run_together_and_get_their_own_rows(
    server: Server, client: triton.InferenceServerClient
) -> None:
    requests = [{"x": np.full((1, 4), number, np.float32)} for number in range(8)]
    answers = infer_all(server.grpc, "merging", requests)
    for number, answer in enumerate(answers):
        assert isinstance(answer, dict), answer
        np.testing.assert_array_equal(answer["y"], np.full((1, 4), number + 1, np.float32))
    items, runs = executions(client, "merging")
    assert items == 8
    assert runs <= 2, "eight requests that wait for each other are one run (two if a thread was late)"


def test_a_failing_run_answers_with_the_reason(client: triton.InferenceServerClient) -> None:
    values = np.arange(4, dtype=np.float32).reshape(1, 4)
    assert infer(client, "pick", {"x": values, "index": np.array([[2]])})["y"] == 2
    with pytest.raises(InferenceServerException, match=r"onnxruntime execute failure.*GatherElements"):
        infer(client, "pick", {"x": values, "index": np.array([[9]])})
    assert infer(client, "pick", {"x": values, "index": np.array([[3]])})["y"] == 3, "the instance lives on"


def threads_of(server: Server, model: str) -> int:
    """Threads of the process that runs a model's only instance: Triton's stub has the graph on its command line."""
    graph = bytes(server.repository / model / "1" / "model.onnx")
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # processes come and go
            if graph in (process / "cmdline").read_bytes().split(b"\0"):
                found.append(len(list((process / "task").iterdir())))
    assert len(found) == 1, f"{len(found)} processes run {model}"
    return found[0]


def test_the_number_of_threads_is_that_of_the_config(server: Server) -> None:
    assert threads_of(server, "three_threads") - threads_of(server, "one_thread") == 2
