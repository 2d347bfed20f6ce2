"""TensorRT's headers: needed for the plugin shells only; kernels and their tests compile without them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from repository_builder.errors import SpecError, ToolMissing
from repository_builder.resources import cache_folder

MARKER = "NvInferRuntime.h"
SUPPORTED = range(10, 12)
FILES = (
    "NvInfer.h", "NvInferImpl.h", "NvInferLegacyDims.h", "NvInferPlugin.h", "NvInferPluginBase.h",
    "NvInferPluginUtils.h", "NvInferRuntime.h", "NvInferRuntimeBase.h", "NvInferRuntimeCommon.h",
    "NvInferRuntimePlugin.h", "NvInferVersion.h",
)  # fmt: skip
PUBLIC = "https://raw.githubusercontent.com/NVIDIA/TensorRT"
GET = (
    "give --tensorrt FOLDER or $TENSORRT_ROOT (a TensorRT package, or a checkout of https://github.com/NVIDIA/TensorRT "
    "at the server's version), or use --fetch-headers 11.1 where the network allows"
)


@dataclass(frozen=True)
class Headers:
    """A folder of TensorRT's headers and the version they say."""

    folder: Path
    major: int
    minor: int

    @property
    def version(self) -> str:
        """`11.1`."""
        return f"{self.major}.{self.minor}"


def find_headers(explicit: Path | None = None) -> Headers | None:
    """Headers in `explicit`, else in `$TENSORRT_ROOT`, the system's folders or the cache; None if nowhere.

    An explicit place without headers, or headers of an unsupported major version, is an error, never passed over.
    """
    if explicit is not None:
        return _required(explicit, "--tensorrt")
    if root := os.environ.get("TENSORRT_ROOT"):
        return _required(Path(root), "$TENSORRT_ROOT")
    return next((inspect(folder) for folder in _places() if (folder / MARKER).is_file()), None)


def require_headers(explicit: Path | None = None) -> Headers:
    """Like `find_headers`, but their absence is an error that says how to get them."""
    headers = find_headers(explicit)
    if headers is None:
        raise ToolMissing(
            "TensorRT's headers are not on this machine", why="a plugin's TensorRT shell is compiled with them", fix=GET
        )
    return headers


def inspect(folder: Path) -> Headers:
    """The version that the headers in `folder` say; TensorRT 10 and 11 are supported."""
    text = (folder / "NvInferVersion.h").read_text(encoding="utf-8", errors="replace")
    major, minor = _macro(text, "MAJOR", folder), _macro(text, "MINOR", folder)
    if major not in SUPPORTED:
        raise SpecError(
            f"the headers are those of TensorRT {major}.{minor}",
            where=folder,
            why="plugins use interfaces that exist in TensorRT 10 and 11",
            fix="point --tensorrt at the headers of the server's TensorRT",
        )
    return Headers(folder, major, minor)


def fetch_headers(version: str, download: Callable[[str], bytes] | None = None, base: str = PUBLIC) -> Headers:
    """Headers of `version` (`11.1`) from NVIDIA's public repository, kept in the cache; ToolMissing without network."""
    if not re.fullmatch(r"\d+\.\d+", version):
        raise SpecError(f"`{version}` is no TensorRT version", fix="write major and minor, such as 11.1")
    folder = cache_folder() / "tensorrt-headers" / version
    if not (folder / "complete").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            (folder / name).write_bytes((download or _download)(f"{base}/v{version}/include/{name}"))
        (folder / "complete").touch()
    return inspect(folder)


def _required(root: Path, what: str) -> Headers:
    for folder in (root, root / "include", root / "include" / "x86_64-linux-gnu"):
        if (folder / MARKER).is_file():
            return inspect(folder)
    raise SpecError(f"{what} names {root}, which holds no {MARKER}", fix=GET)


def _places() -> Iterator[Path]:
    yield from map(Path, ("/usr/include/x86_64-linux-gnu", "/usr/include/aarch64-linux-gnu", "/usr/include"))
    yield from map(Path, ("/usr/local/tensorrt/include", "/opt/tensorrt/include", "/usr/local/TensorRT/include"))
    cached = cache_folder() / "tensorrt-headers"
    yield from sorted((p.parent for p in cached.glob("*/complete")), reverse=True)


def _macro(text: str, which: str, folder: Path) -> int:
    # Since 10.13 NV_TENSORRT_MAJOR is defined through TRT_MAJOR_ENTERPRISE.
    for name in (f"TRT_{which}_ENTERPRISE", f"NV_TENSORRT_{which}"):
        if match := re.search(rf"#define\s+{name}\s+(\d+)", text):
            return int(match[1])
    raise SpecError("NvInferVersion.h does not say a version", where=folder, fix=GET)


def _download(url: str) -> bytes:
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310  (https only, see PUBLIC)
            content: bytes = answer.read()
            return content
    except (urllib.error.URLError, TimeoutError) as error:
        raise ToolMissing("TensorRT's headers cannot be fetched", where=url, why=str(error), fix=GET) from error
