"""The pages on Python models and exports: options are those of the models, specs are valid, the recipe works."""

from __future__ import annotations

import importlib
import re
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import yaml

from repository_builder.resources import data_folder
from repository_builder.spec.model import Spec
from repository_builder.spec.processors import POSTPROCESSORS, PREPROCESSORS
from repository_builder.spec.schema import reference_page
from tests.conftest import ROOT

EXPORT = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "python_backends.md").read_text(encoding="utf-8")
MODELS = sorted(model.__name__ for model in (PREPROCESSORS | POSTPROCESSORS).values())


def table(text: str, start: str) -> list[str]:
    """The rows of the first table behind `start`."""
    lines = text[text.index(start) :].splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("|"))
    end = next((index for index in range(first, len(lines)) if not lines[index].startswith("|")), len(lines))
    return lines[first:end]


@pytest.mark.parametrize("model", MODELS)
def test_the_options_are_those_of_the_reference(model: str) -> None:
    assert table(PAGE, f"<!-- options: {model} -->") == table(reference_page(), f"## {model}\n")


def test_every_model_has_a_section() -> None:
    assert sorted(re.findall(r"<!-- options: (\w+) -->", PAGE)) == MODELS
    assert set(re.findall(r"^## (\w+_\w+)$", PAGE, re.MULTILINE)) == {*PREPROCESSORS, *POSTPROCESSORS}


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", PAGE + EXPORT, re.DOTALL))
def test_every_spec_is_valid(text: str) -> None:
    Spec.model_validate(yaml.safe_load(text))


def test_the_recipe_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [code] = re.findall(r"( *)```python\n(.*?)```", PAGE, re.DOTALL)
    folder = tmp_path / "recipe"
    folder.mkdir()
    (folder / "model.py").write_text(textwrap.dedent(code[1]))
    (folder / "_adapter.py").write_text((data_folder("python_backends") / "_adapter.py").read_text())
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("recipe.model")
    model = module.TritonPythonModel().configure({"threshold": "0.5", "output": '"logits"'}, folder)
    result = model.process({"logits": np.array([[1.0, -1.0], [np.nan, 0.0]])})
    assert result.outputs["active"][0].tolist() == [True, False]
    assert result.errors == {1: "the scores contain NaN"}
    monkeypatch.delitem(sys.modules, "recipe.model")
