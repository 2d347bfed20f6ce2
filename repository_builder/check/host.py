"""The server that a repository is meant for: release, GPU, and how it is started. What is not said stays unknown."""

from __future__ import annotations

from dataclasses import dataclass
from functools import total_ordering

from repository_builder.check.rule import Skip
from repository_builder.errors import SpecError, nearest


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


RELEASES = (
    Release("24.10", "2.51.0", "10.5.0.18", "1.19.2", "3.10.12", "6.0"),
    Release("24.11", "2.52.0", "10.6.0.26", "1.19.2", "3.12.3", "6.0"),
    Release("24.12", "2.53.0", "10.7.0.23", "1.20.1", "3.12.3", "6.0"),
    Release("25.01", "2.54.0", "10.8.0.43", "1.20.1", "3.12.3", "7.5"),
    Release("25.02", "2.55.0", "10.8.0.43", "1.20.1", "3.12.3", "7.5"),
    Release("25.03", "2.56.0", "10.9.0.34", "1.21.0", "3.12.3", "7.5"),
    Release("25.04", "2.57.0", "10.9.0.34", "1.21.0", "3.12.3", "7.5"),
    Release("25.05", "2.58.0", "10.10.0.31", "1.22.0", "3.12.3", "7.5"),
    Release("25.06", "2.59.0", "10.11.0.33", "1.22.0", "3.12.3", "7.5"),
    Release("25.07", "2.59.1", "10.11.0.33", "1.22.0", "3.12.3", "7.5"),
    Release("25.08", "2.60.0", "10.13.2.6", "1.23.0", "3.12.3", "7.5"),
    Release("25.09", "2.61.0", "10.13.3.9", "1.23.0", "3.12.3", "7.5"),
    Release("25.10", "2.62.0", "10.13.3.9", "1.23.1", "3.12.3", "7.5"),
    Release("25.11", "2.63.0", "10.14.1.48", "1.23.2", "3.12.3", "7.5"),
    Release("25.12", "2.64.0", "10.14.1.48", "1.23.2", "3.12.3", "7.5"),
    Release("26.01", "2.65.0", "10.14.1.48", "1.23.2", "3.12.3", "7.5"),
    Release("26.02", "2.66.0", "10.15.1.29", "1.24.1", "3.12.3", "7.5"),
    Release("26.03", "2.67.0", "10.16.0.72", "1.24.2", "3.12.3", "7.5"),
    Release("26.04", "2.68.0", "10.16.1.11", "1.24.4", "3.12.3", "7.5"),
    Release("26.05", "2.69.0", "10.16.1.11", "1.24.4", "3.12.3", "7.5"),
    Release("26.06", "2.70.0", "11.0.0", "1.24.4", "3.12.3", "7.5"),
    Release("26.07", "2.71.0", "11.1.0.106", "1.27.0", "3.12.3", "7.5"),
    Release("26.08", "2.72.0", "11.2.1.2", "1.28.0", "3.12.3", "7.5"),
    Release("26.09", "2.73.0", "11.3", "", "", "7.5"),
)
"""Containers that are known. Sources: Triton's release notes and compatibility tables, TensorRT's release tags."""

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
            known = [release.name for release in RELEASES]
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
        return next((release for release in RELEASES if month in (release.name, release.triton)), None)
