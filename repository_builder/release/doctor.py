"""What this machine has, what a repository was built with, and what a container holds: and whether the three fit.

Source of the rules: NVIDIA's engine compatibility pages and tensorrt_backend (a plan loads only in the TensorRT that
built it, on the compute capability it was built for; version-compatible plans also in newer releases of the same
major version).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from repository_builder.machine import Machine, Obstacle, able
from repository_builder.repository import releases
from repository_builder.repository.manifest import Manifest
from repository_builder.repository.releases import Release, numbers, same

NOT_SERVABLE = {
    "STRIP_PLAN": "its weights are stripped, and Triton cannot refit a plan",
    "EXCLUDE_LEAN_RUNTIME": "it lacks the lean runtime, which Triton never loads from elsewhere",
}


@dataclass(frozen=True)
class Row:
    """One component on the three sides; empty: not there or not known."""

    component: str
    machine: str = ""
    manifest: str = ""
    container: str = ""


@dataclass(frozen=True)
class Verdict:
    """Something that does not fit: an error does not load, a warning loads but deserves a look."""

    severity: Literal["error", "warning"]
    what: str
    why: str
    fix: str


@dataclass(frozen=True)
class Diagnosis:
    """The whole comparison."""

    rows: tuple[Row, ...]
    verdicts: tuple[Verdict, ...]
    confidence: str
    """How sure the container's TensorRT version is, and by whose word."""

    def as_json(self) -> dict[str, Any]:
        """The diagnosis as plain JSON values."""
        rows, verdicts = [vars(row) for row in self.rows], [vars(verdict) for verdict in self.verdicts]
        return {"components": rows, "verdicts": verdicts, "confidence": self.confidence}


def diagnose(machine: Machine, manifest: Manifest | None, release: Release | None) -> Diagnosis:
    """Compare; any of manifest and release may be absent."""
    engines = engines_of(manifest)
    verdicts = [*_plans(engines, release), *_gpus(engines, machine, release), *_driver(machine, release)]
    verdicts += [*_flags(engines), *_old_triton(manifest, release)]
    confidence = f"{release.tensorrt_confidence}: {release.tensorrt_source}" if release else ""
    return Diagnosis(tuple(_rows(machine, manifest, engines, release)), tuple(verdicts), confidence)


def engines_of(manifest: Manifest | None) -> dict[str, Mapping[str, Any]]:
    """Public model → what its manifest entry says of its engine."""
    pipelines = manifest.pipelines if manifest else {}
    return {name: entry.notes["engine"] for name, entry in pipelines.items() if "engine" in entry.notes}


def _rows(
    machine: Machine, manifest: Manifest | None, engines: Mapping[str, Mapping[str, Any]], release: Release | None
) -> Iterator[Row]:
    built = manifest.machine.get("packages", {}) if manifest else {}
    plans = {e["builder"]["version"] for e in engines.values() if e["builder"]["package"] == "tensorrt"}
    rtx = {e["builder"]["version"] for e in engines.values() if e["builder"]["package"] == "tensorrt_rtx"}
    needed = {number for engine in engines.values() for number in engine["compute_capabilities"]}
    gpus = machine.gpus
    yield Row("Triton", "", "", _known(release, "triton"))
    yield Row("TensorRT", machine.packages.get("tensorrt", ""), _listed(plans), _known(release, "tensorrt"))
    yield Row("TensorRT for RTX", machine.packages.get("tensorrt-rtx", ""), _listed(rtx), "")
    yield Row("CUDA", "", "", _known(release, "cuda"))
    yield Row("driver", _listed({gpu.driver for gpu in gpus}), "", _known(release, "driver"))
    yield Row("GPU", _listed({gpu.name for gpu in gpus}) or "none", "", "")
    least = f"{release.min_compute_capability} or newer" if release and release.min_compute_capability else ""
    here = sorted({gpu.compute_capability for gpu in gpus}, key=numbers)
    yield Row("compute capability", ", ".join(here), ", ".join(sorted(needed, key=numbers)), least)
    ort = "onnxruntime"
    yield Row("ONNX Runtime", machine.packages.get(ort, ""), str(built.get(ort, "")), _known(release, ort))
    yield Row("Python", machine.python, str(manifest.machine["python"]) if manifest else "", _known(release, "python"))


def _known(release: Release | None, field: str) -> str:
    return "" if release is None else str(getattr(release, field) or "not known")


def _listed(values: set[str]) -> str:
    return ", ".join(sorted(values))


def _plans(engines: Mapping[str, Mapping[str, Any]], release: Release | None) -> Iterator[Verdict]:
    for model, engine in engines.items():
        if engine["builder"]["package"] != "tensorrt" or release is None:
            continue
        version = str(engine["builder"]["version"])
        if release.tensorrt is None:
            yield Verdict("warning", f"nobody knows whether `{model}` loads in {release.tag}",
                          "the TensorRT version of this container is not published", _tag_for(version))  # fmt: skip
        elif not same(version, release.tensorrt) and not _reads_newer(engine, version, release.tensorrt):
            yield Verdict("error", f"`{model}` does not load in {release.tag}",
                          f"its plan was built with TensorRT {version}, the container holds {release.tensorrt}",
                          _tag_for(version))  # fmt: skip


def _reads_newer(engine: Mapping[str, Any], version: str, offered: str) -> bool:
    """Version-compatible plans load in newer releases of the same major version; those of 10.x also in 11.x."""
    built, there = numbers(version), numbers(offered)
    return "VERSION_COMPATIBLE" in engine["flags"] and there >= built and there[0] - built[0] <= (built[0] == 10)


def _tag_for(version: str) -> str:
    found = releases.with_tensorrt(version)
    if found:
        return f"serve it with {found[0].tag}, or rebuild it with the container's TensorRT"
    return "rebuild it with the container's TensorRT: no known container holds the plan's"


def _gpus(engines: Mapping[str, Mapping[str, Any]], machine: Machine, release: Release | None) -> Iterator[Verdict]:
    here = {gpu.compute_capability: gpu.name for gpu in machine.gpus}
    for model, engine in engines.items():
        package, wanted = engine["builder"]["package"], tuple(engine["compute_capabilities"])
        runs_on = able(package, wanted if engine["hardware_compatibility"] == "NONE" else (), machine)
        if here and isinstance(runs_on, Obstacle):
            yield Verdict("error", f"`{model}` does not run on this machine's GPU", runs_on.why, runs_on.fix)
    runs_on = able("tensorrt_rtx", (), machine)
    if here and not engines and "tensorrt-rtx" in machine.packages and isinstance(runs_on, Obstacle):
        yield Verdict("warning", "the target tensorrt_rtx builds here, but its engines do not run here",
                      runs_on.why, runs_on.fix)  # fmt: skip
    if machine.driver_trouble:
        yield Verdict("warning", "no GPU of this machine can be used", machine.no_gpu, "repair the driver")
    if release and release.min_compute_capability:
        for number, name in here.items():
            if numbers(number) < numbers(release.min_compute_capability):
                yield Verdict("error", f"{release.tag} does not support {name}",
                              f"it needs compute capability {release.min_compute_capability}, the GPU has {number}",
                              "use an older container")  # fmt: skip


def _driver(machine: Machine, release: Release | None) -> Iterator[Verdict]:
    if release is None:
        return
    for driver in sorted({gpu.driver for gpu in machine.gpus}):
        if numbers(driver)[:1] < release.driver_needed:
            yield Verdict("error", f"driver {driver} is too old for {release.tag}",
                          f"its CUDA {release.cuda} needs driver {release.driver_needed[0]} or newer",
                          _tag_for_driver(driver))  # fmt: skip
        elif release.driver and numbers(driver) < numbers(release.driver):
            yield Verdict("warning", f"driver {driver} is older than the one that belongs to {release.tag}",
                          f"CUDA {release.cuda} came with driver {release.driver}; minor-version compatibility applies",
                          "update the driver if kernels fail to load")  # fmt: skip


def _tag_for_driver(driver: str) -> str:
    fitting = [r for r in reversed(releases.releases()) if numbers(driver)[:1] >= r.driver_needed]
    return f"update the driver, or use {fitting[0].tag} or older" if fitting else "update the driver"


def _flags(engines: Mapping[str, Mapping[str, Any]]) -> Iterator[Verdict]:
    for model, engine in engines.items():
        for flag, why in NOT_SERVABLE.items():
            if flag in engine["flags"]:
                yield Verdict("error", f"Triton cannot serve the plan of `{model}`", why, f"build it without {flag}")
        if "VERSION_COMPATIBLE" in engine["flags"]:
            yield Verdict("warning", f"the plan of `{model}` carries code that the server runs",
                          "version-compatible plans hold a lean runtime, started with version-compatible=true",
                          "serve only plans that you built yourself")  # fmt: skip


def _old_triton(manifest: Manifest | None, release: Release | None) -> Iterator[Verdict]:
    pinned = str(manifest.container.get("image", "")) if manifest else ""
    if release and pinned and releases.by_tag(pinned) not in (None, release):
        yield Verdict("warning", f"the repository was built for {pinned}, not for {release.tag}",
                      str(manifest.container.get("why", "")) if manifest else "",
                      f"serve it with {pinned}, or build it again for {release.tag}")  # fmt: skip
