"""The facts about TensorRT that ship as data: operator support, NVIDIA's plugins, images, costs. Read once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

_PLUGIN_FOR = {
    "RoiAlign": "ROIAlign_TRT",
    "ScatterElements": "ScatterElements",
    "TopK": "TopkLastDim",
    "MMCVModulatedDeformConv2d": "ModulatedDeformConv2d",
    "MultiScaleDeformableAttention": "MultiscaleDeformableAttnPlugin_TRT",
    "MultiscaleDeformableAttn": "MultiscaleDeformableAttnPlugin_TRT",
    "EmbedLayerNormalization": "CustomEmbLayerNormPluginDynamic",
    "CropAndResize": "CropAndResizeDynamic",
}
"""Operator → NVIDIA's plugin of another name that computes it."""


@dataclass(frozen=True)
class Plugin:
    """A plugin that NVIDIA ships with TensorRT."""

    name: str
    covers: str
    usable: bool
    """Whether a version with the interface V3 exists that is not deprecated."""


@lru_cache
def read(name: str) -> dict[str, Any]:
    """A data file as plain values; its head names the source of the facts."""
    import yaml

    text = resources.files("repository_builder.onnx_graph").joinpath("data", f"{name}.yaml").read_text("utf-8")
    table: dict[str, Any] = yaml.safe_load(text)
    return table


def plugin_for(operator: str) -> Plugin | None:
    """NVIDIA's plugin for an operator or of that very name."""
    wanted = _PLUGIN_FOR.get(operator, operator)
    for entry in read("nvidia_plugins")["plugins"]:
        if entry["name"] == wanted:
            return Plugin(wanted, entry["covers"], bool(entry["usable_new_builds_v3"]))
    return None


def cost(operator: str) -> tuple[str, str] | None:
    """What bounds an exotic operator, and why; None for ordinary ones."""
    entry = read("operator_costs").get(operator)
    return (entry["bound"], entry["note"]) if entry else None


def tensorrt_of_image(release: str) -> str | None:
    """TensorRT's version in a monthly Triton image."""
    version = read("images").get(release)
    return str(version) if version else None
