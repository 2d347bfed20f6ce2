"""Export a dozen architectures of `transformers` with random weights, small and without any download.

    python benchmarks/onnx_architectures.py DIR [NAME…]

Needs torch, onnxscript and transformers, in any environment. Each is exported with a dynamic batch (and sequence length);
where torch cannot trace that with its fused attention, with plain attention (`eager`).
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as hf

OPSET = 20
TEXT = {"vocab_size": 200}


def ids() -> Any:
    """Token ids."""
    return torch.randint(0, 100, (2, 16))


def picture() -> Any:
    """A small image."""
    return torch.randn(2, 3, 64, 64)


def text_inputs() -> dict[str, Any]:
    """Tokens and their mask."""
    return {"input_ids": ids(), "attention_mask": torch.ones(2, 16, dtype=torch.long)}


def whisper(attention: str) -> Any:
    """The encoder alone."""
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    config = hf.WhisperConfig(
        d_model=64, encoder_layers=2, decoder_layers=1, encoder_attention_heads=4, encoder_ffn_dim=128,
        max_source_positions=50, num_mel_bins=80, attn_implementation=attention,
    )  # fmt: skip
    return WhisperEncoder(config)


def backbone() -> Any:
    """A small ResNet for DETR."""
    return hf.ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32, 32, 64], depths=[1, 1, 1, 1], out_features=["stage4"]
    )


SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
CLIP = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
MODELS: dict[str, tuple[Callable[[str], Any], Callable[[], dict[str, Any]]]] = {
    "bert": (lambda a: hf.BertModel(hf.BertConfig(**TEXT, **SMALL, attn_implementation=a)), text_inputs),
    "distilbert": (
        lambda a: hf.DistilBertModel(
            hf.DistilBertConfig(**TEXT, dim=64, n_layers=2, n_heads=4, hidden_dim=128, attn_implementation=a)
        ),
        text_inputs,
    ),
    "vit": (
        lambda a: hf.ViTModel(hf.ViTConfig(**SMALL, image_size=64, attn_implementation=a)),
        lambda: {"pixel_values": picture()},
    ),
    "swin": (
        lambda a: hf.SwinModel(
            hf.SwinConfig(
                image_size=64, embed_dim=24, depths=[2, 2], num_heads=[2, 4], window_size=4, attn_implementation=a
            )
        ),
        lambda: {"pixel_values": picture()},
    ),
    "resnet": (
        lambda _: hf.ResNetModel(hf.ResNetConfig(embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1])),
        lambda: {"pixel_values": picture()},
    ),
    "convnext": (
        lambda _: hf.ConvNextModel(hf.ConvNextConfig(hidden_sizes=[16, 32, 32, 64], depths=[1, 1, 1, 1])),
        lambda: {"pixel_values": picture()},
    ),
    "detr": (
        lambda a: hf.DetrForObjectDetection(
            hf.DetrConfig(
                use_timm_backbone=False,
                use_pretrained_backbone=False,
                backbone=None,
                backbone_config=backbone(),
                d_model=32,
                encoder_layers=1,
                decoder_layers=1,
                encoder_attention_heads=2,
                decoder_attention_heads=2,
                encoder_ffn_dim=64,
                decoder_ffn_dim=64,
                num_queries=10,
                attn_implementation=a,
            )
        ),
        lambda: {"pixel_values": picture()},
    ),
    "segformer": (
        lambda _: hf.SegformerForSemanticSegmentation(
            hf.SegformerConfig(
                hidden_sizes=[16, 32, 32, 64], depths=[1] * 4, num_attention_heads=[1, 2, 2, 4], decoder_hidden_size=32
            )
        ),
        lambda: {"pixel_values": picture()},
    ),
    "whisper_encoder": (whisper, lambda: {"input_features": torch.randn(2, 80, 100)}),
    "clip": (
        lambda a: hf.CLIPModel(
            hf.CLIPConfig(
                text_config={
                    **TEXT,
                    **CLIP,
                    "max_position_embeddings": 20,
                    "bos_token_id": 1,
                    "eos_token_id": 2,
                    "pad_token_id": 0,
                },
                vision_config={**CLIP, "image_size": 64, "patch_size": 16},
                projection_dim=32,
                attn_implementation=a,
            )
        ),
        lambda: {"input_ids": ids(), "pixel_values": picture()},
    ),
    "t5_encoder": (
        lambda a: hf.T5EncoderModel(
            hf.T5Config(**TEXT, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, attn_implementation=a)
        ),
        lambda: {"input_ids": ids()},
    ),
    "mamba": (
        lambda _: hf.MambaModel(
            hf.MambaConfig(**TEXT, hidden_size=32, state_size=8, num_hidden_layers=1, use_cache=False)
        ),
        lambda: {"input_ids": ids()},
    ),
}
"""Name → module for an attention implementation, example inputs."""

FIXED_LENGTH = {"mamba", "clip"}
"""Architectures whose sequence length is traced as a number (a loop over it, or a fixed table)."""


def export(name: str, folder: Path) -> str:
    """Export one architecture; says how."""
    build, example = MODELS[name]
    failure = ""
    for attention, dynamic in (("sdpa", True), ("eager", True), ("eager", False)):
        torch.manual_seed(0)
        try:
            module = build(attention).eval()
            inputs = example()
            shapes = {key: _dynamic(name, value) for key, value in inputs.items()} if dynamic else None
            program = torch.onnx.export(
                module, (), kwargs=inputs, dynamo=True, dynamic_shapes=shapes, opset_version=OPSET, verbose=False
            )
        except (torch.onnx.OnnxExporterError, ValueError, RuntimeError) as error:
            failure = str(error).strip().splitlines()[-1]
        else:
            program.save(folder / f"{name}.onnx")
            return f"{attention} attention, {'dynamic' if dynamic else 'fixed'} sizes"
    return f"not exported: {failure}"


def _dynamic(name: str, value: Any) -> dict[int, str]:
    sequence = value.dim() == 2 and name not in FIXED_LENGTH
    return {0: "batch", 1: "sequence"} if sequence else {0: "batch"}


def main() -> int:
    """Export all, or those named."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    for name in sys.argv[2:] or MODELS:
        start = time.monotonic()
        print(f"{name}: {export(name, folder)}, {time.monotonic() - start:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
