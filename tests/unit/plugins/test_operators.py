"""Every operator on the CPU: the compiled arithmetic against the reference, the reference against the standard."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from repository_builder.errors import SpecError
from repository_builder.plugins import operators, testing
from repository_builder.plugins.binding import call_attributes
from repository_builder.plugins.compile import HOST_FLAGS, compile_host
from repository_builder.plugins.library import HostLibrary
from repository_builder.plugins.operators import Operator
from repository_builder.plugins.toolchain import host_compiler
from repository_builder.resources import data_folder
from tests import plugin_kit as kit

ALL = operators.shipped()
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_REPO_CACHE", kit.shared_cache(tmp_path_factory))
        yield


@pytest.fixture(params=ALL, ids=lambda operator: operator.key)
def operator(request: pytest.FixtureRequest) -> Operator:
    return request.param


def problems(outcomes: list[testing.Outcome]) -> dict[str, str]:
    return {outcome.case: outcome.problem for outcome in outcomes if outcome.problem}


def test_the_compiled_arithmetic_equals_the_reference(operator: Operator) -> None:
    cases = testing.own_cases(operator)
    assert len(cases) >= 15
    assert problems(testing.check(operator, cases)) == {}


def test_reference_and_arithmetic_give_what_the_standard_prescribes(operator: Operator) -> None:
    cases = list(testing.standard_cases(operator))
    assert cases or operator.domain, "the standard has tests of its own operators"
    assert problems(testing.check(operator, cases)) == {}


def test_a_wrong_arithmetic_would_be_noticed() -> None:
    operator = operators.choose("GridSample", ALL)
    case = testing.own_cases(operator)[0]
    wrong = testing.Case("wrong", case.inputs, case.attributes, [case.inputs[0]])
    assert "differs from the standard" in testing.check(operator, [wrong])[0].problem


def test_the_readme_names_every_input_output_and_attribute(operator: Operator) -> None:
    text = (operator.folder / "README.md").read_text(encoding="utf-8")
    contract = text.partition("## Contract")[2].partition("\n## ")[0]
    rows = set(re.findall(r"^\| (?:input |output )?`(\w+)`", contract, re.MULTILINE))
    baked = set(operator.bake)
    assert rows == {*operator.inputs, *operator.outputs, *operator.attributes} | baked


def test_every_type_of_the_contract_is_among_the_cases(operator: Operator) -> None:
    text = (operator.folder / "README.md").read_text(encoding="utf-8")
    promised = set(re.findall(r"FP32|FP16|BF16|INT32|INT64", text.partition("| output")[0].partition("## Contract")[2]))
    names = {"float32": "FP32", "float16": "FP16", "bfloat16": "BF16", "int32": "INT32", "int64": "INT64"}
    tried = {names[v.dtype.name] for case in testing.own_cases(operator) for v in case.inputs if v is not None}
    assert promised <= tried


def test_an_unknown_attribute_is_refused(operator: Operator) -> None:
    case = testing.own_cases(operator)[0]
    library = HostLibrary(compile_host(operator), len(operator.outputs))
    with pytest.raises(SpecError, match="unknown attribute `nonsense`"):
        library([v for v in case.inputs if v is not None], {**case.attributes, "nonsense": 1})


def test_a_wrong_number_of_inputs_is_refused(operator: Operator) -> None:
    case = testing.own_cases(operator)[0]
    library = HostLibrary(compile_host(operator), len(operator.outputs))
    present = [v for v in case.inputs if v is not None]
    attributes = call_attributes(operator, case.inputs, case.attributes)
    with pytest.raises(SpecError, match="inputs, got"):
        library([*present, *present, *present], attributes)


def test_the_reference_runs_in_the_reference_evaluator() -> None:
    import numpy as np
    import onnx.parser
    from onnx.reference import ReferenceEvaluator

    operator = operators.choose("GridSample", ALL)
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 20]>
        g (float[1,1,2,2,2] x, float[1,1,1,1,3] grid) => (float y) { y = GridSample <mode = "nearest"> (x, grid) }""")
    x = np.arange(8, dtype=np.float32).reshape(1, 1, 2, 2, 2)
    grid = np.array([[[[[0.5, -0.5, 0.5]]]]], np.float32)
    evaluator = ReferenceEvaluator(model, new_ops=[testing.reference_op(operator)])
    assert evaluator.run(None, {"x": x, "grid": grid})[0].item() == 5


def test_two_operators_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "operator.yaml").write_text(
            "operator: A\nplugin: {name: TrbA}\ninputs: [x]\noutputs: [y]\n", encoding="utf-8"
        )
    with pytest.raises(SpecError, match="two plugins are called `TrbA`"):
        operators.find([tmp_path])


def test_a_name_of_nvidias_is_refused(tmp_path: Path) -> None:
    text = "operator: A\nplugin: {name: EfficientNMS_TRT}\ninputs: [x]\noutputs: [y]\n"
    (tmp_path / "operator.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(SpecError, match="NVIDIA's own library"):
        operators.find([tmp_path])


def test_all_problems_of_a_description_are_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "operator.yaml").write_text("operator: A\nsumary: x\ninputs: [x]\naot: true\n", encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        operators.find([tmp_path])
    text = str(caught.value)
    assert "did you mean `summary`" in text
    assert "`outputs` is missing" in text
    assert "`plugin` is missing" in text
    assert "`aot` is not of the form" in text


def test_no_shipped_operator_takes_a_name_of_nvidias(operator: Operator) -> None:
    assert not operators.clashes_with_nvidia(operator)


def test_eight_lanes_attend_as_one_does(tmp_path: Path) -> None:
    """The split of LinearAttention's kernel, with threads in place of a warp's lanes."""
    program = tmp_path / "lanes"
    source = Path(__file__).with_name("lanes.cpp")
    flags = [flag for flag in HOST_FLAGS if flag != "-fPIC"]
    include = f"-I{data_folder('plugins_cuda')}"
    subprocess.run([host_compiler(), *flags, include, str(source), "-pthread", "-o", str(program)], check=True)
    done = subprocess.run([program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
