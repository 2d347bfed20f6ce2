"""From a path to a parsed ONNX message: what is wrong with the file itself, before its content is judged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from repository_builder.errors import GraphError
from repository_builder.onnx_graph import walk

if TYPE_CHECKING:
    import onnx

PROTOBUF_LIMIT = 2**31 - 1
"""Bytes: no protobuf message may be larger, in any implementation."""

_SIGNATURES: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x89PNG", "a PNG image", "pass the model, not an input of it"),
    (0, b"\xff\xd8\xff", "a JPEG image", "pass the model, not an input of it"),
    (0, b"\x1f\x8b", "a gzip archive", "unpack it and pass the .onnx file inside"),
    (0, b"\x89HDF", "an HDF5 file (Keras weights)", "export with tf2onnx: `python -m tf2onnx.convert --keras …`"),
    (0, b"GGUF", "a GGUF file (llama.cpp weights)", "export the original checkpoint to ONNX"),
    (4, b"TFL3", "a TensorFlow Lite model", "convert with tf2onnx: `python -m tf2onnx.convert --tflite …`"),
    (4, b"ORTM", "an ONNX Runtime .ort model", "pass the .onnx file it was made from"),
    (0, b"ptrt", "a TensorRT engine (plan file)", "pass the .onnx file it was built from"),
    (0, b"ftrt", "a TensorRT engine (plan file)", "pass the .onnx file it was built from"),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the model", "run `git lfs pull`"),
)

_CHECKPOINT_FIX = (
    "export it: use source `pytorch` in the spec (factory and example inputs), "
    "or call `torch.onnx.export(model.eval(), inputs, 'model.onnx', dynamo=True, dynamic_shapes=…)`"
)


def parse(path: Path) -> onnx.ModelProto:
    """The message in the file; external data is not touched. Raises GraphError where the file is not one.

    Peak memory is twice the file: its bytes and the message.
    """
    import onnx
    from google.protobuf.message import DecodeError

    content = _content(path)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise _unreadable(path, content) from error
    if not model.HasField("graph") or any(not isinstance(text, str) for text in _texts(model)):
        raise _unreadable(path, content)
    return model


def _texts(model: onnx.ModelProto) -> Iterator[object]:
    """Every name; protobuf hands out bytes where a damaged file holds no UTF-8."""
    yield from (text for opset in model.opset_import for text in (opset.domain,))
    for _, graph in walk.graphs(model):
        yield graph.name
        for value in (*graph.input, *graph.output, *graph.value_info):
            yield value.name
            yield from (dim.dim_param for dim in value.type.tensor_type.shape.dim)
    for node in walk.nodes(model):
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    for function in model.functions:
        yield from (function.name, function.domain, *function.input, *function.output)
    for tensor in walk.tensors(model):
        yield tensor.name
        yield from (text for entry in tensor.external_data for text in (entry.key, entry.value))


def _content(path: Path) -> bytes:
    what = f"cannot read the ONNX graph `{path.name}`"
    try:
        if path.is_dir():
            raise _folder(path, what)
        size = path.stat().st_size
        if not path.is_file():
            raise GraphError(what, where=path, why="it is not a regular file", fix="pass a .onnx file")
        if size > PROTOBUF_LIMIT:
            raise _too_large(path, what, size)
        return path.read_bytes()
    except FileNotFoundError as error:
        raise GraphError(what, where=path, why="there is no such file", fix=_similar(path)) from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise GraphError(what, where=path, why=reason, fix="check the path and its permissions") from error


def _folder(path: Path, what: str) -> GraphError:
    if (path / "saved_model.pb").is_file():
        why, fix = "it is a TensorFlow SavedModel", "use source `tensorflow`, or `python -m tf2onnx.convert`"
    else:
        found = sorted(file.name for file in path.glob("*.onnx"))
        why = "it is a folder"
        fix = f"pass a file in it: {', '.join(found[:5])}" if found else "pass a .onnx file"
    return GraphError(what, where=path, why=why, fix=fix)


def _similar(path: Path) -> str:
    import difflib

    siblings = [file.name for file in path.parent.glob("*")] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, siblings, n=1)
    if close:
        return f"did you mean `{path.parent / close[0]}`?"
    return "check the path" if siblings else f"check the path: the folder `{path.parent}` is empty or missing"


def _too_large(path: Path, what: str, size: int) -> GraphError:
    return GraphError(
        what,
        where=path,
        why=f"it has {size / 2**30:.1f} GiB; a protobuf message ends at 2 GiB, so no runtime reads it",
        fix="export again with external data (`torch.onnx.export(…, external_data=True)`), so that the weights lie in "
        "a file beside the graph",
    )


def _unreadable(path: Path, content: bytes) -> GraphError:
    if not content:
        why, fix = "the file is empty", "export or download it again"
    elif identified := _identify(content, path.suffix):
        why, fix = f"it is {identified[0]}, not an ONNX graph", identified[1]
    elif content[0] == 0x08:  # field 1 (ir_version), with which every writer begins
        why, fix = "it begins like an ONNX file but ends too early or is damaged", "export, copy or download it again"
    else:
        why, fix = "it is not an ONNX file", "pass the .onnx file that the exporter wrote"
    return GraphError(f"cannot read the ONNX graph `{path.name}`", where=path, why=why, fix=fix)


def _identify(content: bytes, suffix: str) -> tuple[str, str] | None:
    """What a foreign file is, and what to do with it."""
    for offset, signature, name, fix in _SIGNATURES:
        if content[offset : offset + len(signature)] == signature:
            return name, fix
    if content[:4] == b"PK\x03\x04":
        if b"data.pkl" in content[:4096] or suffix in {".pt", ".pth", ".ckpt", ".pt2"}:
            return "a PyTorch checkpoint or program", _CHECKPOINT_FIX
        return "a zip archive", "unpack it and pass the .onnx file inside"
    if content[0] == 0x80 and content[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a Python pickle (an old PyTorch checkpoint, or scikit-learn)", _CHECKPOINT_FIX
    if content[8:10] == b'{"':
        return "a safetensors file: weights without a graph", _CHECKPOINT_FIX
    return _identify_text(content)


def _identify_text(content: bytes) -> tuple[str, str] | None:
    try:
        start = content[:2048].decode("utf-8")
    except UnicodeDecodeError:
        return None
    if any(ord(c) < 32 and c not in "\t\n\r\f" for c in start):
        return None
    if "ir_version" in start:
        return "an ONNX graph written as text", "convert it: `onnx.save(onnx.parser.parse_model(text), 'model.onnx')`"
    return "a text file", "pass the .onnx file that the exporter wrote"
