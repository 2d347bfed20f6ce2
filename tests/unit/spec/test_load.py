"""Reading a spec: every problem at once, with file, line and the nearest known key."""

from __future__ import annotations

from pathlib import Path

import pytest

from repository_builder.errors import SpecError
from repository_builder.spec.load import load


def write(folder: Path, text: str, *files: str) -> Path:
    for name in files:
        (folder / name).write_bytes(b"")
    file = folder / "deploy.yaml"
    file.write_text(text)
    return file


def problems(file: Path) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load(file)
    return [str(problem) for problem in caught.value.problems]


def test_the_smallest_spec_has_a_default_for_everything(tmp_path: Path) -> None:
    spec = load(write(tmp_path, "models: {digits: {source: {onnx: digits.onnx}}}", "digits.onnx"))
    model = spec.models["digits"]
    assert model.target == "auto"
    assert model.source.onnx == tmp_path / "digits.onnx"
    assert model.max_batch_size is None


def test_all_problems_are_reported_at_once_with_their_lines(tmp_path: Path) -> None:
    text = """models:
  a:
    source: {onnx: missing.onnx}
    preproces: {}
  b:
    target: tensorrt
    max_batch_size: -1
"""
    found = problems(write(tmp_path, text))
    assert len(found) == 5
    report = "\n".join(found)
    assert "deploy.yaml:3 (models.a.source.onnx)" in report
    assert "does not exist" in report
    assert "unknown key `preproces` (did you mean `preprocess`?)" in report
    assert "deploy.yaml:4 (models.a.preproces)" in report
    assert "`models.b.source` is missing" in report
    assert "deploy.yaml:6 (models.b.target)" in report
    assert "deploy.yaml:7 (models.b.max_batch_size)" in report


@pytest.mark.parametrize(
    ("text", "where", "why"),
    [
        ("models:\n  a:\n\tsource: 1\n", "deploy.yaml:3", "a tab is used for indentation"),
        ("models: {a: {source: {onnx: x}}\n", "deploy.yaml:2", "expected"),
        ("models: [\n", "deploy.yaml:2", ""),
        ("- 1\n- 2\n", "deploy.yaml:1", "a spec is a mapping"),
        ("", "deploy.yaml:1", "a spec is a mapping"),
        ("models: !!python/object/apply:os.system [ls]\n", "deploy.yaml:1", ""),
        ("models: &a [*a]\n", "deploy.yaml:1", "aliases expand without end"),
        ("models: {a: {source: {onnx: 'x\x00'}}}", "deploy.yaml", ""),
    ],
)
def test_broken_yaml_is_placed_and_explained(tmp_path: Path, text: str, where: str, why: str) -> None:
    report = "\n".join(problems(write(tmp_path, text)))
    assert where in report
    assert why in report
    assert "fix:" in report


def test_duplicate_keys_name_both_lines(tmp_path: Path) -> None:
    text = "models:\n  a:\n    source: {onnx: m.onnx}\n  a:\n    source: {onnx: m.onnx}\n"
    (report,) = problems(write(tmp_path, text, "m.onnx"))
    assert "duplicate key `a`" in report
    assert "deploy.yaml:4" in report
    assert "line 2" in report


def test_an_anchor_bomb_is_refused_quickly(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (report,) = problems(write(tmp_path, "\n".join(lines)))
    assert "aliases expand" in report


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    (report,) = problems(write(tmp_path, "models: " + "[" * 5000 + "]" * 5000))
    assert "error: cannot read the YAML" in report


@pytest.mark.parametrize("name", ["../up", "a b", "", ".hidden", "-x", "a/b", "x" * 200, "a..b"])
def test_names_that_triton_or_the_file_system_refuse(tmp_path: Path, name: str) -> None:
    report = "\n".join(problems(write(tmp_path, f"models: {{'{name}': {{source: {{onnx: m.onnx}}}}}}", "m.onnx")))
    assert "Triton takes the folder's name as the model's name" in report


def test_a_generated_name_may_not_clash_with_another_model(tmp_path: Path) -> None:
    text = """models:
  a: {source: {onnx: m.onnx}, postprocess: {top_k: {k: 1}}}
  a_core: {source: {onnx: m.onnx}}
"""
    (report,) = problems(write(tmp_path, text, "m.onnx"))
    assert "would both make the model `a_core`" in report


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("{}", "found none"),
        ("{onnx: m.onnx, pytorch: {factory: 'f.py:b', inputs: {}, outputs: {}}}", "found `onnx` and `pytorch`"),
        ("{pytorch: {factory: 'nofunction', inputs: {}, outputs: {}}}", "file.py:function"),
        ("{pytorch: {factory: 'f.py:b', inputs: {x: {shape: [batch, 3], example: [2]}}, outputs: {}}}", "dimensions"),
    ],
)
def test_sources(tmp_path: Path, source: str, why: str) -> None:
    report = "\n".join(problems(write(tmp_path, f"models: {{a: {{source: {source}}}}}", "m.onnx", "f.py")))
    assert why in report


def test_profiles_must_be_ordered(tmp_path: Path) -> None:
    text = "models: {a: {source: {onnx: m.onnx}, profiles: {p: {x: {min: [4, 3], opt: [2, 3], max: [8, 3]}}}}}"
    (report,) = problems(write(tmp_path, text, "m.onnx"))
    assert "min ≤ opt ≤ max does not hold in dimension 0: 4, 2, 8" in report


@pytest.mark.parametrize("make", ["missing", "folder", "binary", "huge"])
def test_files_that_are_no_spec(tmp_path: Path, make: str) -> None:
    file = tmp_path / "deploy.yaml"
    if make == "folder":
        file.mkdir()
    elif make == "binary":
        file.write_bytes(b"\x89PNG\xff\xfe")
    elif make == "huge":
        file.write_bytes(b"#" * (5 << 20))
    (report,) = problems(file)
    assert "cannot read the spec" in report
    assert str(file) in report
    assert "fix:" in report
