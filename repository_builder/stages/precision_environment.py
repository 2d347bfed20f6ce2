"""The precision tools (nvidia-modelopt) in an environment of their own, installed on first use below the cache folder.

They pin older versions of `onnx` and `onnxruntime` than ours (about 1.5 GB on disk with the CPU build of torch).
"""

from __future__ import annotations

from pathlib import Path

from repository_builder.console import Progress, silent
from repository_builder.stages.tool_environment import ToolEnvironment

_ENVIRONMENT = ToolEnvironment("precision", "the precision tools", Path(__file__).with_name("precision.lock"), 2)


def versions() -> dict[str, str]:
    """Package → version of everything in the environment that shapes a result."""
    every = _ENVIRONMENT.pinned()
    return {name: every[name] for name in ("nvidia-modelopt", "onnx", "onnxruntime", "onnxslim", "torch")}


def folder() -> Path:
    """Where the environment is, or will be."""
    return _ENVIRONMENT.folder()


def installed() -> Path | None:
    """The environment's interpreter, if the environment is complete."""
    return _ENVIRONMENT.installed()


def ensure(progress: Progress = silent) -> Path:
    """The environment's interpreter; installs it on first use."""
    return _ENVIRONMENT.ensure(progress)
