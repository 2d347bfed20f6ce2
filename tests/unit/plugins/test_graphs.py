"""Graphs with operators of ours: what needs a plugin, how TensorRT shall see it, how ONNX Runtime can run it."""

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest

from repository_builder.errors import GraphError, SpecError
from repository_builder.plugins import cpu, needed, operators, testing
from repository_builder.plugins.tensorrt_graph import rewrite

ALL = operators.shipped()
HEAD = '<ir_version: 9, opset_import: ["" : 20, "acme" : 1]>\n'


def parse(text: str, head: str = HEAD) -> onnx.ModelProto:
    return onnx.parser.parse_model(head + text)


TOPK = "g (float[5000] x) => (float[k] v, int64[k] i) <int64[1] k = {%d}> { v, i = TopK (x, k) }"
SCATTER = "g (float[4] x, int64[2,1] i, float[2] u) => (float[4] y) { y = ScatterND %s (x, i, u) }"


@pytest.mark.parametrize(
    ("graph", "why"),
    [
        (TOPK % 3840, None),
        (TOPK % 3841, "k is 3841, above 3840"),
        (SCATTER % "", None),
        (SCATTER % '<reduction = "none">', None),
        (SCATTER % '<reduction = "add">', "TensorRT ignores reduction = add"),
        ("g (float[2,3,3] x) => (float[2] y) { y = Det (x) }", "TensorRT has no right layer for it"),
        ("g (float[2] x) => (float[2] y) { y = Relu (x) }", None),
    ],
)
def test_what_needs_a_plugin(graph: str, why: str | None) -> None:
    assert [use.why for use in needed.uses(parse(graph), ALL)] == ([why] if why else [])


def test_nodes_in_subgraphs_are_found_with_the_constants_around_them() -> None:
    model = parse("""g (bool c, float[5000] x) => (float[k] y) <int64[1] n = {4000}> {
        y = If (c) <then_branch = t () => (float[k] a) { a, i = TopK (x, n) },
                    else_branch = e () => (float[k] b) { b, j = TopK <largest = 0> (x, n) }> }""")
    assert len(needed.uses(model, ALL)) == 2
    changed, used = rewrite(model, ALL)
    assert [o.key for o in used] == ["top_k"]
    assert sorted(node.op_type for node in needed.nodes(changed.graph)) == ["If", "TrbTopK", "TrbTopK"]


def test_every_problem_of_a_graph_is_named_at_once() -> None:
    model = parse(
        """g (float[2,2] x, int64[1] a) => (float[2,2] y) {
        z = CumProd (x, a)
        y = GridSample <strange = 1> (z, x) }""",
        '<ir_version: 9, opset_import: ["" : 26]>\n',
    )
    with pytest.raises(GraphError) as caught:
        needed.uses(model, ALL)
    assert "`a` (axis)" in str(caught.value)
    assert "no attribute `strange`" in str(caught.value)


def test_a_rewritten_node_has_everything_that_the_parser_asks_for() -> None:
    model = parse("""g (float[1,8,4] x) => (float[1,2,3,3] y) <int64[2] size = {3,3}, int64[2] block = {2,2}> {
        y = Col2Im (x, size, block) }""")
    changed, _ = rewrite(model, ALL)
    (node,) = changed.graph.node
    assert (node.op_type, node.domain, list(node.input)) == ("TrbCol2Im", "trt.plugins", ["x"])
    assert needed.attributes_of(node) == {
        "image_shape": [3, 3], "block_shape": [2, 2], "plugin_version": b"1", "plugin_namespace": b"",
    }  # fmt: skip
    assert model.graph.node[0].op_type == "Col2Im", "the original stays"


def test_older_spellings_are_translated() -> None:
    model = parse('g (float[1,1,2,2] x, float[1,1,1,2] p) => (float[1,1,1,1] y) { y = GridSample <mode="bicubic"> (x, p) }',
                  '<ir_version: 8, opset_import: ["" : 16]>\n')  # fmt: skip
    assert needed.attributes_of(rewrite(model, ALL)[0].graph.node[0])["mode"] == b"cubic"


def test_absent_inputs_are_marked() -> None:
    model = parse(
        """g (float[1,2,5] x, float[2,1,4] w, float[1,2,3] s) => (float[1,2,5] y, float[1,2,3] t) {
        y, t = CausalConvWithState (x, w, "", s) }""".replace('""', ""),
        '<ir_version: 12, opset_import: ["" : 27]>\n',
    )
    model.graph.node[0].input[:] = ["x", "w", "", "s"]
    (node,) = rewrite(model, ALL)[0].graph.node
    assert list(node.input) == ["x", "w", "s"]
    assert needed.attributes_of(node)["present"] == [1, 1, 0, 1]


def test_an_operator_that_nobody_defines() -> None:
    model = parse("g (float[2] x) => (float[2] y) { y = acme.Secret (x) }")
    assert needed.unknown(model, ALL) == ["acme::Secret"]
    with pytest.raises(GraphError, match="nobody defines the operator `acme::Secret`") as caught:
        cpu.define(model, ALL)
    assert "triton-repo plugin new acme::Secret" in str(caught.value)


def test_a_function_of_the_graph_is_a_definition() -> None:
    model = parse("""g (float[2] x) => (float[2] y) { y = acme.Twice (x) }
        <domain: "acme", opset_import: ["" : 20]> Twice (x) => (y) { y = Add (x, x) }""")
    assert needed.unknown(model, ALL) == []
    assert len(cpu.define(model, ALL).functions) == 1


@pytest.mark.parametrize("key", ["causal_conv_with_state", "linear_attention"])
def test_operators_newer_than_onnx_runtime_run_there(key: str) -> None:
    """The standard's own tests, through ONNX Runtime, with the standard's own function bodies."""
    operator = operators.choose(key, ALL)
    tests = [t for t in testing._node_tests() if t.model.graph.node[0].op_type == operator.operator]
    ran = 0
    for test in tests:
        if len(test.model.graph.node) != 1:
            continue
        defined = cpu.define(test.model, ALL)
        defined.ir_version = 10
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(defined.SerializeToString(), options, providers=["CPUExecutionProvider"])
        for given, expected in test.data_sets:
            names = [value.name for value in session.get_inputs()]
            got = session.run(None, dict(zip(names, [v for v in given if v is not None], strict=True)))
            for mine, theirs in zip(got, expected, strict=True):
                allowed = 1e-2 if theirs.dtype == np.float16 else 1e-4
                np.testing.assert_allclose(mine, theirs, rtol=allowed, atol=allowed)
        ran += 1
    assert ran >= 13


ATTENTION = """g (float[b,t,8] q, float[b,t,8] k, float[b,t,8] v, float[b,t,2] d, float[b,t,2] r)
        => (float[b,t,8] y, float[b,2,4,4] s)
    { y, s = LinearAttention <q_num_heads = 2, kv_num_heads = 2> (q, k, v, "", d, r) }"""


def attention() -> onnx.ModelProto:
    model = parse(ATTENTION.replace('""', "q"), '<ir_version: 12, opset_import: ["" : 27]>\n')
    model.graph.node[0].input[3] = ""
    return model


def test_a_defined_operator_is_found_again_for_its_plugin() -> None:
    defined = cpu.define(attention(), ALL)
    assert defined.graph.node[0].domain == "trb.bodies"
    assert defined.opset_import[0].version == 26
    changed, used = rewrite(defined, ALL)
    cpu.lower(changed, 24)
    assert changed.opset_import[0].version == 24, "TensorRT's parser reads no newer one"
    assert [operator.key for operator in used] == ["linear_attention"]
    (node,) = changed.graph.node
    assert (node.op_type, list(node.input)) == ("LinearAttention", ["q", "k", "v", "d", "r"])
    assert needed.attributes_of(node)["present"] == [1, 1, 1, 0, 1, 1]
    assert needed.attributes_of(node)["q_num_heads"] == 2
    assert not changed.functions


def test_an_opset_is_not_lowered_below_what_an_operator_means() -> None:
    model = parse("g (float[4] x) => (float[4] y) <int64 a = {0}> { y = CumProd (x, a) }",
                  '<ir_version: 12, opset_import: ["" : 26]>\n')  # fmt: skip
    cpu.lower(model, 24)
    assert model.opset_import[0].version == 26
    changed, _ = rewrite(model, ALL)
    cpu.lower(changed, 24)
    assert changed.opset_import[0].version == 24, "as a plugin it holds nothing up"


def test_a_body_must_be_that_of_the_operator(tmp_path: Path) -> None:
    folder = tmp_path / "twice"
    folder.mkdir()
    (folder / "operator.yaml").write_text(
        "operator: Twice\ndomain: acme\nplugin: {name: Twice, namespace: acme}\ninputs: [x]\noutputs: [y]\n"
    )
    (operator,) = operators.find([folder])
    with pytest.raises(SpecError, match="no definition for the CPU"):
        cpu.read_body(operator)
    body = folder / "function.onnxtxt"
    for text, problem in [
        ("nonsense", "cannot be read"),
        ('<domain: "acme", opset_import: ["" : 17]> Thrice (x) => (y) { y = Add (x, x) }', "the name of the function"),
        ('<domain: "acme", opset_import: ["" : 17]> Twice (x, z) => (y) { y = Add (x, z) }', "number of inputs"),
        ('<domain: "acme", opset_import: ["" : 17]> Twice (x) => (y) { y = FILL_IN (x) }', "not written yet"),
    ]:
        body.write_text(text)
        with pytest.raises(SpecError, match=problem):
            cpu.read_body(operator)
    body.write_text('// twice\n<domain: "acme", opset_import: ["" : 17]> Twice (x) => (y) { y = Add (x, x) }')
    assert cpu.read_body(operator).name == "Twice"
