"""The server that a repository is meant for: release, GPU, and how it is started. What is not said stays unknown."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, total_ordering

from repository_builder.check.rule import Skip
from repository_builder.errors import SpecError, nearest
from repository_builder.repository import releases


@total_ordering
@dataclass(frozen=True)
class Release:
    """A monthly container of Triton and what it holds; an empty text is unknown."""

    name: str
    triton: str
    tensorrt: str
    onnxruntime: str
    python: str
    min_compute_capability: str

    def __lt__(self, other: Release) -> bool:
        return self.name < other.name


@cache
def known_releases() -> tuple[Release, ...]:
    """Containers whose Triton is known, oldest first, from the one table of releases."""
    return tuple(
        Release(
            row.release,
            row.triton,
            row.tensorrt or "",
            row.onnxruntime or "",
            row.python or "",
            row.min_compute_capability or "",
        )
        for row in releases.releases()
        if row.triton
    )


NO_GPU = "none"


@dataclass(frozen=True)
class Gpu:
    """A data-centre GPU as NVIDIA's data sheets describe it."""

    name: str
    compute_capability: str
    memory_gib: int


GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("p100", "6.0", 16),
        Gpu("p4", "6.1", 8),
        Gpu("v100", "7.0", 32),
        Gpu("t4", "7.5", 16),
        Gpu("a100", "8.0", 80),
        Gpu("a30", "8.0", 24),
        Gpu("a10", "8.6", 24),
        Gpu("a40", "8.6", 48),
        Gpu("l4", "8.9", 24),
        Gpu("l40s", "8.9", 48),
        Gpu("h100", "9.0", 80),
        Gpu("h200", "9.0", 141),
        Gpu("gh200", "9.0", 96),
        Gpu("b200", "10.0", 180),
        Gpu("gb200", "10.0", 186),
    )
}


@dataclass(frozen=True)
class Host:
    """What is known about the server; rules that need more skip and say so."""

    image: str = ""
    """Container release like `26.07`; empty: unknown."""
    gpu: str = ""
    """A name of `GPUS`, `none`, or empty: unknown."""
    auto_complete: bool = True
    """False for `tritonserver --disable-auto-complete-config`."""

    def __post_init__(self) -> None:
        if self.image and self._find() is None:
            known = [release.name for release in known_releases()]
            raise SpecError(
                f"unknown Triton release `{self.image}`{nearest(self.image, known)}",
                where="--image",
                why=f"known are {known[0]} to {known[-1]}",
                fix="give the month of the container, like 26.07",
            )
        if self.gpu and self.gpu != NO_GPU and self.gpu not in GPUS:
            known = [*GPUS, NO_GPU]
            raise SpecError(
                f"unknown GPU `{self.gpu}`{nearest(self.gpu, known)}",
                where="--gpu",
                why=f"known are {', '.join(known)}",
            )

    @property
    def release(self) -> Release:
        """The container; raises Skip if it was not named."""
        found = self._find()
        if found is None:
            raise Skip("the Triton release is not known (give --image)")
        return found

    @property
    def known_gpu(self) -> Gpu | None:
        """The GPU, None if there is none; raises Skip if it was not named."""
        if not self.gpu:
            raise Skip("the GPU is not known (give --gpu)")
        return GPUS.get(self.gpu)

    def _find(self) -> Release | None:
        month = self.image.rpartition(":")[2].removesuffix("-py3")
        return next((release for release in known_releases() if month in (release.name, release.triton)), None)
