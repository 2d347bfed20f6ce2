"""Pre- and post-processors as stages see them: options as plain parameters, files as sources (never as paths in a key)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repository_builder.spec.processors import POSTPROCESSORS, PREPROCESSORS, Processor

PROCESSORS: dict[str, type[Processor]] = PREPROCESSORS | POSTPROCESSORS


def describe(role: str, processor: Processor | None) -> tuple[dict[str, Any], dict[str, Path]]:
    """Parameters and sources of a stage that needs this processor; `role` is `preprocess` or `postprocess`."""
    if processor is None:
        return {}, {}
    files = {
        name: value for name in type(processor).model_fields if isinstance(value := getattr(processor, name), Path)
    }
    options = processor.model_dump(mode="json", exclude=set(files))
    params = {role: {"entry": processor.entry, "options": options, "files": sorted(files)}}
    return params, {f"{role}.{name}": path for name, path in files.items()}


def restore(role: str, params: Mapping[str, Any], sources: Mapping[str, Path]) -> Processor | None:
    """Inverse of `describe`, inside a stage."""
    if role not in params:
        return None
    described = params[role]
    files = {name: sources[f"{role}.{name}"] for name in described["files"]}
    return PROCESSORS[described["entry"]].model_validate({**described["options"], **files})
