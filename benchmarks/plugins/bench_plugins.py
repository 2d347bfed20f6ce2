"""Speed of the plugin kernels on this GPU: predicted, measured, share of the limit, ratio to PyTorch.

    python benchmarks/plugins/bench_plugins.py --out benchmarks/plugins/results.md        # everything, about ten minutes
    python benchmarks/plugins/bench_plugins.py --only grid_sample --sizes 14,26 --no-compile

The prediction comes first: bytes that must move, over the bandwidth of a plain copy measured on the same GPU. Each time is the
median of 30 runs with a flushed L2 cache. Needs PyTorch for CUDA and a CUDA compiler.

GridSample has two kinds of rows. *Smooth*: every point within half a pixel of its own place, as in flow fields and affine
transforms; judged against the copy bandwidth. *Random*: every point anywhere, a random gather that no kernel can serve at
that bandwidth; compared with PyTorch only.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as nn

from repository_builder.plugins import operators
from repository_builder.plugins.compile import compile_plugin
from repository_builder.plugins.library import DeviceLibrary, DeviceTensor
from repository_builder.plugins.toolchain import find_nvcc

Tensor = torch.Tensor
RUNS = 30


@dataclass(frozen=True)
class Job:
    """One operator at one size; `torch` is the same computation in PyTorch, or None where it has none."""

    key: str
    label: str
    inputs: list[Tensor]
    outputs: list[Tensor]
    attributes: dict
    torch: Callable[..., object] | None
    passes: float = 1.0
    """How often the data passes through memory in theory (a radix sort: several times)."""
    limited: bool = True
    """Whether the copy bandwidth is a limit that a kernel could reach."""
    unrolls: bool = False
    """A loop so long that torch.compile, which unrolls it, would take minutes."""

    @property
    def bytes(self) -> float:
        tensors = [*self.inputs, *self.outputs]
        return self.passes * sum(t.numel() * t.element_size() for t in tensors)


def jobs(exponents: list[int]) -> Iterator[Job]:
    for dtype in (torch.float32, torch.float16):
        for exponent in exponents:
            yield from _for_size(2**exponent, dtype)


def _for_size(size: int, dtype: torch.dtype) -> Iterator[Job]:
    def new(*shape: int, kind: torch.dtype = dtype) -> Tensor:
        return torch.rand(*shape, device="cuda").mul_(0.9).add_(0.05).to(kind)

    name = f"{size:,} {str(dtype).removeprefix('torch.')}"
    for rank in (2, 3):
        side = max(4, round((size / 16) ** (1 / rank)))
        x, jitter = new(1, 16, *[side] * rank), new(1, *[side] * rank, rank) * 2 - 1
        identity = nn.affine_grid(torch.eye(rank, rank + 1, device="cuda")[None], list(x.shape), align_corners=False)
        for kind, grid in (("smooth", identity.to(dtype) + jitter / side), ("random", jitter)):
            yield Job("grid_sample", f"{rank}-D {kind} {name}", [x, grid], [torch.empty_like(x)], {},
                      lambda a, g: nn.grid_sample(a, g, align_corners=False), limited=kind == "smooth")  # fmt: skip
    side = max(4, round((size / 9 / 16) ** 0.5))
    x = new(1, 16 * 9, side * side)
    attributes = {"image_shape": [side, side], "block_shape": [3, 3], "pads": [1, 1, 1, 1]}
    yield Job("col2im", f"3x3 {name}", [x], [new(1, 16, side, side)], attributes,
              lambda a, s=side: nn.fold(a, (s, s), 3, padding=1))  # fmt: skip
    side = max(1, round((size / 16) ** 0.5 / 16)) * 16
    x = new(1, 16 * 256, (side // 16) ** 2)
    attributes = {"image_shape": [side, side], "block_shape": [16, 16], "strides": [16, 16]}
    yield Job("col2im", f"16x16 patches {name}", [x], [new(1, 16, side, side)], attributes,
              lambda a, s=side: nn.fold(a, (s, s), 16, stride=16))  # fmt: skip
    side = max(2, round((size / 16) ** 0.5 / 4) * 2)
    x, index = nn.max_pool2d(new(1, 16, 2 * side, 2 * side), 2, return_indices=True)
    whole = index + torch.arange(16, device="cuda").view(16, 1, 1) * 4 * side * side
    yield Job("max_unpool", f"2x2 {name}", [x, whole], [new(1, 16, 2 * side, 2 * side)],
              {"kernel_shape": [2, 2], "strides": [2, 2]},
              lambda a, _, i=index: nn.max_unpool2d(a, i, 2))  # fmt: skip
    rows = max(1, size // 1024)
    x = new(rows, 1024)
    yield Job("cumprod", f"last axis {name}", [x], [torch.empty_like(x)], {"axis": 1}, lambda a: a.cumprod(1))
    yield Job("cumprod", f"first axis {name}", [x], [torch.empty_like(x)], {"axis": 0}, lambda a: a.cumprod(0))
    x = new(1, size)
    yield Job("cumprod", f"one line {name}", [x], [torch.empty_like(x)], {"axis": 1}, lambda a: a.cumprod(1))
    x = new(size // 16, 4, 4) + torch.eye(4, device="cuda", dtype=dtype)
    wide = dtype == torch.float32
    yield Job("det", f"4x4 {name}", [x], [new(size // 16)], {}, torch.linalg.det if wide else None)
    yield Job("inverse", f"4x4 {name}", [x], [torch.empty_like(x)], {}, torch.linalg.inv if wide else None)
    yield from _scatters(size, name, new)
    yield from _top_k(size, name, new)
    tokens = max(1, size // 2048)
    x, weight, past = new(1, 2048, tokens), new(2048, 1, 4), new(1, 2048, 3)
    yield Job("causal_conv_with_state", f"2048 channels {name}", [x, weight, past], [torch.empty_like(x), past.clone()],
              {"present": [1, 1, 0, 1]},
              lambda a, w, p: nn.conv1d(torch.cat([p, a], 2), w, groups=2048))  # fmt: skip
    yield Job("causal_conv_with_state", f"2048 channels, silu {name}", [x, weight, past],
              [torch.empty_like(x), past.clone()], {"present": [1, 1, 0, 1], "activation": "silu"},
              lambda a, w, p: nn.silu(nn.conv1d(torch.cat([p, a], 2), w, groups=2048)))  # fmt: skip
    if size <= 2**22:
        yield _attention(f"{tokens} tokens, 16 heads of 128, {name}", 1, tokens, dtype)
    if size <= 2**18:
        yield _attention(f"1 token for {tokens} sequences, 16 heads of 128, {name}", tokens, 1, dtype)


def _attention(label: str, batch: int, tokens: int, dtype: torch.dtype) -> Job:
    """The gated delta rule: 16 heads of 128 keys and values, one decay and one beta per head and token."""

    def new(*shape: int) -> Tensor:
        return torch.rand(batch, *shape, device="cuda").mul_(0.9).add_(0.05).to(dtype)

    q, k, v, decay, beta = (
        new(tokens, 2048),
        new(tokens, 2048) / 11,
        new(tokens, 2048),
        -new(tokens, 16),
        new(tokens, 16),
    )
    state = new(16, 128, 128).float()
    outputs = [torch.empty_like(v), state.clone()]
    attributes = {"q_num_heads": 16, "kv_num_heads": 16}
    return Job("linear_attention", label, [q, k, v, state, decay, beta], outputs, attributes, gated_delta_rule,
               unrolls=tokens > 8)  # fmt: skip


def gated_delta_rule(  # noqa: PLR0917  (the operator's inputs in their order)
    q: Tensor, k: Tensor, v: Tensor, state: Tensor, decay: Tensor, beta: Tensor
) -> tuple[Tensor, Tensor]:
    """PyTorch has no such operator: the loop over tokens that a model would have, in the type of the state."""
    heads, keys, values = state.shape[1:]
    q, k = (t.unflatten(-1, (heads, keys)).float() for t in (q, k))
    wide, forget, rate = v.unflatten(-1, (heads, values)).float(), decay.float().exp(), beta.float()
    seen = []
    for t in range(q.shape[1]):
        state = state * forget[:, t, :, None, None]
        written = rate[:, t, :, None] * (wide[:, t] - (k[:, t, :, None] @ state)[..., 0, :])
        state = state + k[:, t, :, :, None] * written[:, :, None]
        seen.append((q[:, t, :, None] @ state)[..., 0, :])
    output = torch.stack(seen, 1) * keys**-0.5
    return output.flatten(2).to(v.dtype), state


def _scatters(size: int, name: str, new: Callable[..., Tensor]) -> Iterator[Job]:
    rows = max(1, size // 64)
    data, updates = new(rows, 64), new(rows, 64)
    made = [torch.empty_like(data)]
    index = torch.randint(0, rows, (rows, 1), device="cuda")
    # the limit: data, indices and updates once in, the output once out
    yield Job("scatter_nd", f"add, rows of 64, {name}", [data, index, updates], made, {"reduction": "add"},
              lambda d, i, u: d.index_add(0, i[:, 0], u))  # fmt: skip
    yield Job("scatter_nd", f"add, deterministic (so is PyTorch), {name}", [data, index, updates], made,
              {"reduction": "add", "deterministic": 1}, _in_order(lambda d, i, u: d.index_add(0, i[:, 0], u)))  # fmt: skip
    # every row of the output is read once, from the data or from the last of its updates
    kept = (2 * data.nbytes + index.nbytes) / (3 * data.nbytes + index.nbytes)
    yield Job("scatter_nd", f"none, rows of 64, {name}", [data, index, updates], made, {},
              lambda d, i, u: d.index_copy(0, i[:, 0], u), passes=kept)  # fmt: skip
    index = torch.randint(0, rows, (rows, 64), device="cuda")
    # besides: the 32-byte sector of each single target is read and written, but no more sectors than there are
    sectors = 2 * min(32 * size, data.nbytes)
    tensors = sum(t.nbytes for t in (data, index, updates, data))
    yield Job("scatter_elements", f"add {name}", [data, index, updates], made, {"axis": 0, "reduction": "add"},
              lambda d, i, u: d.scatter_add(0, i, u), passes=1 + sectors / tensors)  # fmt: skip
    yield Job("scatter_elements", f"none {name}", [data, index, updates], made, {"axis": 0},
              lambda d, i, u: d.scatter(0, i, u), passes=1 + sectors / tensors)  # fmt: skip


def _in_order(call: Callable[..., object]) -> Callable[..., object]:
    """The same in PyTorch's deterministic mode, which makes the same promise as our attribute."""

    def run(*tensors: Tensor) -> object:
        torch.use_deterministic_algorithms(True)
        try:
            return call(*tensors)
        finally:
            torch.use_deterministic_algorithms(False)

    return run


def _top_k(size: int, name: str, new: Callable[..., Tensor]) -> Iterator[Job]:
    lengths = [size] if size < 2**20 else [size, 2**16]  # one line; many lines
    for length in lengths:
        x, k = new(size // length, length), min(length, 5000)
        made = [new(len(x), k), torch.empty(len(x), k, dtype=torch.int64, device="cuda")]
        # the limit: the input once in
        yield Job("top_k", f"k {k} of {length:,} in {name}", [x], made, {"k": k}, lambda a, k=k: a.topk(k))


def milliseconds(call: Callable[[], object], flush: Tensor) -> float:
    """Median time of one call, the L2 cache flushed before each."""
    times = []
    for _ in range(RUNS + 5):
        flush.zero_()
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times[5:])


def copy_bandwidth(flush: Tensor) -> float:
    """Bytes per second of a large plain copy: read plus write."""
    a = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    b = torch.empty_like(a)
    return 2 * a.numel() / (milliseconds(lambda: b.copy_(a), flush) / 1e3)


def measure(job: Job, library: Path, bandwidth: float, flush: Tensor, compiling: bool) -> str:
    def described(tensors: list[Tensor]) -> list[DeviceTensor]:
        return [DeviceTensor(t.data_ptr(), str(t.dtype).removeprefix("torch."), tuple(t.shape)) for t in tensors]

    kernels = DeviceLibrary(library, job.attributes)
    given, made = described([t.contiguous() for t in job.inputs]), described(job.outputs)
    scratch = torch.empty(max(1, kernels.workspace(given, made)), dtype=torch.uint8, device="cuda")
    stream = torch.cuda.current_stream().cuda_stream
    ours = milliseconds(lambda: kernels(given, made, scratch.data_ptr(), stream), flush)
    predicted = job.bytes / bandwidth * 1e3
    eager = milliseconds(lambda: job.torch(*job.inputs), flush) if job.torch else math.nan
    compiled = torch.compile(job.torch, dynamic=False) if job.torch and compiling and not job.unrolls else None
    fused = milliseconds(lambda: compiled(*job.inputs), flush) if compiled else math.nan
    share = f"{predicted / ours:.0%}" if job.limited else "–"
    return (
        f"| {job.key} | {job.label} | {predicted:.4f} | {ours:.4f} | {share} "
        f"| {eager:.4f} | {eager / ours:.2f} | {fused / ours:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", default=[], help="an operator; repeatable")
    parser.add_argument("--sizes", default="10,14,18,22,26", help="numbers of elements, as exponents of two")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out: it takes most of the time")
    parser.add_argument("--out", type=Path, help="Markdown file for the table")
    options = parser.parse_args()
    major, minor = torch.cuda.get_device_capability()
    nvcc, known = find_nvcc(), {operator.key: operator for operator in operators.shipped()}
    flush = torch.empty(512 << 20, dtype=torch.uint8, device="cuda")
    bandwidth = copy_bandwidth(flush)
    lines = [
        f"{torch.cuda.get_device_name()}, copy {bandwidth / 1e12:.2f} TB/s, nvcc {nvcc.version}, PyTorch {torch.__version__}",
        "",
        "| operator | size | predicted ms | measured ms | share of the limit | PyTorch ms | × eager | × compiled |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    libraries: dict[str, Path] = {}
    for job in jobs([int(text) for text in options.sizes.split(",")]):
        if options.only and job.key not in options.only:
            continue
        if job.key not in libraries:
            libraries[job.key] = compile_plugin(known[job.key], nvcc, [f"{major}{minor}"], None).library
        lines.append(measure(job, libraries[job.key], bandwidth, flush, not options.no_compile))
        print(lines[-1], flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
