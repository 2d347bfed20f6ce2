"""Reads the pages of the rules: tests/rules/<ID>.md.

    # CFG020 name-differs-from-folder

    Options: `--image 24.10`

    ## Bad

    `m/config.pbtxt`
    ```pbtxt
    name: "n"
    ```
    `m/1/model.py`: stock `model.py`

    ## Finds

    - `m/config.pbtxt:1` `name`

    ## Good

    (the files of the bad repository, with these in their place)

    ## Server

    refuses

A file is a fenced block (`onnx`: ONNX text that is stored as a file) or a line: `stock NAME`, `folder`, `link TARGET`, `empty`,
`bytes N` (zeros), `plan 10.13.3.9` (header of a plan), `elf libnvinfer.so.10`, `removed`. A line `mode 666` adds permissions.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
STOCK = FOLDER / "stock"


@dataclass(frozen=True)
class Entry:
    """A file or folder of an example."""

    kind: str
    text: str = ""


@dataclass(frozen=True)
class Page:
    """One rule's examples."""

    id: str
    options: tuple[str, ...]
    bad: dict[str, Entry]
    finds: tuple[tuple[str, str], ...]
    """(`path:line`, field) of every finding."""
    good: dict[str, Entry]
    server: str
    """refuses · answers wrongly · loads · ends · refuses or ends · ends when asked · not shown: why"""


def read_all() -> dict[str, Page]:
    """Id → page."""
    return {path.stem: read(path) for path in sorted(FOLDER.glob("*.md"))}


def read(path: Path) -> Page:
    """One page."""
    parts = re.split(r"^## (\w+)$", path.read_text(), flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    options = re.search(r"^Options: `(.*)`$", parts[0], re.MULTILINE)
    bad = _entries(sections["Bad"])
    finds = tuple(re.findall(r"^- `([^`]*)`(?: `([^`]*)`)?$", sections["Finds"], re.MULTILINE))
    good = bad | _entries(sections["Good"])
    return Page(
        path.stem,
        tuple(options.group(1).split()) if options else (),
        bad,
        finds,
        {name: entry for name, entry in good.items() if entry.kind != "removed"},
        " ".join(sections["Server"].split()),
    )


_FENCE = re.compile(r"^`([^`\n]+)`\n```(\w*)\n(.*?)^```$|^`([^`\n]+)`: (\w+)(?: `([^`]*)`)?$", re.MULTILINE | re.DOTALL)


def _entries(text: str) -> dict[str, Entry]:
    found = {}
    for match in _FENCE.finditer(text):
        block, language, content, line, kind, argument = match.groups()
        if block:
            found[block] = Entry("onnx" if language == "onnx" else "text", content)
        elif kind == "mode":
            found[line + "#mode"] = Entry("mode", argument)
        else:
            found[line] = Entry(kind, argument or "")
    return found


def write(entries: dict[str, Entry], root: Path) -> None:
    """Lay an example out on disk."""
    root.mkdir(parents=True, exist_ok=True)
    for name, entry in entries.items():
        path = root / name.removesuffix("#mode")
        path.parent.mkdir(parents=True, exist_ok=True)
        match entry.kind:
            case "text":
                path.write_text(entry.text)
            case "stock":
                shutil.copyfile(STOCK / entry.text, path)
            case "folder":
                path.mkdir(parents=True, exist_ok=True)
            case "link":
                path.symlink_to(entry.text)
            case "empty":
                path.touch()
            case "bytes":
                path.write_bytes(bytes(int(entry.text)))
            case "plan":
                path.write_bytes(b"ftrt" + bytes(20) + bytes(int(part) for part in entry.text.split(".")) + bytes(100))
            case "elf":
                path.write_bytes(b"\x7fELF" + bytes(60) + entry.text.encode() + bytes(60))
            case "mode":
                path.chmod(int(entry.text, 8))
            case "onnx":
                path.write_bytes(_onnx(entry.text))
            case _:
                raise ValueError(f"{name}: unknown kind {entry.kind}")


def _onnx(text: str) -> bytes:
    import onnx

    # external data has no place in ONNX text: a comment names it
    location = re.search(r"^# external: (\S+)$", text, re.MULTILINE)
    model = onnx.parser.parse_model(re.sub(r"^#.*$", "", text, flags=re.MULTILINE))
    for tensor in model.graph.initializer if location else ():
        tensor.ClearField("raw_data")
        tensor.ClearField("float_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location.group(1))
    return bytes(model.SerializeToString())
