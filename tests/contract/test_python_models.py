"""What every Python model promises: the same for each file of `python_backends/`."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers

from repository_builder.repository.python_model import deployed_files
from repository_builder.resources import data_folder
from repository_builder.spec.processors import (
    POSTPROCESSORS,
    PREPROCESSORS,
    EmbeddingPool,
    ImageDecode,
    Processor,
    TextTokenize,
    TopK,
)
from repository_builder.tensor import NUMPY_OF, Interface, Tensor

SPEC_MODELS = PREPROCESSORS | POSTPROCESSORS
ENTRIES = sorted(path.stem for path in data_folder("python_backends").glob("[!_]*.py"))
VISION = Interface((Tensor("pixels", "FP32", ("batch", 3, 8, 8)),), (Tensor("logits", "FP32", ("batch", 3)),))
HIDDEN = Tensor("hidden", "FP16", ("batch", "tokens", 2))
BERT = Interface(tuple(Tensor(n, "INT64", ("batch", "tokens")) for n in ("input_ids", "attention_mask")), (HIDDEN,))


@dataclass(frozen=True)
class Case:
    """A model with its options, a batch of three of which the second is broken, and what is said about it."""

    options: Processor
    core: Interface
    inputs: Mapping[str, Any]
    error: str


def png(grey: int) -> str:
    stream = io.BytesIO()
    Image.new("RGB", (5, 3), (grey, grey, grey)).save(stream, "PNG")
    return stream.getvalue().hex()


def numbers(values: Any, dtype: str) -> dict[str, Any]:
    return {"values": values, "dtype": dtype}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    folder = tmp_path_factory.mktemp("files")
    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "cat": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "any name.json"))
    (folder / "names.txt").write_text("cat\ndog\ncow\n")
    hidden = np.arange(12).reshape(3, 2, 2).tolist()
    mask = [[1, 1], [0, 0], [1, 0]]
    return {
        "image_decode": Case(ImageDecode(), VISION, {"image": {"hex": [png(9), "ffd8", png(200)]}}, "not a PNG"),
        "text_tokenize": Case(
            TextTokenize(tokenizer=folder / "any name.json"),
            BERT,
            {"text": {"hex": [b"cat dog".hex(), "", b"cat".hex()]}},
            "the text is empty",
        ),
        "top_k": Case(
            TopK(k=2, labels=folder / "names.txt"),
            VISION,
            {"logits": numbers([[1, 2, 3], [1, float("nan"), 2], [3, 2, 1]], "float32")},
            "not all numbers",
        ),
        "embedding_pool": Case(
            EmbeddingPool(),
            BERT,
            {"hidden": numbers(hidden, "float16"), "attention_mask": numbers(mask, "int64")},
            "no tokens",
        ),
    }


def deploy(case: Case, folder: Path) -> Path:
    version = folder / "model" / "1"
    version.mkdir(parents=True)
    for name, source in (deployed_files(case.options.entry) | case.options.files()).items():
        shutil.copyfile(source, version / name)
    return version


def processed(case: Case, folder: Path, inputs: Mapping[str, Any], python: str = sys.executable) -> dict[str, Any]:
    version = folder / "model" / "1"
    version = version if version.exists() else deploy(case, folder)
    job = {"version": str(version), "parameters": case.options.parameters(case.core), "inputs": inputs}
    (folder / "job.json").write_text(json.dumps(job))
    worker = Path(__file__).with_name("worker.py").resolve()
    done = subprocess.run(
        [python, "-I", str(worker), "job.json"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_every_entry_file_has_a_spec_model_and_a_case(cases: dict[str, Case]) -> None:
    assert ENTRIES == sorted(SPEC_MODELS) == sorted(cases)


@pytest.mark.parametrize("entry", ENTRIES)
def test_parameters_have_the_names_of_the_options(entry: str) -> None:
    parameters = importlib.import_module(f"python_backends.{entry}").Parameters
    assert [field.name for field in dataclasses.fields(parameters)] == list(SPEC_MODELS[entry].model_fields)
    assert parameters.__dataclass_params__.frozen


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_deployed_folder_works_without_triton(entry: str, cases: dict[str, Case], tmp_path: Path) -> None:
    case = cases[entry]
    answer = processed(case, tmp_path, case.inputs)
    assert answer["triton"] is False
    expected = {tensor.name: tensor for tensor in case.options.ports(case.core).outputs}
    assert list(answer["outputs"]) == list(expected)
    for name, output in answer["outputs"].items():
        assert output["dtype"] == NUMPY_OF[expected[name].dtype]
        shape = expected[name].shape
        assert output["shape"][0] == 3
        assert len(output["shape"]) == len(shape)
        assert all(isinstance(dim, str) or dim == found for dim, found in zip(shape, output["shape"], strict=True))


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_broken_item_fails_alone(entry: str, cases: dict[str, Case], tmp_path: Path) -> None:
    """What the others are answered is what they are answered without it."""
    case = cases[entry]
    with_broken = processed(case, tmp_path, case.inputs)
    assert list(with_broken["errors"]) == ["1"]
    assert case.error in with_broken["errors"]["1"]
    healthy = {name: {key: _without(value) for key, value in held.items()} for name, held in case.inputs.items()}
    alone = processed(case, tmp_path, healthy)
    assert alone["errors"] == {}
    for name, output in alone["outputs"].items():
        assert output["values"] == _without(with_broken["outputs"][name]["values"])


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_empty_batch_is_answered_with_an_empty_batch(entry: str, cases: dict[str, Case], tmp_path: Path) -> None:
    case = cases[entry]
    empty = {
        name: {"hex": []} if "hex" in held else held | {"values": [], "shape": [0, *np.shape(held["values"])[1:]]}
        for name, held in case.inputs.items()
    }
    answer = processed(case, tmp_path, empty)
    assert answer["errors"] == {}
    assert all(output["shape"][0] == 0 for output in answer["outputs"].values())


@pytest.mark.server
@pytest.mark.parametrize("entry", ENTRIES)
def test_both_generations_of_numpy_agree(entry: str, cases: dict[str, Case], tmp_path: Path) -> None:
    """The embedded server's environment has NumPy 1, this one NumPy 2; Triton's containers have either."""
    from repository_builder.serving.embedded import ensure

    case = cases[entry]
    ours, embedded = (processed(case, tmp_path, case.inputs, str(p)) for p in (sys.executable, ensure().python))
    assert (ours.pop("numpy")[0], embedded.pop("numpy")[0]) == ("2", "1")
    assert ours == embedded


@pytest.mark.parametrize("path", sorted(data_folder("python_backends").rglob("*.py")), ids=lambda path: path.name)
def test_only_the_adapters_know_triton(path: Path) -> None:
    allowed = {"_adapter.py", "onnx_batch.py"}
    imports = {
        alias.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    asks_for_its_folder = path.parts[-2:] == ("onnxruntime", "model.py")
    assert "triton_python_backend_utils" not in imports or path.name in allowed or asks_for_its_folder


def _without(values: list[Any]) -> list[Any]:
    """All but the second item; anything that is no list (a data type) as it is."""
    return [value for index, value in enumerate(values) if index != 1] if isinstance(values, list) else values
