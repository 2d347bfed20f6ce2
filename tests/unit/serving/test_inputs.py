"""Files and texts of the command line as arrays of the model's inputs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from repository_builder.errors import SpecError
from repository_builder.serving.client import Metadata
from repository_builder.serving.inputs import from_file, from_text
from repository_builder.tensor import Interface, Tensor


def model(*inputs: Tensor) -> Metadata:
    return Metadata("m", ("1",), "ensemble", Interface(inputs, ()))


IMAGE = model(Tensor("image", "STRING", ("?0", 1)))
ARRAY = model(Tensor("x", "FP32", ("?0", 2)))
PAIR = model(Tensor("x", "FP32", ("?0", 2)), Tensor("n", "INT64", ("?0", 1)))


def test_any_file_is_the_bytes_of_a_string_input(tmp_path: Path) -> None:
    file = tmp_path / "image.png"
    file.write_bytes(b"\x89PNG\0\xff")
    sample = from_file(file, IMAGE, batched=True)
    assert sample.inputs["image"].shape == (1, 1)
    assert sample.inputs["image"][0, 0] == b"\x89PNG\0\xff"


def test_a_text() -> None:
    assert from_text("größer", IMAGE, batched=True).inputs["image"].tolist() == [["größer".encode()]]


def test_an_unbatched_string_keeps_its_shape() -> None:
    assert from_text("a", model(Tensor("t", "STRING", (1,))), batched=False).inputs["t"].shape == (1,)


@pytest.mark.parametrize("value", [[1, 2], [[1, 2]], {"x": [1, 2]}, {"x": [[1, 2]]}])
def test_json_gets_its_type_and_batch(tmp_path: Path, value: object) -> None:
    file = tmp_path / "a.json"
    file.write_text(json.dumps(value))
    array = from_file(file, ARRAY, batched=True).inputs["x"]
    assert array.dtype == np.float32
    assert array.tolist() == [[1, 2]]


def test_npz_by_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones((3, 2)), n=np.zeros((3, 1), np.int32))
    inputs = from_file(tmp_path / "a.npz", PAIR, batched=True).inputs
    assert {name: array.dtype.name for name, array in inputs.items()} == {"x": "float32", "n": "int64"}


def test_npy(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((4, 2), np.float16))
    assert from_file(tmp_path / "a.npy", ARRAY, batched=True).inputs["x"].shape == (4, 2)


def test_a_json_file_can_be_the_text_itself(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text("[1]")
    assert from_file(file, IMAGE, batched=True).inputs["image"].tolist() == [[b"[1]"]]


@pytest.mark.parametrize(
    ("name", "content", "metadata", "words"),
    [
        ("a.png", b"x", ARRAY, "does not take a plain file"),
        ("a.png", b"x", PAIR, "one array per input"),
        ("a.json", b"[1, 2]", PAIR, "has 2 inputs"),
        ("a.json", b'{"xx": [1]}', PAIR, "has no input `xx` (did you mean `x`?)"),
        ("a.json", b"[1, [2]]", ARRAY, "is not an array of FP32"),
        ("a.json", b"{", ARRAY, "cannot read the input file"),
        ("a.json", b"\xff", ARRAY, "cannot read the input file"),
        ("a.npy", b"not numpy", ARRAY, "cannot read the input file"),
        ("a.npz", b"PK\x03\x04", ARRAY, "cannot read the input file"),
        ("a.npy", b"", ARRAY, "cannot read the input file"),
    ],
)
def test_what_a_model_cannot_take(tmp_path: Path, name: str, content: bytes, metadata: Metadata, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SpecError) as caught:
        from_file(tmp_path / name, metadata, batched=True)
    assert words in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot read the input file"):
        from_file(tmp_path / "none.png", IMAGE, batched=True)


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(SpecError, match="cannot read the input file"):
        from_file(tmp_path / "a.npy", ARRAY, batched=True)
