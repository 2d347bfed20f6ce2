"""Texts to padded token ids. Pure functions around the `tokenizers` library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tokenizers import Tokenizer

Array = np.ndarray[Any, Any]
PAD_TOKENS = ("[PAD]", "<pad>", "<|pad|>", "</s>")


class BadText(Exception):
    """An item that is not a text we can tokenize; the message says why."""


@dataclass(frozen=True)
class Padding:
    """How short texts are filled up."""

    token_id: int
    type_id: int
    left: bool


@dataclass(frozen=True)
class Tokens:
    """The tokens of one text."""

    ids: Sequence[int]
    type_ids: Sequence[int]


def read_text(data: bytes) -> str:
    """UTF-8 bytes to a text that says something. Raises BadText."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadText(f"not UTF-8 text: byte {error.start} ({error.reason})") from None
    if not text.strip():
        raise BadText("the text is empty")
    return text


def prepare(tokenizer: Tokenizer, max_length: int, pad_token: str | None) -> Padding:
    """Set the tokenizer's truncation, switch its padding off, and say how `pad` should do it instead.

    Raises ValueError if there is no padding token, or if `max_length` leaves no room for a token of the text.
    """
    padding = tokenizer.padding or {}
    special = tokenizer.num_special_tokens_to_add(is_pair=False)
    if max_length <= special:
        raise ValueError(f"max_length is {max_length}, but {special} special tokens are added to every text")
    direction = (tokenizer.truncation or {}).get("direction", "right")
    tokenizer.enable_truncation(max_length, direction=direction)
    tokenizer.no_padding()
    left = padding.get("direction", "right") == "left"
    return Padding(_pad_id(tokenizer, padding, pad_token), padding.get("pad_type_id", 0), left)


def tokenize(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Tokens | None]:
    """Tokens of each text; None where a text has none of its own (only special ones)."""
    return [
        Tokens(encoding.ids, encoding.type_ids) if 0 in encoding.special_tokens_mask else None
        for encoding in tokenizer.encode_batch(list(texts))
    ]


def pad(batch: Sequence[Tokens], padding: Padding, length: int | None, dtype: Any) -> tuple[Array, Array, Array]:
    """Ids, mask (1 = token) and type ids, each [n, length]; by default the length of the longest."""
    width = length or max((len(tokens.ids) for tokens in batch), default=0)
    ids = np.full((len(batch), width), padding.token_id, dtype)
    mask = np.zeros_like(ids)
    types = np.full_like(ids, padding.type_id)
    for row, tokens in enumerate(batch):
        count = len(tokens.ids)
        place = slice(width - count, width) if padding.left else slice(count)
        ids[row, place], mask[row, place], types[row, place] = tokens.ids, 1, tokens.type_ids
    return ids, mask, types


def _pad_id(tokenizer: Tokenizer, padding: dict[str, Any], pad_token: str | None) -> int:
    if pad_token is None and "pad_id" in padding:
        return int(padding["pad_id"])
    names = PAD_TOKENS if pad_token is None else (pad_token,)
    found = [number for name in names if (number := tokenizer.token_to_id(name)) is not None]
    if not found:
        raise ValueError(f"the tokenizer has no token {' or '.join(names)} to pad with: set `pad_token`")
    return int(found[0])
