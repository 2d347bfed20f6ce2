"""Expected repositories of the examples: text compared exactly, the rest by name. `pytest --update-golden` rewrites them."""

from __future__ import annotations

from pathlib import Path

import pytest

from repository_builder import builder
from tests.conftest import ROOT
from tests.unit.build.test_engine import Quiet

EXPECTED = Path(__file__).parent
TEXT = (".pbtxt", ".txt", "Dockerfile")
EXAMPLES = ["digits", pytest.param("sentence_embedding", marks=pytest.mark.slow)]


def described(repository: Path) -> str:
    """Every file by name, and configs with their text."""
    parts = []
    for path in sorted(p for p in repository.rglob("*") if p.is_file()):
        name = path.relative_to(repository).as_posix()
        shown = name.endswith(TEXT) and "/1/" not in name
        parts.append(f"=== {name}\n{path.read_text()}" if shown else f"=== {name}\n")
    return "\n".join(parts)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_tree_of_an_example(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    output = tmp_path / "model_repository"
    spec = _for_onnx_runtime(ROOT / "examples" / name / "deploy.yaml")
    builder.build(spec, output, Quiet(), warn=pytest.fail)
    expected = EXPECTED / f"{name}.txt"
    if request.config.getoption("--update-golden"):
        expected.write_text(described(output))
    assert described(output) == expected.read_text()


def _for_onnx_runtime(spec: Path) -> Path:
    """The examples say `target: auto`, and a golden tree is one for every machine: refuse to compare on one with a GPU."""
    from repository_builder.machine import this_machine

    if this_machine().gpus:
        pytest.skip("on a machine with a GPU `auto` may choose TensorRT")
    return spec
