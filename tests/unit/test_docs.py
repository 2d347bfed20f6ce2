"""Commands in the documentation are commands that exist, with options that exist; links lead somewhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from repository_builder.cli import COMMANDS, parser
from tests.conftest import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins_cuda/**/*.md")])


def commands(page: Path) -> Iterator[str]:
    """Every line of a page, outside of prose, that types `triton-repo`."""
    fenced = False
    for line in page.read_text().splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif (fenced or line.startswith("    ")) and line.strip().removeprefix("$ ").startswith("triton-repo "):
            yield line.strip().removeprefix("$ ")


def typed(line: str) -> list[str]:
    """The arguments of a documented line: comments, pipes and redirections cut off."""
    words = shlex.split(re.split(r"\s[|>&<]|\s#|\s→", line)[0])
    return [word for word in words[1:] if word != "…"]


EXAMPLES = [
    pytest.param(line, id=f"{page.relative_to(ROOT)}: {line[:60]}") for page in PAGES for line in commands(page)
]


@pytest.mark.parametrize("line", EXAMPLES)
def test_documented_commands_parse(line: str) -> None:
    arguments = typed(line)
    if "--help" in arguments or arguments[0] == "COMMAND":
        return  # every command's help is tested with the command
    assert arguments[0] in COMMANDS, line
    parser(arguments[0]).parse_args(arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    broken = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not broken


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_page(command: str) -> None:
    assert (ROOT / f"docs/commands/{command}.md").is_file()
