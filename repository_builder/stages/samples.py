"""Golden inputs: from a folder of files, a text file, a `.npz`, or random with a fixed seed where the spec names none."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repository_builder.errors import Problem, SpecError
from repository_builder.stages.graph import GraphFacts
from repository_builder.tensor import NUMPY_OF, Interface, Tensor

SEED = 0
DYNAMIC_SIZE = 8
"""Size of a dynamic dimension (other than the batch) of random inputs."""


@dataclass(frozen=True)
class Samples:
    """Arrays by public input, all of one batch, and where they come from."""

    arrays: Mapping[str, Any]
    origin: str


def collect(public: Interface, source: Path | None, count: int, facts: GraphFacts) -> Samples:
    """Inputs for the public model: as many items as there are and `count` allows (one request's worth if not batched)."""
    if source is None:
        batch = {str(public.inputs[0].shape[0]): count} if facts.batched else {}
        return Samples(_random(public, {**facts.sizes, **batch}), f"random, seed {SEED}")
    if source.suffix == ".npz":
        return _from_npz(public, source, count, batched=facts.batched)
    texts = [t for t in public.inputs if t.dtype == "STRING"]
    if len(texts) != 1 or len(public.inputs) != 1:
        listed = ", ".join(f"`{t}`" for t in public.inputs)
        raise SpecError(
            "golden.inputs must be a .npz for this model",
            where=source,
            why=f"files and texts fill one STRING input, but the inputs are {listed}",
            fix="write the arrays with numpy.savez, one per input, under the inputs' names",
        )
    items = _items(source)
    fixed = texts[0].shape[0] if isinstance(texts[0].shape[0], int) else None
    rows = fixed or min(count, len(items))
    return Samples({texts[0].name: _strings(items, rows)}, f"{rows} items of {source.name}")


def _items(source: Path) -> list[bytes]:
    if source.is_dir():
        items = [path.read_bytes() for path in sorted(source.iterdir()) if path.is_file() and path.name[0] != "."]
    elif source.suffix == ".txt":
        items = [line.encode() for line in source.read_text(encoding="utf-8").splitlines() if line.strip()]
    else:
        items = [source.read_bytes()]
    if not items:
        raise SpecError("golden.inputs holds no samples", where=source, why="it is empty", fix="add at least one")
    return items


def _strings(items: list[bytes], rows: int) -> Any:
    import numpy as np

    array = np.empty((rows, 1), object)
    for row in range(rows):
        array[row, 0] = items[row % len(items)]
    return array


def _from_npz(public: Interface, source: Path, count: int, *, batched: bool) -> Samples:
    import numpy as np

    try:
        with np.load(source, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError) as error:
        fix = "write it with numpy.savez; strings as fixed-width NumPy strings"
        raise SpecError("cannot read golden.inputs", where=source, why=str(error), fix=fix) from error
    problems = [p for tensor in public.inputs for p in _mismatches(tensor, arrays, source)]
    if problems:
        raise SpecError.many(problems)
    chosen = {t.name: _as_dtype(arrays[t.name], t) for t in public.inputs}
    if batched:
        chosen = {name: array[:count] for name, array in chosen.items()}
    rows = len(next(iter(chosen.values())))
    return Samples(chosen, f"{rows} items of {source.name}" if batched else source.name)


def _mismatches(tensor: Tensor, arrays: Mapping[str, Any], source: Path) -> list[Problem]:
    where = f"{source} ({tensor.name})"
    if tensor.name not in arrays:
        found = ", ".join(f"`{name}`" for name in arrays)
        return [Problem(f"golden.inputs lacks `{tensor.name}`", where, f"it has {found}", "add the array")]
    shape = arrays[tensor.name].shape
    fits = len(shape) == len(tensor.shape) and all(
        isinstance(dim, str) or dim == size for dim, size in zip(tensor.shape, shape, strict=True)
    )
    if not fits:
        why = f"the array's shape is {list(shape)}, the input is `{tensor}`"
        return [
            Problem(f"golden.inputs does not fit `{tensor.name}`", where, why, "give the full shape, batch included")
        ]
    return []


def _as_dtype(array: Any, tensor: Tensor) -> Any:
    import numpy as np

    if tensor.dtype != "STRING":
        return array.astype(NUMPY_OF[tensor.dtype])
    encoded = np.empty(array.shape, object)
    for index, item in np.ndenumerate(array):
        encoded[index] = item if isinstance(item, bytes) else str(item).encode()
    return encoded


def _random(public: Interface, sizes: Mapping[str, int]) -> dict[str, Any]:
    """Arrays that most networks accept, and for STRING inputs small images or texts."""
    from repository_builder.onnx_graph import samples

    known = {**dict.fromkeys(samples.symbols(public), DYNAMIC_SIZE), **sizes}
    arrays: dict[str, Any] = samples.generate(public, known, seed=SEED)
    for tensor in public.inputs:
        if tensor.dtype == "STRING":
            arrays[tensor.name] = _random_strings(tensor, arrays[tensor.name].shape)
    return arrays


def _random_strings(tensor: Tensor, shape: tuple[int, ...]) -> Any:
    import numpy as np

    generator = np.random.default_rng(SEED)
    array = np.empty(shape, object)
    for number, index in enumerate(np.ndindex(shape)):
        array[index] = _random_png(generator) if tensor.name == "image" else b"golden sample %d" % number
    return array


def _random_png(generator: Any) -> bytes:
    import numpy as np
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(generator.integers(0, 256, (32, 32, 3)).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()
