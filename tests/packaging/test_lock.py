"""What pyproject.toml asks for is pinned: `make install-dev` takes nothing but the locks."""

from __future__ import annotations

import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pinned(*locks: str) -> dict[str, str]:
    lines = [line for lock in locks for line in (ROOT / lock).read_text().splitlines() if line.strip()]
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


@pytest.mark.parametrize(
    ("wanted", "locks"),
    [
        (PROJECT["dependencies"], ["requirements.lock"]),
        (PROJECT["optional-dependencies"]["dev"], ["requirements.lock", "requirements-dev.lock"]),
    ],
    ids=["dependencies", "dev"],
)
def test_every_dependency_is_pinned_to_a_version_that_fits(wanted: list[str], locks: list[str]) -> None:
    versions = pinned(*locks)
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), requirement
