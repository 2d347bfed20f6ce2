"""The catalogue as a whole: identities, documentation, pages."""

from __future__ import annotations

import re

import pytest

from repository_builder.check import all_rules
from repository_builder.check.rules import MODULES
from tests.conftest import ROOT
from tests.rules import pages
from tests.rules.write_docs import DOCS, FAMILIES, contents

RULES = all_rules()


def test_every_rule_has_a_page_and_every_page_a_rule() -> None:
    assert set(pages.read_all()) == set(RULES)


@pytest.mark.parametrize("id_", RULES)
def test_identity_and_documentation(id_: str) -> None:
    rule = RULES[id_]
    assert re.fullmatch(r"[A-Z]{2,4}\d{3}", rule.id)
    assert rule.family in FAMILIES
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", rule.name)
    assert not rule.name.startswith("no-") or rule.name == "no-version"
    assert list(rule.sections) == ["What it does", "Why is this bad?", "Example"]
    assert all(rule.sections.values())
    assert rule.scope in ("repository", "model", "version")
    assert set(rule.requires) <= set(RULES)


def test_names_are_unique() -> None:
    assert len({rule.name for rule in RULES.values()}) == len(RULES)


def test_every_module_of_rules_is_listed() -> None:
    folder = ROOT / "repository_builder/check/rules"
    found = {f"{path.parent.name}.{path.stem}" for path in folder.glob("*/*.py") if path.stem != "__init__"}
    assert found == set(MODULES)


def test_the_documentation_is_up_to_date() -> None:
    stored = {path.name: path.read_text() for path in DOCS.glob("*.md")}
    assert stored == contents(), "run `python -m tests.rules.write_docs`"


def test_a_second_rule_of_the_same_id_is_refused() -> None:
    from repository_builder.check.rule import Severity, rule

    with pytest.raises(ValueError, match="twice"):
        rule("ENS022", "again", Severity.ERROR)(lambda model: iter(()))
