"""The container that serves a repository: which image, and why it must be that one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from repository_builder.errors import TargetUnavailable
from repository_builder.repository import releases

IMAGE = "nvcr.io/nvidia/tritonserver"
DEFAULT_RELEASE = "26.07"
"""The oldest release with the fixes of NVIDIA's security bulletin 5875 (July 2026)."""


@dataclass(frozen=True)
class Container:
    """A pinned image, why it is this one, and how it must be started."""

    image: str
    why: str
    gpus: str = ""
    """For `docker run --gpus`; empty: no GPU."""
    plugins: tuple[str, ...] = ()
    """Plugin libraries of the TensorRT backend, by path below the repository."""
    host_code: bool = False
    """Whether plans carry code that the server must be allowed to run (version-compatible plans)."""
    packages: tuple[str, ...] = ()
    """Python packages beyond those of the Python models."""
    backends: tuple[str, ...] = ()
    """Python-based backends of ours that the image must be given."""

    def as_json(self) -> dict[str, Any]:
        """The container as plain JSON values."""
        return asdict(self) | {name: list(getattr(self, name)) for name in _LISTS}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Inverse of `as_json`; older manifests lack the newer fields."""
        return cls(**{**value, **{name: tuple(value.get(name, ())) for name in _LISTS}})


_LISTS = ("plugins", "packages", "backends")


def choose(needs: Mapping[str, str]) -> Container:
    """The image for what the models need; nothing special: the default release.

    `needs` may hold `tensorrt` (a version: plans load only in that very one), `tensorrt-host-code`, `tensorrt-rtx` (a version),
    `gpus`, and `plugin:<file>` → path below the repository. Raises TargetUnavailable where no known image fits.
    """
    plugins = tuple(path for need, path in sorted(needs.items()) if need.startswith("plugin:"))
    gpus = needs.get("gpus", "")
    host_code = "tensorrt-host-code" in needs
    packages = (f"tensorrt-rtx-cu13=={needs['tensorrt-rtx']}",) if "tensorrt-rtx" in needs else ()
    image, why = _image(needs.get("tensorrt"), host_code=host_code)
    backends = ("tensorrt_rtx",) if packages else ()
    return Container(image, why, gpus, plugins, host_code, packages, backends)


def _image(tensorrt: str | None, *, host_code: bool) -> tuple[str, str]:
    if tensorrt is None:
        why = "oldest release with the security fixes of July 2026; nothing in the repository asks for another"
        return f"{IMAGE}:{DEFAULT_RELEASE}-py3", why
    found = releases.with_tensorrt(tensorrt)
    if not found and host_code:
        found = _newer(tensorrt)
    if not found:
        raise _no_image(tensorrt)
    newest = found[0]
    sure = f"{newest.tensorrt_confidence}: {newest.tensorrt_source}"
    return (
        newest.tag,
        f"plans were built with TensorRT {tensorrt}, and {newest.release} holds {newest.tensorrt} ({sure})",
    )


def _newer(tensorrt: str) -> list[releases.Release]:
    """Releases of the same major version that are not older: they load version-compatible plans."""
    built = releases.numbers(tensorrt)
    return [
        release
        for release in reversed(releases.releases())
        if release.tensorrt
        and releases.numbers(release.tensorrt)[0] == built[0]
        and releases.numbers(release.tensorrt)[:3] >= built[:3]
    ]


def _no_image(tensorrt: str) -> TargetUnavailable:
    known = [release for release in releases.releases() if release.tensorrt]
    major = releases.numbers(tensorrt)[:1]
    near = [f"{r.tensorrt} ({r.release})" for r in known if releases.numbers(str(r.tensorrt))[:1] == major]
    offered = ", ".join((near or [f"{r.tensorrt} ({r.release})" for r in known])[-6:])
    return TargetUnavailable(
        f"no known Triton container holds TensorRT {tensorrt}",
        why=f"a plan loads only in the TensorRT that built it; containers hold {offered}",
        fix="install one of these (pip install tensorrt==…), build inside the container, "
        "or set `tensorrt: {version_compatible: true}` for a newer container of the same major version",
    )
