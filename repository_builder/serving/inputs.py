"""What a user hands to `infer`, as arrays that the model takes: one request per file, so that a bad one fails alone.

STRING input       any file: its bytes · text
any input          .npy (one input), .npz (one array per input), .json ({"input": nested list} or a nested list)
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repository_builder.errors import SpecError, nearest
from repository_builder.serving.client import Metadata
from repository_builder.tensor import NUMPY_OF, Tensor

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

ARRAY_FILES = (".npy", ".npz", ".json")


@dataclass(frozen=True)
class Sample:
    """One request and what to call it."""

    label: str
    inputs: Mapping[str, Array]


def from_file(path: Path, metadata: Metadata, *, batched: bool) -> Sample:
    """The request that a file stands for; raises `SpecError` for one that the model cannot take."""
    content = _content(path)
    if path.suffix in ARRAY_FILES and not _takes_raw_bytes(metadata, path):
        arrays = _arrays(path, metadata)
        known = {tensor.name: tensor for tensor in metadata.interface.inputs}
        for name in arrays:
            if name not in known:
                raise SpecError(
                    f"model `{metadata.name}` has no input `{name}`{nearest(name, known)}",
                    where=path,
                    fix=f"its inputs are {', '.join(map(str, known.values()))}",
                )
        return Sample(
            str(path), {name: _shaped(known[name], value, path, batched=batched) for name, value in arrays.items()}
        )
    return Sample(str(path), _one_string(metadata, content, str(path), batched=batched))


def from_text(text: str, metadata: Metadata, *, batched: bool) -> Sample:
    """The request for a text given on the command line."""
    return Sample(text, _one_string(metadata, text.encode(), "--text", batched=batched))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SpecError("cannot read the input file", where=path, why=error.strerror or str(error)) from None


def _takes_raw_bytes(metadata: Metadata, path: Path) -> bool:
    """A JSON file can also be what a STRING input wants; arrays in NumPy's formats never are."""
    inputs = metadata.interface.inputs
    return path.suffix == ".json" and len(inputs) == 1 and inputs[0].dtype == "STRING"


def _one_string(metadata: Metadata, content: bytes, where: str, *, batched: bool) -> dict[str, Array]:
    import numpy as np

    strings = [tensor for tensor in metadata.interface.inputs if tensor.dtype == "STRING"]
    if len(strings) != 1 or len(metadata.interface.inputs) != 1:
        raise SpecError(
            f"model `{metadata.name}` does not take a plain file or text",
            where=where,
            why=f"its inputs are {', '.join(map(str, metadata.interface.inputs))}",
            fix="give one array per input: a .npz or .json file with the inputs' names",
        )
    shape = _row_shape(strings[0], batched=batched)
    if any(dim != 1 for dim in shape if isinstance(dim, int)):
        raise SpecError(
            f"input `{strings[0].name}` takes more than one string",
            where=where,
            why=f"it is {strings[0]}",
            fix="give a .json or .npz file",
        )
    array = np.empty([1] * len(shape), object)
    array[...] = content
    return {strings[0].name: array}


def _arrays(path: Path, metadata: Metadata) -> dict[str, Any]:
    import numpy as np

    names = [tensor.name for tensor in metadata.interface.inputs]
    try:
        if path.suffix == ".json":
            value = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(value, dict):
                return value
        elif path.suffix == ".npz":
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        else:
            with path.open("rb") as file:
                value = np.load(file, allow_pickle=False)
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise SpecError("cannot read the input file", where=path, why=str(error)) from None
    if len(names) != 1:
        raise SpecError(
            f"model `{metadata.name}` has {len(names)} inputs, and the file holds one unnamed array",
            where=path,
            fix=f"give a .npz or .json file with the names {', '.join(names)}",
        )
    return {names[0]: value}


def _shaped(tensor: Tensor, value: Any, path: Path, *, batched: bool) -> Array:
    """The value as an array of the input's type; a missing batch dimension is added."""
    import numpy as np

    try:
        if tensor.dtype == "STRING":
            array = np.array(value, object)
        else:
            array = np.asarray(value)
            wanted = np.dtype(NUMPY_OF.get(tensor.dtype, "float32"))
            if array.dtype != wanted and (path.suffix == ".json" or np.can_cast(array.dtype, wanted, "same_kind")):
                array = array.astype(wanted)
    except (ValueError, TypeError, OverflowError) as error:
        raise SpecError(
            f"input `{tensor.name}` is not an array of {tensor.dtype}", where=path, why=str(error)
        ) from None
    return array[np.newaxis] if batched and array.ndim == len(tensor.shape) - 1 else array


def _row_shape(tensor: Tensor, *, batched: bool) -> tuple[int | str, ...]:
    return (1, *tensor.shape[1:]) if batched else tensor.shape
