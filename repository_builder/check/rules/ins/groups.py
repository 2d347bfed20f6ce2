"""INS001 to INS010: kinds, counts, GPUs and host policies."""

from __future__ import annotations

import re
from collections.abc import Iterator

from repository_builder.check.inputs import Model
from repository_builder.check.rule import Found, Severity, rule

AUTO, GPU, CPU, MODEL = 0, 1, 2, 3
NAMES = {AUTO: "KIND_AUTO", GPU: "KIND_GPU", CPU: "KIND_CPU", MODEL: "KIND_MODEL"}


@rule("INS001", "gpus-without-gpu-kind", Severity.ERROR, triton="has kind KIND_CPU but specifies one or more GPUs")
def gpus_without_gpu_kind(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that an instance group of KIND_CPU or KIND_MODEL lists no `gpus`.

    ## Why is this bad?
    Triton refuses the contradiction.

    ## Example
    ```pbtxt
    instance_group [ { kind: KIND_CPU gpus: [ 0 ] } ]
    ```
    """
    if model.is_ensemble:
        return
    for index, group in enumerate(model.config.instance_group):
        if group.kind in (CPU, MODEL) and group.gpus:
            yield model.finding(
                f"instance_group[{index}].gpus",
                f"{NAMES[group.kind]} runs on no GPU, but `gpus` lists {list(group.gpus)}",
                fix="remove `gpus`, or write kind: KIND_GPU",
            )


@rule("INS002", "negative-gpu", Severity.ERROR, requires=("INS001",), triton="specifies one or more GPUs")
def negative_gpu(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that `gpus` holds no negative number.

    ## Why is this bad?
    GPUs are counted from 0. With KIND_GPU Triton answers `specifies invalid or unsupported gpu id -1`, with the default
    kind it falls back to the CPU and then finds GPUs listed.

    ## Example
    ```pbtxt
    instance_group [ { gpus: [ -1 ] } ]
    ```
    """
    if model.is_ensemble:
        return
    for index, group in enumerate(model.config.instance_group):
        for place, number in enumerate(group.gpus):
            if number < 0:
                field = f"instance_group[{index}].gpus[{place}]"
                yield model.finding(field, f"there is no GPU {number}", fix="count from 0, or leave `gpus` out for all")


@rule("INS003", "gpu-kind-without-gpu", Severity.ERROR, triton="has kind KIND_GPU but no GPUs are available")
def gpu_kind_without_gpu(model: Model) -> Iterator[Found]:
    """## What it does
    Checks, with `--gpu none`, that no instance group asks for a GPU.

    ## Why is this bad?
    Triton refuses KIND_GPU (and listed `gpus`) on a machine without GPU.

    ## Example
    ```pbtxt
    instance_group [ { kind: KIND_GPU } ]
    ```
    """
    if model.is_ensemble:
        return
    wanting = [(i, group) for i, group in enumerate(model.config.instance_group) if group.kind == GPU or group.gpus]
    if wanting and model.host.known_gpu is None:
        for index, group in wanting:
            if group.kind in (GPU, AUTO):
                field = f"instance_group[{index}].{'kind' if group.kind == GPU else 'gpus'}"
                yield model.finding(field, "the machine has no GPU", fix="write kind: KIND_CPU, without `gpus`")


@rule("INS004", "gpu-too-old", Severity.ERROR, triton="specifies invalid or unsupported gpu id …")
def gpu_too_old(model: Model) -> Iterator[Found]:
    """## What it does
    Checks, with `--gpu` and `--image`, that the GPU has the compute capability that the release needs.

    ## Why is this bad?
    Containers since 25.01 take GPUs of compute capability 7.5 (Turing) and newer only; older ones do not exist for them.

    ## Example
    ```pbtxt
    instance_group [ { kind: KIND_GPU gpus: [ 0 ] } ]     # --gpu v100 --image 26.07
    ```
    """
    if model.is_ensemble:
        return
    groups = [index for index, group in enumerate(model.config.instance_group) if group.kind == GPU]
    if not groups:
        return
    gpu = model.host.known_gpu
    if gpu is None:
        return
    release = model.host.release
    if _numbers(gpu.compute_capability) < _numbers(release.min_compute_capability):
        yield model.finding(
            f"instance_group[{groups[0]}].kind",
            f"{gpu.name} has compute capability {gpu.compute_capability}, Triton {release.name} needs "
            f"{release.min_compute_capability}",
            fix="use an older container (24.12 is the last for it), or another GPU",
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


@rule("INS005", "count-below-one", Severity.WARNING)
def count_below_one(model: Model) -> Iterator[Found]:
    """## What it does
    Reports an instance group whose `count` is written as 0 or less.

    ## Why is this bad?
    Triton starts an instance all the same (two for ONNX Runtime on the CPU): the line does not switch a group off.

    ## Example
    ```pbtxt
    instance_group [ { kind: KIND_CPU count: 0 } ]
    ```
    """
    for index, group in enumerate(model.config.instance_group):
        field = f"instance_group[{index}].count"
        if group.count < 1 and model.parsed.has(field):
            yield model.finding(
                field, f"count {group.count} starts an instance all the same", fix="remove the group or the line"
            )


@rule("INS006", "kind-left-to-triton", Severity.WARNING)
def kind_left_to_triton(model: Model) -> Iterator[Found]:
    """## What it does
    Reports, with a GPU given, Python models whose instance groups do not say their kind.

    ## Why is this bad?
    Triton then starts `count` instances on *every* GPU it sees: pre- and post-processing that runs on the CPU multiplies
    with the GPUs of the machine.

    ## Example
    ```pbtxt
    backend: "python"      # no instance_group
    ```
    """
    if model.backend != "python" or model.is_ensemble or not model.host.gpu or model.host.known_gpu is None:
        return
    if not model.config.instance_group:
        message = "without an instance group one instance starts on every GPU"
        yield model.finding("instance_group", message, fix="add `instance_group [ { kind: KIND_CPU count: 1 } ]`")
    for index, group in enumerate(model.config.instance_group):
        if group.kind == AUTO and not group.gpus:
            message = "a group without kind starts its instances on every GPU"
            yield model.finding(f"instance_group[{index}].kind", message, fix="write kind: KIND_CPU (or KIND_GPU)")


@rule("INS007", "only-passive-instances", Severity.ERROR)
def only_passive_instances(model: Model) -> Iterator[Found]:
    """## What it does
    Checks that not every instance group is passive.

    ## Why is this bad?
    Passive instances take no requests. The model is READY, and the first request ends the whole server (seen on 24.10).

    ## Example
    ```pbtxt
    instance_group [ { kind: KIND_CPU passive: true } ]
    ```
    """
    groups = list(model.config.instance_group)
    if groups and all(group.passive for group in groups) and not model.is_ensemble:
        field = "instance_group[0].passive"
        yield model.finding(field, "no instance takes requests: all are passive", fix="remove `passive` from one group")


MOST_GPUS = 16
"""In one machine: HGX boards have 8, DGX-2 had 16."""


@rule("INS009", "gpu-beyond-any-machine", Severity.WARNING, requires=("INS001",))
def gpu_beyond_any_machine(model: Model) -> Iterator[Found]:
    """## What it does
    Reports a GPU number that hardly any machine has: 16 and more.

    ## Why is this bad?
    Where the GPU does not exist Triton answers `specifies invalid or unsupported gpu id 42` (KIND_GPU), or takes the CPU and
    then finds GPUs listed (the default kind), and does not load the model.

    ## Example
    ```pbtxt
    instance_group [ { kind: KIND_GPU gpus: [ 42 ] } ]
    ```
    """
    for index, group in enumerate(model.config.instance_group):
        for place, number in enumerate(group.gpus):
            if number >= MOST_GPUS and not model.is_ensemble:
                field = f"instance_group[{index}].gpus[{place}]"
                yield model.finding(field, f"hardly any machine has a GPU {number}", fix="list GPUs that exist")


@rule("INS008", "secondary-device-ignored", Severity.WARNING)
def secondary_device_ignored(model: Model) -> Iterator[Found]:
    """## What it does
    Reports `secondary_devices` (DLA cores) on a model that is not TensorRT's.

    ## Why is this bad?
    Other backends ignore them without a word.

    ## Example
    ```pbtxt
    backend: "python"
    instance_group [ { kind: KIND_CPU secondary_devices [ { kind: KIND_NVDLA device_id: 0 } ] } ]
    ```
    """
    if model.backend == "tensorrt" or model.is_ensemble:
        return
    for index, group in enumerate(model.config.instance_group):
        if group.secondary_devices:
            field = f"instance_group[{index}].secondary_devices"
            yield model.finding(field, f"backend `{model.backend}` has no secondary devices", fix="remove them")


_OWN_POLICIES = re.compile(r"cpu|model|gpu_[0-9]+")
"""What Triton calls the policies of its own accord."""


@rule("INS010", "host-policy-that-needs-a-flag", Severity.WARNING)
def host_policy_that_needs_a_flag(model: Model) -> Iterator[Found]:
    """## What it does
    Reports a `host_policy` of a name that only the server's command line can give a meaning.

    ## Why is this bad?
    The config alone binds nothing to anything: without `--host-policy=<name>,numa-node=…` (or `cpu-cores=`) Triton takes the
    name without a word, and the instance runs on any core. A misspelt name looks the same. Triton's own names are `cpu`,
    `model` and `gpu_0`, `gpu_1` …

    ## Example
    ```pbtxt
    instance_group [ { kind: KIND_CPU host_policy: "socket_1" } ]
    ```
    """
    for index, group in enumerate(model.config.instance_group):
        if group.host_policy and not _OWN_POLICIES.fullmatch(group.host_policy) and not model.is_ensemble:
            name = group.host_policy
            yield model.finding(
                f"instance_group[{index}].host_policy",
                f"`{name}` means nothing unless the server is told what it is",
                fix=f"start the server with `--host-policy={name},numa-node=…` and ignore this finding, or remove the line",
            )
