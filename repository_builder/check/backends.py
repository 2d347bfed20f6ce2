"""Backends and platforms: what Triton infers from a folder, and which names belong together.

Source: `AutoCompleteBackendFields`, `GetBackendType` and `GetBackendTypeFromPlatform` of Triton's core (73aad7c).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

PLATFORMS = {
    "tensorrt_plan": "tensorrt",
    "onnxruntime_onnx": "onnxruntime",
    "pytorch_libtorch": "pytorch",
    "torch_aoti": "pytorch",
    "tensorflow_graphdef": "tensorflow",
    "tensorflow_savedmodel": "tensorflow",
}
"""Platform → backend. `ensemble` has none; the Python backend has no platform."""

PAIRED = frozenset(PLATFORMS.values())
"""Backends whose platform, if given, must be theirs."""

KNOWN = PAIRED | {
    "python", "openvino", "dali", "fil", "identity", "repeat", "square", "tensorrtllm", "vllm", "fastertransformer",
    "armnn_tflite", "hugectr", "hps", "stateful", "trtllm", "pytorch_aoti", "sequence", "query", "dyna_sequence",
    "implicit_state", "iterative_sequence", "distributed_addsub", "tensorrt_rtx", "minimal", "recommended", "bls", "snpe",
}  # fmt: skip
"""Backends of NVIDIA's containers, examples and tests, and ours."""

FILENAMES = {"tensorrt": "model.plan", "onnxruntime": "model.onnx", "openvino": "model.xml", "python": "model.py"}

COMPLETING = frozenset({"tensorrt", "onnxruntime", "openvino", "tensorflow"})
"""Backends that can fill in missing inputs and outputs from the model file."""


@dataclass(frozen=True)
class Effective:
    """Backend fields after inference."""

    backend: str
    platform: str
    filename: str


def infer(config: Any, name: str, path: Path, folders: tuple[str, ...]) -> Effective:
    """The fields as Triton completes them; an empty backend means that it cannot tell."""
    platform, backend, filename = config.platform, config.backend, config.default_model_filename
    if platform == "ensemble" or (config.HasField("ensemble_scheduling") and not backend):
        return Effective(backend, platform, filename)
    if platform.startswith("tensorflow_") or (not platform and backend == "tensorflow"):
        saved = "model.graphdef" if platform == "tensorflow_graphdef" else "model.savedmodel"
        return Effective(backend or "tensorflow", platform, filename or saved)
    if not backend:
        backend = PLATFORMS.get(platform, "") or ("pytorch" if platform == "libtorch" else "")
    if not backend:
        backend = _by_filename(filename) or ("" if platform or filename else _by_content(path, folders))
    if backend == "pytorch":
        libtorch = platform in ("", "pytorch_libtorch", "libtorch")
        aoti = (
            platform == "torch_aoti" or filename == "model.pt2" or (libtorch and not _holds(path, folders, "model.pt"))
        )
        return Effective(backend, platform or "pytorch_libtorch", filename or ("model.pt2" if aoti else "model.pt"))
    if not backend and not platform and not filename and "." in name:
        backend = name.partition(".")[2]
        return Effective(backend, platform, f"model.{backend}")
    platform = platform or {"tensorrt": "tensorrt_plan", "onnxruntime": "onnxruntime_onnx"}.get(backend, "")
    return Effective(backend, platform, filename or FILENAMES.get(backend, ""))


def _by_filename(filename: str) -> str:
    known = {name: backend for backend, name in FILENAMES.items()} | {"model.pt": "pytorch", "model.pt2": "pytorch"}
    return known.get(filename, "")


def _by_content(path: Path, folders: tuple[str, ...]) -> str:
    """By the files of the alphabetically first folder, in Triton's order."""
    if not folders:
        return ""
    first = path / folders[0]
    if (first / "model.savedmodel").is_dir() or (first / "model.graphdef").is_file():
        return "tensorflow"
    for filename in ("model.plan", "model.onnx", "model.xml", "model.pt", "model.pt2", "model.py"):
        file = first / filename
        if file.is_file() or (filename == "model.onnx" and file.is_dir()):
            return _by_filename(filename)
    return ""


def _holds(path: Path, folders: tuple[str, ...], filename: str) -> bool:
    return any((path / folder / filename).exists() for folder in folders) or not any(
        (path / folder / "model.pt2").exists() for folder in folders
    )
