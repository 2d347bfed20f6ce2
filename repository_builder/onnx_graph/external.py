"""External data: weights in files beside the graph, and the rule that they never leave its folder.

A graph is untrusted input. Its `location` entries are paths that every runtime opens blindly; absolute paths, `..`,
symbolic links and hard links have all been used to read foreign files (CVE-2026-27489, 34445 to 34447 of `onnx` before
1.21). So each entry is judged here, before any other library sees the graph.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from repository_builder.errors import GraphError, Problem
from repository_builder.onnx_graph import walk

if TYPE_CHECKING:
    import onnx

_COPY = "put real copies of all files into one folder (`cp -rL <folder> <new folder>`) and use the graph there"


def is_external(tensor: onnx.TensorProto) -> bool:
    """Whether the tensor's values lie in another file."""
    return bool(tensor.data_location == tensor.EXTERNAL)


def entries(tensor: onnx.TensorProto) -> dict[str, str]:
    """`location`, `offset`, `length` … of an external tensor, as written."""
    return {entry.key: entry.value for entry in tensor.external_data}


def confine(model: onnx.ModelProto, path: Path) -> None:
    """Raise one GraphError with every external tensor that is missing, too short or outside the graph's folder."""
    problems: dict[tuple[str, str], Problem] = {}
    for tensor in walk.tensors(model):
        if is_external(tensor):
            for why, fix in _faults(tensor, path.parent):
                place = f"{path} (tensor `{tensor.name}`, external data `{entries(tensor).get('location', '')}`)"
                what = f"the external data of `{path.name}` cannot be used"
                problems.setdefault((entries(tensor).get("location", ""), why), Problem(what, place, why, fix))
    if problems:
        raise GraphError.many(problems.values())


def files(model: onnx.ModelProto) -> tuple[str, ...]:
    """Relative paths of all files that hold weights of the graph, sorted."""
    return tuple(sorted({entries(t).get("location", "") for t in walk.tensors(model) if is_external(t)}))


def size(model: onnx.ModelProto) -> int:
    """Bytes of all external tensors together."""
    return sum(expected_bytes(tensor) for tensor in walk.tensors(model) if is_external(tensor))


def load_into(model: onnx.ModelProto, folder: Path) -> None:
    """Move the values of all external tensors into the message. The graph must have passed `confine`."""
    for tensor in walk.tensors(model):
        if is_external(tensor):
            offset, length = _span(tensor)
            with (folder / entries(tensor)["location"]).open("rb") as stream:
                stream.seek(offset)
                tensor.raw_data = stream.read(length)
            del tensor.external_data[:]
            tensor.data_location = tensor.DEFAULT


def expected_bytes(tensor: onnx.TensorProto) -> int:
    """Bytes that shape and type call for; 4-bit types are packed in pairs. 0 for strings."""
    import math

    bits = _BITS.get(tensor.data_type, 0)
    return int((math.prod(tensor.dims) * bits + 7) // 8)


_BITS = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16,
    17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2,
}  # fmt: skip
"""TensorProto.DataType → bits per element (onnx.proto)."""


def _faults(tensor: onnx.TensorProto, folder: Path) -> Iterator[tuple[str, str]]:
    location = entries(tensor).get("location", "")
    if not location:
        yield "it names no file", "export again"
    elif PurePosixPath(location).is_absolute() or Path(location).is_absolute() or ":" in location[:3]:
        yield (
            "the path is absolute; such a graph works on one machine only and could read any file",
            "save it again with a relative path: `onnx.save(…, save_as_external_data=True, location='model.data')`",
        )
    elif ".." in PurePosixPath(location.replace("\\", "/")).parts:
        yield "the path leads out of the graph's folder (`..`)", _COPY
    else:
        yield from _file_faults(tensor, folder, location)


def _file_faults(tensor: onnx.TensorProto, folder: Path, location: str) -> Iterator[tuple[str, str]]:
    file = folder / location
    for part in (file, *file.parents):
        if part == folder:
            break
        if part.is_symlink():
            yield f"`{part.relative_to(folder)}` is a symbolic link", _COPY
            return
    if not file.exists():
        yield "there is no such file", f"put `{location}` beside the graph: both are one model"
    elif not (info := file.stat()) or not stat.S_ISREG(info.st_mode):
        yield "it is not a regular file", "export again"
    elif info.st_nlink > _links_inside(file, info):
        yield "it is a hard link to a file outside the graph's folder", _COPY
    else:
        yield from _span_faults(tensor, info.st_size)


def _links_inside(file: Path, info: os.stat_result) -> int:
    if info.st_nlink == 1:
        return 1
    return sum(1 for other in os.scandir(file.parent) if other.inode() == info.st_ino)


def _span_faults(tensor: onnx.TensorProto, available: int) -> Iterator[tuple[str, str]]:
    try:
        offset, length = _span(tensor)
    except ValueError:
        yield "offset or length is not a number", "export again"
        return
    expected = expected_bytes(tensor)
    again = "copy the data file again (it may be cut off), or export again"
    if offset < 0 or length < 0 or offset + length > available:
        yield f"bytes {offset} to {offset + length} are wanted, but the file has {available}", again
    elif expected and length != expected:
        yield f"its shape {list(tensor.dims)} needs {expected} bytes, but the length is {length}", again


def _span(tensor: Any) -> tuple[int, int]:
    """Offset and length in bytes; a missing length means what the shape needs."""
    table = entries(tensor)
    return int(table.get("offset", 0) or 0), int(table.get("length", 0) or 0) or expected_bytes(tensor)
