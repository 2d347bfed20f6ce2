"""Imports point one way, and asking for help loads nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from repository_builder.cli import COMMANDS
from tests.conftest import ROOT

LEAVES = {"errors", "tensor", "resources", "console", "interrupts"}
LAYERS = (
    LEAVES,
    {"machine", "shapes", "spec", "repository", "onnx_graph", "plugins"},
    {"build"},
    {"stages"},
    {"targets"},
    {"pipeline"},
    {"builder"},
)
SIDEWAYS = {
    "check": LEAVES | {"repository", "onnx_graph"},
    "serving": LEAVES | {"machine", "repository"},
    "sweep": LEAVES | {"machine", "repository", "serving"},
    "release": LEAVES | {"machine", "shapes", "repository", "serving", "sweep"},
    "deploy": LEAVES | {"machine", "repository", "serving", "sweep", "release"},
}
"""Rooms that stand beside the build, and what they may use: the checker never sees spec or build."""
TOP = {"cli", "commands", "__main__", "__init__"}
HEAVY = ("numpy", "onnx", "onnxruntime", "tensorrt", "tensorrt_rtx", "torch", "tritonclient", "pydantic", "rich", "ray")


def allowed(room: str) -> set[str]:
    if room in SIDEWAYS:
        return SIDEWAYS[room] | {room}
    below = next((index for index, layer in enumerate(LAYERS) if room in layer), None)
    assert below is not None, f"`{room}` has no place in the layers: give it one here and in docs/architecture.md"
    return set().union(*LAYERS[: below + 1]) | ({"check"} if room == "builder" else set())


def imports(file: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("repository_builder"):
            parts = node.module.split(".")
            rooms |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            rooms |= {a.name.split(".")[1] for a in node.names if a.name.startswith("repository_builder.")}
    return rooms - {"__version__"}


def test_imports_point_one_way() -> None:
    package = ROOT / "repository_builder"
    wrong = []
    for file in sorted(package.rglob("*.py")):
        room = file.relative_to(package).parts[0].removesuffix(".py")
        if room not in TOP:
            wrong += [f"{file.relative_to(ROOT)} imports {other}" for other in imports(file) - allowed(room)]
    assert not wrong


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom repository_builder.cli import main\n"
        f"try: main({arguments!r})\nexcept SystemExit as end: assert not end.code, end.code\n"
        f"print('LOADED', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert answer.returncode == 0, answer.stderr
    assert "LOADED []" in answer.stdout


def test_every_command_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    from repository_builder.cli import main

    for name in COMMANDS:
        with pytest.raises(SystemExit):
            main([name, "--help"])
        assert f"triton-repo {name}" in capsys.readouterr().out.partition("examples:")[2], name
