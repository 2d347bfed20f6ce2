"""TRT010 to TRT012: can the server's TensorRT and GPU read the plan?"""

from __future__ import annotations

from collections.abc import Iterator

from repository_builder.check import engine as engine_module
from repository_builder.check.inputs import Version, is_placeholder
from repository_builder.check.rule import Found, Severity, Skip, rule
from repository_builder.check.rules.trt.settings import is_trt


def _built_with(version: Version) -> str:
    """TensorRT's version of the plan, from its header or its sidecar."""
    if not version.file.is_file() or is_placeholder(version.file):
        raise Skip(f"there is no plan {version.file}")
    try:
        return engine_module.plan_version(version.file)
    except Skip:
        if found := version.engine.tensorrt:
            return found
        raise


@rule("TRT010", "plan-of-another-tensorrt", Severity.ERROR)
def plan_of_another_tensorrt(version: Version) -> Iterator[Found]:
    """## What it does
    Compares, with `--image`, the TensorRT version in the plan's header (or its `engine.json`) with that of the container.

    ## Why is this bad?
    A plan runs with the very TensorRT that built it; others refuse to deserialize it. Only a version-compatible plan may be
    older (same major, or 10 under 11).

    ## Example
    ```
    net/1/model.plan      # built by 10.13, served with 26.07 (TensorRT 11.1)
    ```
    """
    if not is_trt(version.model):
        return
    built, release = _built_with(version), version.host.release
    served = release.tensorrt
    if not served:
        raise Skip(f"the TensorRT of {release.name} is not known")
    if _numbers(built)[:3] == _numbers(served)[: min(3, len(_numbers(built)))] or _prefix(built, served):
        return
    if _is_compatible(version) and _numbers(built)[0] >= 10 and _numbers(built) <= _numbers(served):
        return
    yield version.file_finding(
        version.file,
        f"the plan was built by TensorRT {built}, Triton {release.name} has {served}",
        fix="build it in the same container release",
    )


def _prefix(built: str, served: str) -> bool:
    """Equal as far as both are known."""
    return all(one == two for one, two in zip(_numbers(built)[:3], _numbers(served)[:3], strict=False))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


def _is_compatible(version: Version) -> bool:
    try:
        return version.engine.version_compatible
    except Skip as reason:
        raise Skip(f"whether the plan is version compatible is not known: {reason}") from reason


@rule("TRT011", "plan-of-another-gpu", Severity.ERROR)
def plan_of_another_gpu(version: Version) -> Iterator[Found]:
    """## What it does
    Compares, with `--gpu`, the compute capability for which the plan was built with that of the GPU.

    ## Why is this bad?
    A plan holds machine code for one architecture; on another one it does not deserialize.

    ## Example
    ```
    net/1/model.plan      # built on an A100 (8.0), served on an H200 (9.0)
    ```
    """
    if not is_trt(version.model):
        return
    engine, gpu = version.engine, version.host.known_gpu
    if gpu is None:
        return
    if not engine.compute_capabilities:
        raise Skip(f"for which GPU {version.file} was built is not known")
    wanted, named = gpu.compute_capability, version.model.config.cc_model_filenames
    if wanted in engine.compute_capabilities or (wanted in named and named[wanted] != version.file.name):
        return
    oldest = min(float(each) for each in engine.compute_capabilities)
    if engine.hardware_compatible and float(wanted) >= max(8.0, oldest):
        return
    built = ", ".join(engine.compute_capabilities)
    message = f"the plan was built for compute capability {built}, {gpu.name} has {wanted}"
    yield version.file_finding(
        version.file, message, fix="build it on the GPU that serves it, or use cc_model_filenames"
    )
