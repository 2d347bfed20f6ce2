"""Tokenizing with a small tokenizer of our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from python_backends.text_tokenize import TritonPythonModel

VOCABULARY = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "sat"])}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_padding(length=128)  # what a tokenizer file says of padding must not win over ours
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def model(folder: Path, **changes: Any) -> TritonPythonModel:
    parameters = {
        "tokenizer": "tokenizer.json",
        "max_length": 6,
        "pad_to": None,
        "pad_token": None,
        "dtype": "INT64",
        "input_ids": "ids",
        "attention_mask": "mask",
        "token_type_ids": "types",
    }
    made = TritonPythonModel()
    made.configure({name: json.dumps(value) for name, value in (parameters | changes).items()}, folder)
    return made


def texts(*items: str | bytes) -> dict[str, Any]:
    array = np.empty((len(items), 1), object)
    array[:, 0] = [item if isinstance(item, bytes) else item.encode() for item in items]
    return {"text": array}


def test_texts_are_padded_to_the_longest_of_the_batch(folder: Path) -> None:
    result = model(folder).process(texts("The cat sat", "dog"))
    assert result.outputs["ids"].tolist() == [[2, 4, 5, 6, 3], [2, 1, 3, 0, 0]]
    assert result.outputs["mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert not result.outputs["types"].any()
    assert {array.dtype for array in result.outputs.values()} == {np.dtype(np.int64)}


def test_long_texts_are_cut_and_keep_their_last_special_token(folder: Path) -> None:
    result = model(folder).process(texts("cat " * 50))
    assert result.outputs["ids"].tolist() == [[2, 5, 5, 5, 5, 3]]


def test_only_what_the_core_takes_is_made(folder: Path) -> None:
    outputs = model(folder, attention_mask=None, token_type_ids=None, dtype="INT32").process(texts("cat")).outputs
    assert list(outputs) == ["ids"]
    assert outputs["ids"].dtype == np.int32


def test_a_fixed_length_is_padded_to(folder: Path) -> None:
    assert model(folder, pad_to=8).process(texts("cat")).outputs["ids"].tolist() == [[2, 5, 3, 0, 0, 0, 0, 0]]


def test_bad_texts_fail_alone_and_lengthen_nothing(folder: Path) -> None:
    result = model(folder).process(texts("cat", "", " \n\t", b"\xff\xfe", "sat"))
    assert result.errors == {
        1: "the text is empty",
        2: "the text is empty",
        3: "not UTF-8 text: byte 0 (invalid start byte)",
    }
    assert result.outputs["ids"][[0, 4]].tolist() == [[2, 5, 3], [2, 6, 3]]


def test_no_texts_at_all(folder: Path) -> None:
    assert model(folder).process(texts("")).outputs["ids"].shape == (1, 0)


def test_the_padding_side_of_the_file_is_kept(folder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding(direction="left", pad_id=0)
    tokenizer.save(str(folder / "tokenizer.json"))
    result = model(folder).process(texts("the cat", "sat"))
    assert result.outputs["ids"].tolist() == [[2, 4, 5, 3], [0, 2, 6, 3]]
    assert result.outputs["mask"].tolist() == [[1, 1, 1, 1], [0, 1, 1, 1]]


def test_a_padding_token_must_exist(folder: Path) -> None:
    assert model(folder, pad_token="[SEP]").process(texts("cat", "the cat")).outputs["ids"][0, -1] == 3
    with pytest.raises(ValueError, match="has no token <nothing> to pad with"):
        model(folder, pad_token="<nothing>")


def test_special_tokens_must_leave_room(folder: Path) -> None:
    with pytest.raises(ValueError, match="max_length is 2, but 2 special tokens"):
        model(folder, max_length=2)
