"""`plugin new`: what it writes compiles, fails until it is filled in, and passes then."""

import re
from pathlib import Path

import onnx.parser
import pytest

from repository_builder.errors import GraphError, SpecError
from repository_builder.plugins import operators, scaffold, testing
from repository_builder.plugins.compile import compile_plugin
from repository_builder.plugins.toolchain import find_nvcc
from tests import plugin_kit as kit

GRAPH = """<ir_version: 8, opset_import: ["" : 17, "acme" : 1]>
g (float[n,4] a, float[n,4] b) => (float[n,4] c)
{ c = acme.MixIn <share = 0.25, power = 3, mode = "soft", axes = [1,2]> (a, b) }"""


@pytest.fixture
def folder(tmp_path: Path, fresh_cache: Path) -> Path:
    return scaffold.scaffold(scaffold.like(onnx.parser.parse_model(GRAPH), "acme::MixIn"), tmp_path / "plugins")


def test_the_files_agree_with_the_node(folder: Path) -> None:
    (operator,) = operators.find([folder])
    assert (operator.qualified, operator.plugin, operator.namespace) == ("acme::MixIn", "MixIn", "acme")
    assert (operator.inputs, operator.outputs) == (("x0", "x1"), ("y",))
    assert list(operator.attributes) == ["share", "power", "mode", "axes"]
    assert not [path.name for path in folder.iterdir() if "$" in path.read_text()]


def test_it_fails_until_the_reference_is_written(folder: Path) -> None:
    (operator,) = operators.find([folder])
    with pytest.raises(SpecError, match="no reference yet"):
        testing.prove(operator)


def fill_in(folder: Path) -> None:
    reference = folder / "reference.py"
    text = re.sub(r"    raise NotImplementedError.*", "    return (x0 * share + x1 * (1 - share)).astype(x0.dtype),",
                  reference.read_text())  # fmt: skip
    reference.write_text(text.replace("return (x0", "x0, x1 = x0.astype(float), x1.astype(float)\n    return (x0")
                         .replace(".astype(x0.dtype),", ".astype(kind),")
                         .replace("    x0, x1 =", "    kind = x0.dtype\n    x0, x1 ="))  # fmt: skip
    math = folder / "mix_in_math.h"
    math.write_text(
        math.read_text().replace("narrow<T>(value0)", "narrow<T>(value0 * p.share + value1 * (1.0f - p.share))")
        .replace("        (void)value1;\n", "")
    )  # fmt: skip
    body = folder / "function.onnxtxt"
    body.write_text(body.read_text().replace(
        "    y = FILL_IN(x0, x1)",
        "    s = Constant <value_float: float = @share> ()\n    one = Constant <value = float {1.0}> ()\n"
        "    r = Sub (one, s)\n    a = Mul (x0, s)\n    b = Mul (x1, r)\n    y = Add (a, b)",
    ))  # fmt: skip


def test_it_passes_when_it_is_filled_in_and_notices_a_wrong_kernel(folder: Path) -> None:
    fill_in(folder)
    (operator,) = operators.find([folder])
    outcomes = testing.prove(operator)
    assert len(outcomes) > 25
    assert [outcome for outcome in outcomes if outcome.problem] == []
    math = folder / "mix_in_math.h"
    math.write_text(math.read_text().replace("value0 * p.share", "value0 * 2.0f"))
    (operator,) = operators.find([folder])
    assert any("differs from the reference" in outcome.problem for outcome in testing.prove(operator))


@pytest.mark.slow
def test_what_it_writes_compiles_as_it_is(folder: Path) -> None:
    (operator,) = operators.find([folder])
    found = kit.headers_at_hand()
    assert compile_plugin(operator, find_nvcc(), ["75"], found[0] if found else None).library.is_file()


def test_a_node_without_attributes(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17, "acme" : 1]>
        g (float[n] a) => (float[n] b, float[n] c) { b, c = acme.Two (a) }""")
    target = scaffold.scaffold(scaffold.like(model, "acme::Two"), tmp_path)
    assert operators.find([target])[0].outputs == ("y0", "y1")
    with pytest.raises(SpecError, match="exists already"):
        scaffold.scaffold(scaffold.like(model, "acme::Two"), tmp_path)


@pytest.mark.parametrize("name", ["MyOp", "acme::", "::MyOp", "acme::My-Op", "acme::1Op"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(SpecError, match="not of the form"):
        scaffold.split(name)


def test_a_name_of_nvidias_is_refused() -> None:
    with pytest.raises(SpecError, match="NVIDIA's own library"):
        scaffold.split("acme::EfficientNMS_TRT")


def test_a_graph_without_such_a_node() -> None:
    with pytest.raises(GraphError, match=r"did you mean `acme::MixIn`"):
        scaffold.like(onnx.parser.parse_model(GRAPH), "acme::MixInn")


def test_an_attribute_that_no_plugin_can_have() -> None:
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17, "acme" : 1]>
        g (float[n] a) => (float[n] b) { b = acme.Odd <w = [1.5, 2.5]> (a) }""")
    with pytest.raises(GraphError, match="cannot be an attribute of a plugin"):
        scaffold.like(model, "acme::Odd")
