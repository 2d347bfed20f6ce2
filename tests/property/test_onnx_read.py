"""However a file is damaged: `load` and `interface` answer, or raise a GraphError that teaches."""

from __future__ import annotations

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repository_builder.errors import GraphError
from repository_builder.onnx_graph import read

TEXT = """
<ir_version: 9, opset_import: ["" : 18]>
g (bool c, float[batch, 4] x) => (float[batch, 4] y) <float[4] w = {1, 2, 3, 4}> {
  z = If (c) <then_branch = t () => (float[batch, 4] a) { a = Relu (x) },
              else_branch = e () => (float[batch, 4] b) { k = Constant <value = float[4] {1, 2, 3, 4}> ()  b = Add (x, k) }>
  q = Add (z, w)  r, s = Split <axis = 1, num_outputs = 2> (q)  u = Concat <axis = 1> (r, s)  y = Identity (u)
}"""


def whole() -> bytes:
    model = onnx.parser.parse_model(TEXT)
    outside = onnx.TensorProto(name="outside", data_type=1, dims=[4], data_location=onnx.TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="m.data")
    model.graph.initializer.append(outside)
    return bytes(model.SerializeToString())


WHOLE = whole()
DAMAGE = st.lists(
    st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 8), st.binary(max_size=4)), min_size=1, max_size=6
)
"""Places, how many bytes go there, and what comes instead."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "m.data").write_bytes(b"\0" * 16)
    return folder


def test_undamaged(folder):
    (folder / "m.onnx").write_bytes(WHOLE)
    assert len(read.interface(read.load(folder / "m.onnx")).inputs) == 2


@settings(max_examples=300, deadline=None)
@given(damage=DAMAGE)
def test_damaged_files_never_surprise(folder, damage):
    content = bytearray(WHOLE)
    for place, length, instead in damage:
        content[place : place + length] = instead
    (folder / "m.onnx").write_bytes(bytes(content))
    problems = ()
    try:
        read.interface(read.load(folder / "m.onnx"))
    except GraphError as error:
        problems = error.problems
    assert all(problem.what and problem.why and problem.fix for problem in problems)
