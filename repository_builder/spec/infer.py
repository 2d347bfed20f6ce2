"""A spec for an ONNX file that came without one: everything that the graph says, written out for the user to change."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from repository_builder.tensor import Interface, Tensor

BATCH_SIZES = (1, 4, 8)
"""Smallest, best and largest batch where nobody said one."""
OTHER_SIZES = (1, 128, 512)
"""The same for a dynamic dimension of unknown meaning, such as a sequence length."""


def model_name(file: Path) -> str:
    """A name that Triton takes, made of the file's."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", file.stem).strip("_-") or "model"


def spec_text(file: Path, interface: Interface, *, batched: bool, why: str, relative_to: Path) -> str:
    """YAML of the inferred spec, with a comment for every guess."""
    import os

    path = os.path.relpath(file, relative_to)
    lines = [
        f"# Inferred by triton-repo from {file.name}; change what is wrong and build this file instead.",
        "models:",
        f"  {model_name(file)}:",
        f"    source: {{onnx: {_quoted(path)}}}",
        "    target: auto",
        *(f"    # input   {tensor}" for tensor in interface.inputs),
        *(f"    # output  {tensor}" for tensor in interface.outputs),
    ]
    if batched:
        lines += [f"    max_batch_size: {BATCH_SIZES[2]}  # a guess: {why}"]
        lines += _profile(interface)
    else:
        lines += [f"    max_batch_size: 0  # {why}"]
    return "\n".join(lines) + "\n"


def _profile(interface: Interface) -> Iterator[str]:
    guessed = {str(dim) for tensor in interface.inputs for dim in tensor.shape[1:] if isinstance(dim, str)}
    note = f"  # sizes of {', '.join(sorted(guessed))} are guesses" if guessed else ""
    yield f"    profiles:{note}"
    yield "      default:"
    for tensor in interface.inputs:
        ranges = ", ".join(f"{kind}: {_shape(tensor, index)}" for index, kind in enumerate(("min", "opt", "max")))
        yield f"        {_quoted(tensor.name)}: {{{ranges}}}"


def _shape(tensor: Tensor, kind: int) -> list[int]:
    rest = [dim if isinstance(dim, int) else OTHER_SIZES[kind] for dim in tensor.shape[1:]]
    return [BATCH_SIZES[kind], *rest]


def _quoted(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z_][\w./-]*", text) else "'" + text.replace("'", "''") + "'"
