"""The schema and the reference page come from the models; the committed page is the generated one."""

from __future__ import annotations

import jsonschema
import pytest
import yaml

from repository_builder.spec.schema import json_schema, reference_page
from tests.conftest import ROOT


def test_the_schema_is_valid_and_accepts_every_example() -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    validator.check_schema(json_schema())
    examples = sorted(ROOT.glob("examples/*/*.yaml"))
    assert examples
    for example in examples:
        validator.validate(yaml.safe_load(example.read_text()))


@pytest.mark.parametrize("spec", [{}, {"models": {"a": {}}}, {"models": {"a": {"source": {}, "x": 1}}}, {"model": {}}])
def test_the_schema_refuses_what_the_loader_refuses(spec: object) -> None:
    assert not jsonschema.Draft202012Validator(json_schema()).is_valid(spec)


def test_every_field_is_described() -> None:
    definitions = {"Spec": json_schema(), **json_schema()["$defs"]}
    silent = [
        f"{name}.{key}"
        for name, definition in definitions.items()
        for key, field in definition.get("properties", {}).items()
        if not field.get("description")
    ]
    assert not silent


def test_the_reference_page_is_up_to_date() -> None:
    assert (ROOT / "docs/spec.md").read_text() == reference_page() + "\n"
