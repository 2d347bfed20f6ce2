"""Golden files: recorded inputs and reference outputs of a public model, in one `.npz` without pickle.

`golden.npz` lies in the model's folder (a plain file there is no concern of Triton's). Strings are stored as one byte
array plus the length of each element, since NumPy can store objects only through pickle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, "np.ndarray[Any, Any]"]

FILENAME = "golden.npz"


@dataclass(frozen=True)
class Golden:
    """Inputs (full shape, batch included) and the outputs that the reference gives for them."""

    inputs: Arrays
    outputs: Arrays
    origin: str
    """Where the inputs come from, in words: "8 files of samples/", "random, seed 0"."""
    atol: float = 1e-4
    rtol: float = 1e-3
    """Absolute and relative tolerance of floating-point outputs; other types must be equal."""


def write(golden: Golden, path: Path) -> None:
    """Write a golden file."""
    import numpy as np

    arrays: dict[str, Any] = {}
    for side, tensors in (("inputs", golden.inputs), ("outputs", golden.outputs)):
        for name, array in tensors.items():
            arrays |= _encode(f"{side}/{name}", array)
    head = {"origin": golden.origin, "atol": golden.atol, "rtol": golden.rtol}
    np.savez_compressed(path, header=np.frombuffer(json.dumps(head).encode(), np.uint8), **arrays)


def read(path: Path) -> Golden:
    """Read a golden file."""
    import numpy as np

    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        head = json.loads(stored["header"].tobytes())
        sides: dict[str, dict[str, Any]] = {"inputs": {}, "outputs": {}}
        for key in stored.files:
            side, _, name = key.partition("/")
            if side in sides and not name.endswith("//lengths"):
                sides[side][name] = _decode(stored, key)
    return Golden(sides["inputs"], sides["outputs"], head["origin"], head["atol"], head["rtol"])


def _encode(key: str, array: Any) -> dict[str, Any]:
    import numpy as np

    if array.dtype != object:
        return {key: array}
    items = [item if isinstance(item, bytes) else str(item).encode() for item in array.ravel()]
    lengths = np.array([len(item) for item in items], np.int64).reshape(array.shape)
    return {key: np.frombuffer(b"".join(items), np.uint8), f"{key}//lengths": lengths}


def _decode(stored: Any, key: str) -> Any:
    import numpy as np

    lengths_key = f"{key}//lengths"
    if lengths_key not in stored.files:
        return stored[key]
    lengths, data = stored[lengths_key], stored[key].tobytes()
    ends = np.cumsum(lengths.ravel())
    items = np.empty(lengths.size, object)
    for index, (end, length) in enumerate(zip(ends, lengths.ravel(), strict=True)):
        items[index] = data[end - length : end]
    return items.reshape(lengths.shape)
