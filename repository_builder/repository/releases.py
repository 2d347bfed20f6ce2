"""The table of Triton's containers: what each monthly release holds, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

MATRIX = Path(__file__).with_name("container_matrix.yaml")

Numbers = tuple[int, ...]


@dataclass(frozen=True)
class Release:
    """One row: a monthly release of `nvcr.io/nvidia/tritonserver`. None where nobody published the version."""

    release: str
    """`26.07`."""
    tag: str
    triton: str | None
    tensorrt: str | None
    tensorrt_confidence: str
    tensorrt_source: str
    cuda: str | None
    driver: str | None
    """The driver that belongs to the CUDA in the image; older ones may do (see `driver_needed`)."""
    onnxruntime: str | None
    python: str | None
    min_compute_capability: str | None

    @property
    def build_image(self) -> str:
        """The image of the same month that has TensorRT's Python builder, which the serving image lacks."""
        return f"nvcr.io/nvidia/tensorrt:{self.release}-py3"

    @property
    def driver_needed(self) -> Numbers:
        """The oldest major version of the driver that runs this CUDA: minor-version compatibility, R580 or R525."""
        return (580,) if self.cuda and numbers(self.cuda)[0] >= 13 else (525,)


@cache
def releases() -> tuple[Release, ...]:
    """Every known release, oldest first."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    table = yaml.load(MATRIX.read_text(encoding="utf-8"), loader)  # noqa: S506  (a safe one, and fast where it can be)
    rows: list[dict[str, Any]] = table["releases"]
    fields = ("release", "tag", "triton", "tensorrt", "tensorrt_confidence", "tensorrt_source", "cuda")
    more = ("onnxruntime", "python", "min_compute_capability")
    return tuple(
        Release(**{name: row[name] for name in (*fields, *more)}, driver=row["driver_reference"]) for row in rows
    )


def by_tag(tag: str) -> Release | None:
    """The release of a tag: `26.07`, `26.07-py3`, or a whole image name."""
    wanted = tag.rpartition(":")[2].partition("-")[0]
    return next((release for release in releases() if release.release == wanted), None)


def with_tensorrt(version: str) -> list[Release]:
    """Releases with this TensorRT, the newest first; versions are compared as far as both are known."""
    return [release for release in reversed(releases()) if release.tensorrt and same(release.tensorrt, version)]


def same(one: str, other: str) -> bool:
    """Whether two versions agree in every part that both have: `11.3` and `11.3.0.99` do, at least in major and minor."""
    a, b = numbers(one), numbers(other)
    shorter = min(len(a), len(b))
    return shorter >= 2 and a[:shorter] == b[:shorter]


def numbers(version: str) -> Numbers:
    """`11.1.0.106` → (11, 1, 0, 106); stops at the first part that is no number."""
    found = []
    for part in version.split("."):
        if not part.isdigit():
            break
        found.append(int(part))
    return tuple(found)
