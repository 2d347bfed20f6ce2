"""Texts → token ids, attention mask and token type ids for the core model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from . import _text
from ._adapter import Array, Arrays, Processor, Result


@dataclass(frozen=True)
class Parameters:
    """See `TextTokenize` in the spec reference: the same names and meanings, with nothing left open."""

    tokenizer: str
    max_length: int
    pad_to: int | None
    pad_token: str | None
    dtype: str
    input_ids: str
    attention_mask: str | None
    token_type_ids: str | None


class TritonPythonModel(Processor):
    """`text` STRING [batch, 1] → the core's token inputs, each [batch, tokens of the longest text]."""

    parameters_type = Parameters
    parameters: Parameters

    def setup(self, folder: Path) -> None:
        """Read the tokenizer file."""
        p = self.parameters
        self._tokenizer = Tokenizer.from_file(str(folder / p.tokenizer))
        self._padding = _text.prepare(self._tokenizer, p.max_length, p.pad_token)

    def process(self, inputs: Arrays) -> Result:
        """Tokenize the batch; a text that is empty or not UTF-8 fails alone and does not lengthen the others."""
        texts, errors = _read(inputs["text"])
        tokens = dict(zip(texts, _text.tokenize(self._tokenizer, list(texts.values())), strict=True))
        errors |= {row: "the text has no tokens" for row, found in tokens.items() if found is None}
        batch = [tokens.get(row) or _text.Tokens((), ()) for row in range(inputs["text"].size)]
        return Result(self._outputs(batch), errors)

    def _outputs(self, batch: list[_text.Tokens]) -> Arrays:
        p = self.parameters
        dtype = np.int32 if p.dtype == "INT32" else np.int64
        names = (p.input_ids, p.attention_mask, p.token_type_ids)
        arrays = _text.pad(batch, self._padding, p.pad_to, dtype)
        return {name: array for name, array in zip(names, arrays, strict=True) if name}


def _read(encoded: Array) -> tuple[dict[int, str], dict[int, str]]:
    """Texts and errors by row."""
    texts: dict[int, str] = {}
    errors: dict[int, str] = {}
    for row, data in enumerate(encoded.reshape(-1)):
        try:
            texts[row] = _text.read_text(data)
        except _text.BadText as error:
            errors[row] = str(error)
    return texts, errors
