"""The winner written back into the spec: the YAML keeps its comments, order and layout."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repository_builder.errors import SpecError
from repository_builder.sweep.sample import Setting


def edited(text: str, file: Path, pipeline: str, changes: Mapping[str, tuple[Setting, Setting]], limit: int) -> str:
    """The spec's text with new values for one model of it.

    `changes`: role (`core`, `preprocess`, `postprocess`) → setting before and after. `limit`: the largest batch that the
    pipeline is built for. Raises SpecError where the spec does not hold that model in a form that can be edited.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap
    from ruamel.yaml.error import YAMLError

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    try:
        document = yaml.load(text)
        model = document["models"][pipeline]
    except (YAMLError, KeyError, TypeError) as error:
        raise _cannot(file, pipeline, str(error)) from error
    if not isinstance(model, CommentedMap):
        raise _cannot(file, pipeline, "it is not a mapping")
    if "<<" in text:
        raise _cannot(file, pipeline, "it uses merge keys (`<<`): writing there could change other models")
    for role, (before, after) in changes.items():
        _edit(model, role, before, after, CommentedMap)
    largest = max(after.max_batch for _, after in changes.values())
    if largest > limit:
        model["max_batch_size"] = largest
        for role, (_, after) in changes.items():  # the others are not to grow with it
            if after.max_batch < largest:
                _place(_place(model, "tuning", CommentedMap), role, CommentedMap)["max_batch_size"] = after.max_batch
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


def _edit(model: Any, role: str, before: Setting, after: Setting, mapping: Any) -> None:
    if before.instances != after.instances:
        _place(model, "instances", mapping)[role] = after.instances
    values = {
        "max_batch_size": (before.max_batch, after.max_batch),
        "max_queue_delay_us": (before.delay_us, after.delay_us),
        "preferred_batch_size": (list(before.preferred), list(after.preferred)),
        "threads": (before.threads, after.threads),
    }
    for name, (old, new) in values.items():
        if old != new:
            _place(_place(model, "tuning", mapping), role, mapping)[name] = new


def _place(parent: Any, key: str, mapping: Any) -> Any:
    """The mapping under a key, made if it is not there; new ones are written in one line, as specs are."""
    if parent.get(key) is None:
        fresh = mapping()
        fresh.fa.set_flow_style()
        parent[key] = fresh
    return parent[key]


def _cannot(file: Path, pipeline: str, why: str) -> SpecError:
    return SpecError(
        f"cannot write the tuning of `{pipeline}` into the spec",
        where=file,
        why=why,
        fix="write it by hand from the diff shown",
    )
