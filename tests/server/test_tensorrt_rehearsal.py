"""The backend `tensorrt` of a rehearsal: a repository for TensorRT, served by the FP32 graph on the CPU."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from repository_builder.serving.server import Server, serve
from tests.server.kit import infer

pytestmark = pytest.mark.server

GRAPH = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,4] x, int64[N,1] index) => (float[N,4] y, int64[N,1] same) {
  y = Neg(x)
  same = Identity(index)
}"""
CONFIG = """backend: "tensorrt"
platform: "tensorrt_plan"
max_batch_size: 16
input [{ name: "x" data_type: TYPE_FP16 dims: [4] }, { name: "index" data_type: TYPE_INT32 dims: [1] }]
output [{ name: "y" data_type: TYPE_FP16 dims: [4] }, { name: "same" data_type: TYPE_INT64 dims: [1] }]
instance_group [{ kind: KIND_GPU count: 1 profile: ["0", "1"] }]
optimization { cuda { graphs: true } }
"""
INDEX = {"min": [1, 1], "opt": [2, 1], "max": [8, 1]}
PROFILES = {"only": {"x": {"min": [1, 4], "opt": [2, 4], "max": [8, 4]}, "index": INDEX}}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[triton.InferenceServerClient]:
    repository: Path = tmp_path_factory.mktemp("rehearsal") / "repository"
    for name in ("net", "other_name", "no_graph"):
        version = repository / name / "1"
        version.mkdir(parents=True)
        parameter = 'parameters { key: "rehearsal_graph" value { string_value: "fp32.onnx" } }\n'
        config = CONFIG + (parameter if name == "other_name" else "")
        (repository / name / "config.pbtxt").write_text(config)
        (version / "model.plan").write_bytes(b"an engine")
        if name != "no_graph":
            graph = onnx.parser.parse_model(GRAPH)
            onnx.save(graph, version / ("model.onnx" if name == "net" else "fp32.onnx"))
        (version / "profiles.json").write_text(json.dumps(PROFILES))
    wanted = ["--load-model=net", "--load-model=other_name"]
    server: Server
    with serve(repository, control="explicit", rehearse=True, graceful=False, extra_args=wanted) as server:
        yield triton.InferenceServerClient(server.grpc)


@pytest.mark.parametrize("model", ["net", "other_name"])
def test_the_types_are_those_of_the_engine(client: triton.InferenceServerClient, model: str) -> None:
    values = np.arange(8, dtype=np.float16).reshape(2, 4)
    answer = infer(client, model, {"x": values, "index": np.array([[3], [4]], np.int32)})
    assert answer["y"].dtype == np.float16
    np.testing.assert_array_equal(answer["y"], -values)
    assert answer["same"].dtype == np.int64


def test_a_batch_that_no_profile_takes_is_refused(client: triton.InferenceServerClient) -> None:
    inputs = {"x": np.zeros((9, 4), np.float16), "index": np.zeros((9, 1), np.int32)}
    with pytest.raises(InferenceServerException, match=r"no optimization profile takes the shapes x \[9, 4\]"):
        infer(client, "net", inputs)


def test_a_missing_graph_is_named(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match=r"no ONNX graph '.*model\.onnx' to stand in for the engine"):
        client.load_model("no_graph")
