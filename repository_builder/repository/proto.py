"""The official `ModelConfig` message: from `tritonclient`, without importing its clients (which would load grpc)."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from repository_builder.errors import ToolMissing


@cache
def messages() -> ModuleType:
    """The module `model_config_pb2` of `tritonclient`."""
    package = importlib.util.find_spec("tritonclient")
    if package is None or not package.submodule_search_locations:
        raise ToolMissing(
            "cannot read or write config.pbtxt",
            why="the package `tritonclient` is not installed",
            fix="pip install 'tritonclient[grpc]'",
        )
    path = Path(package.submodule_search_locations[0], "grpc", "model_config_pb2.py")
    spec = importlib.util.spec_from_file_location("repository_builder.repository._model_config_pb2", path)
    if spec is None or spec.loader is None:
        raise ToolMissing(
            "cannot read or write config.pbtxt",
            where=path,
            why="`tritonclient` has no model_config_pb2.py",
            fix="pip install 'tritonclient[grpc]>=2.50'",
        )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def new_config(**fields: Any) -> Any:
    """A fresh `ModelConfig` message."""
    return messages().ModelConfig(**fields)
