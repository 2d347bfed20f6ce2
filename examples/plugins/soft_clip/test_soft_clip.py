"""The proof of acme::SoftClip: run it with `pytest`, or `triton-repo plugin test soft_clip --plugins FOLDER`."""

from pathlib import Path

from repository_builder.plugins import operators, testing


def test_kernel_reference_and_function_agree():
    (operator,) = operators.find([Path(__file__).parent])
    cases = testing.own_cases(operator)
    outcomes = [*testing.check(operator, cases), *testing.check_body(operator, cases)]
    assert [outcome for outcome in outcomes if outcome.problem] == []
