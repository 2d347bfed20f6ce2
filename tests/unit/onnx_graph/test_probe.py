"""Baked sizes are found by running, and the node that bakes them is named."""

from __future__ import annotations

import os

import onnx
import pytest

from repository_builder.errors import GraphError
from repository_builder.onnx_graph import execute
from repository_builder.onnx_graph.probe import isolated, probe


def write(tmp_path, body, signature="(float[n, 4, 4] x) => (float[n, k] y)", head='"" : 18'):
    text = f"<ir_version: 9, opset_import: [{head}]> g {signature} {{ {body} }}"
    model = onnx.parser.parse_model(text)
    for index, node in enumerate(model.graph.node):
        node.name = f"node{index}"
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_a_true_batch_is_proven(tmp_path):
    found = probe(write(tmp_path, "y = Flatten(x)"))
    assert found.problems == ()
    assert found.batching.batched
    assert found.batching.unproven == ()
    assert found.sizes == {"n": 2}


def test_a_baked_reshape_that_fails_is_named_with_its_constant(tmp_path):
    body = "s = Constant <value = int64[2] {8, 16}> ()  y = Reshape(x, s)"
    found = probe(write(tmp_path, body))
    assert not found.batching.batched
    said = str(found.problems[0])
    assert "node `node1` (Reshape)" in said
    assert "[8, 16]" in said


def test_a_baked_reshape_that_runs_silently_is_named(tmp_path):
    body = "s = Constant <value = int64[2] {8, -1}> ()  y = Reshape(x, s)"
    said = str(probe(write(tmp_path, body)).problems[0])
    assert "node `node1` (Reshape)" in said
    assert "output `y` has the shape [8, 4]" in said


def test_a_failure_downstream_leads_to_the_baked_node(tmp_path):
    body = "s = Constant <value = int64[2] {8, -1}> ()  z = Reshape(x, s)  f = Flatten(x)  y = Add(f, z)"
    assert "node `node1` (Reshape)" in str(probe(write(tmp_path, body)).problems[0])


def test_rows_that_influence_each_other(tmp_path):
    body = "m = ReduceMean <noop_with_empty_axes = 0> (x)  z = Sub(x, m)  y = Flatten(z)"
    said = str(probe(write(tmp_path, body)).problems[0])
    assert "influence each other" in said
    assert "eval()" in said


def test_another_baked_dim(tmp_path):
    body = "s = Constant <value = int64[2] {-1, 64}> ()  y = Reshape(x, s)"
    found = probe(write(tmp_path, body, "(float[n, t, 4] x) => (float[n, k] y)"))
    assert found.sizes["t"] == 16
    assert not found.batching.batched or found.problems


def test_dims_that_change_together_are_no_fault(tmp_path):
    found = probe(write(tmp_path, "y = Add(a, b)", "(float[n, p] a, float[n, q] b) => (float[n, k] y)"))
    assert found.problems == ()


def test_unnamed_leading_dims_are_proven_one_batch(tmp_path):
    found = probe(write(tmp_path, "y = Add(a, b)", "(float[?, 3] a, float[?, 3] b) => (float[?, 3] y)"))
    assert found.batching.batched
    assert "shown by running" in found.batching.why
    assert found.problems == ()


def test_integer_inputs_are_valid_indices(tmp_path):
    body = "w = Constant <value = float[2, 3] {1, 2, 3, 4, 5, 6}> ()  y = Gather(w, i)"
    assert probe(write(tmp_path, body, "(int64[n] i) => (float[n, 3] y)")).problems == ()


def test_a_fixed_graph_needs_no_run(tmp_path):
    found = probe(write(tmp_path, "y = Flatten(x)", "(float[2, 4] x) => (float[2, 4] y)"))
    assert "fixed to 2" in found.batching.why


def test_a_graph_that_onnx_runtime_lacks_is_an_error_with_a_way_out(tmp_path):
    with pytest.raises(GraphError, match="inspect"):
        execute.session(write(tmp_path, "y = Nobody(x)"))


def test_isolated_gives_the_same_and_carries_errors_over(tmp_path):
    path = write(tmp_path, "y = Flatten(x)")
    assert isolated(path) == probe(path)
    with pytest.raises(GraphError, match="does not take") as caught:
        isolated(write(tmp_path, "y = Nobody(x)"))
    assert caught.value.problems[0].fix


def test_a_graph_that_kills_the_runtime_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("repository_builder.onnx_graph.probe.probe", deadly)
    with pytest.raises(GraphError, match="died"):
        isolated(write(tmp_path, "y = Flatten(x)"))


def deadly(path):
    """Stands for a runtime that crashes; no graph is known on which the real one does."""
    os.abort()
