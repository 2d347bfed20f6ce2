"""NVIDIA's load generator: found or installed, fed with golden inputs, its report as values.

A real `perf_analyzer` on the PATH is taken (pip's `perf-analyzer` 0.1.0, an empty stub on older systems, is not). Else the
binary out of one pinned wheel is installed below the cache folder on first use, with libraries of the embedded Triton.
"""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from repository_builder.console import Progress, note, silent
from repository_builder.errors import ServerError, ToolMissing
from repository_builder.resources import cache_folder
from repository_builder.serving import embedded
from repository_builder.serving.server import Server

LOCK = Path(__file__).with_name("perf_analyzer.lock")
_PROGRAM = "perf_analyzer"
_LIBRARIES = {"libb64.so.0d": "libb64-*.so.0d", "libcudart.so.12": "libcudart-*.so.12*"}
"""Library that the binary asks for → where it lies among the embedded Triton's."""
_WARM_UP_REQUESTS = 20
_LONGER = (1, 4, 16)
_WINDOWS = 3
_WINDOW_OVERHEAD = 1.2
"""perf_analyzer measures for 1.2 times the interval that it is told, three times (facts: its inference_profiler)."""


@dataclass(frozen=True)
class Measurement:
    """One load point."""

    model: str
    concurrency: int
    """Requests kept in flight."""
    batch: int
    """Rows of each request."""
    inferences_per_s: float
    """Rows per second."""
    p50_us: float
    p90_us: float
    p95_us: float
    p99_us: float
    columns: Mapping[str, float]
    """Every number of perf_analyzer's report, by its column name: `Server Queue`, `Client Send` … in µs."""


@dataclass(frozen=True)
class PerfAnalyzer:
    """A perf_analyzer that runs here."""

    program: Path
    library_path: str = ""

    @classmethod
    def find(cls, progress: Progress = silent) -> Self:
        """The one on the PATH if it is real, else the pinned one (installed on first use)."""
        on_path = shutil.which(_PROGRAM)
        if on_path is not None:
            if (found := cls(Path(on_path))).works():
                return found
            note(f"{on_path} is not a working perf_analyzer (pip's version 0.1.0 is an empty stub): using our own")
        folder = _installed() or _install(progress)
        return cls(folder / _PROGRAM, str(folder / "lib"))

    def works(self) -> bool:
        """Whether it is the real program and finds its libraries."""
        try:
            answer = subprocess.run(
                [self.program, "--version"],
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
                env=self._environment(),
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
        return "Perf Analyzer Version" in answer.stdout + answer.stderr

    def measure(
        self,
        server: Server | str,
        model: str,
        *,
        concurrency: int,
        seconds: float,
        input_data: Path,
        batch: int = 1,
        extra_args: Sequence[str] = (),
    ) -> Measurement:
        """Keep `concurrency` requests in flight for about `seconds` (and never fewer than 3 windows of 50 ms).

        `server`: a handle, or `host:port` of gRPC. `input_data`: what `write_input_data` wrote. Where no request ends
        within a window the measurement is repeated with longer ones. Raises `ServerError` when requests fail or nothing
        can be measured.
        """
        address = server if isinstance(server, str) else server.grpc
        command = [str(self.program), "-m", model, "-u", address, "-i", "grpc", "-b", str(batch)]
        command += ["--concurrency-range", f"{concurrency}:{concurrency}", "--input-data", str(input_data)]
        # A window always counts (-s 9999): the spread is judged by whoever repeats measurements, not in here.
        command += ["-s", "9999", "-r", str(_WINDOWS), *extra_args]
        for longer in _LONGER:
            interval_ms = round(longer * max(50, 1000 * seconds / (_WINDOWS * _WINDOW_OVERHEAD)))
            with tempfile.TemporaryDirectory(prefix="triton-repo-perf-") as folder:
                report = Path(folder, "report.csv")
                timed = [*command, "-p", str(interval_ms), "-f", str(report)]
                output = self._run(timed, limit_s=4 * longer * seconds + 60)
                if report.is_file():
                    return _parsed(report.read_text(), model, concurrency, batch, output)
            if "No valid requests recorded" not in output:
                break
        raise _failed(model, timed, output)

    def _run(self, command: Sequence[str], *, limit_s: float) -> str:
        try:
            answer = subprocess.run(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=limit_s,
                check=False,
                env=self._environment(),
            )
        except subprocess.TimeoutExpired:
            raise ServerError(
                "the load measurement did not end",
                where=" ".join(command),
                why=f"perf_analyzer still ran after {limit_s:.0f} s",
                fix="the server may hang: look into its log",
            ) from None
        return answer.stdout

    def _environment(self) -> dict[str, str]:
        return dict(os.environ) | ({"LD_LIBRARY_PATH": self.library_path} if self.library_path else {})


@contextmanager
def golden_input_data(repository: Path, model: str, *, max_batch_size: int) -> Iterator[Path]:
    """A file for `--input-data` with the golden inputs of a model: real data, never zeros."""
    from repository_builder.repository import golden
    from repository_builder.serving.verify import golden_files

    inputs = golden.read(golden_files(repository, [model])[model]).inputs
    with tempfile.TemporaryDirectory(prefix="triton-repo-perf-") as folder:
        path = Path(folder, "input_data.json")
        write_input_data(path, inputs, batched=max_batch_size > 0)
        yield path


def write_input_data(path: Path, inputs: Mapping[str, Any], *, batched: bool) -> None:
    """perf_analyzer's JSON: one entry per row of the batch (it repeats them in turn), or one entry for an unbatched model.

    `inputs`: name → array of the full shape. STRING elements may hold any bytes.
    """
    import json

    rows = len(next(iter(inputs.values()))) if batched else 1
    entries = [
        {name: _entry(array[row] if batched else array) for name, array in inputs.items()} for row in range(rows)
    ]
    path.write_text(json.dumps({"data": entries}))


def sweep(
    analyzer: PerfAnalyzer,
    server: Server,
    model: str,
    repository: Path,
    *,
    levels: Sequence[int] = (1, 2, 4, 8, 16),
    seconds: float = 2.0,
    progress: Progress = silent,
) -> list[Measurement]:
    """One measurement per concurrency, with the model's golden inputs; a few requests before it warm the server up."""
    limit = _warmed_up(server, model, repository)
    results = []
    with golden_input_data(repository, model, max_batch_size=limit) as data:
        for number, level in enumerate(levels):
            progress(f"{model}: {level} request{'s' * (level > 1)} in flight", number / len(levels))
            results.append(analyzer.measure(server, model, concurrency=level, seconds=seconds, input_data=data))
    return results


def _warmed_up(server: Server, model: str, repository: Path) -> int:
    """Send golden inputs a few times; the model's `max_batch_size`."""
    from repository_builder.repository import golden
    from repository_builder.serving.client import Client
    from repository_builder.serving.verify import golden_files, split

    inputs = golden.read(golden_files(repository, [model])[model]).inputs
    with Client(server.grpc) as client:
        limit = int(client.config(model).max_batch_size)
        for _ in range(_WARM_UP_REQUESTS):
            client.infer(model, next(split(inputs, min(limit, 1))))
    return limit


def _entry(array: Any) -> dict[str, Any]:
    """One tensor without its batch dimension."""
    import base64
    import struct

    shape = list(array.shape)
    if array.dtype != object:
        return {"content": array.ravel().tolist(), "shape": shape}
    # Any bytes are allowed only as base64 of the wire format: each element behind its length.
    items = [item if isinstance(item, bytes) else str(item).encode() for item in array.ravel()]
    wire = b"".join(struct.pack("<I", len(item)) + item for item in items)
    return {"content": {"b64": base64.b64encode(wire).decode()}, "shape": shape}


def _parsed(text: str, model: str, concurrency: int, batch: int, output: str) -> Measurement:
    rows = [row for row in csv.DictReader(text.splitlines()) if row.get("Concurrency") == str(concurrency)]
    if not rows:
        raise _failed(model, [_PROGRAM], output)
    numbers = {name: float(value) for name, value in rows[0].items() if name and _is_number(value)}
    p50, p90, p95, p99 = (numbers[f"p{level} latency"] for level in (50, 90, 95, 99))
    return Measurement(model, concurrency, batch, numbers["Inferences/Second"], p50, p90, p95, p99, numbers)


def _is_number(text: str | None) -> bool:
    try:
        float(text or "")
    except ValueError:
        return False
    return True


def _failed(model: str, command: Sequence[str], output: str) -> ServerError:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    told = [line for line in lines if "rror" in line or "ailed" in line] or lines[-3:]
    return ServerError(
        f"the load on model `{model}` could not be measured",
        where=" ".join(command),
        why="\n".join(told[:5]) or "perf_analyzer said nothing",
        fix="try one request first: `triton-repo verify`; if it works, measure for longer",
    )


def _folder() -> Path:
    return cache_folder() / _PROGRAM / hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]


def _installed() -> Path | None:
    """The folder of our own perf_analyzer if it is there and starts."""
    folder = _folder()
    return folder if PerfAnalyzer(folder / _PROGRAM, str(folder / "lib")).works() else None


def _install(progress: Progress) -> Path:
    """Fetch the pinned wheel (14 MB), keep its binary, add the libraries; atomic, one installer at a time."""
    from filelock import FileLock

    runtime = embedded.ensure(progress)
    folder = _folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if (present := _installed()) is not None:
            return present
        progress("installing perf_analyzer")
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-", ignore_cleanup_errors=True) as building:
            fresh = Path(building, "fresh")
            _fill(fresh, runtime)
            shutil.rmtree(folder, ignore_errors=True)
            fresh.rename(folder)
    if (ready := _installed()) is None:
        raise _missing("it does not start: " + _loader_says(folder))
    return ready


def _fill(folder: Path, runtime: embedded.EmbeddedRuntime) -> None:
    (folder / "lib").mkdir(parents=True)
    pip = [str(runtime.python), "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    answer = subprocess.run(
        [*pip, "--require-hashes", "--only-binary=:all:", "-r", str(LOCK), "-d", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    wheel = next(folder.glob("tritonclient-*.whl"), None)
    if answer.returncode != 0 or wheel is None:
        raise _missing("\n".join(answer.stderr.strip().splitlines()[-3:]))
    with zipfile.ZipFile(wheel) as archive:
        member = next(name for name in archive.namelist() if name.endswith(f"/bin/{_PROGRAM}"))
        (folder / _PROGRAM).write_bytes(archive.read(member))
    (folder / _PROGRAM).chmod(0o755)
    wheel.unlink()
    for name, pattern in _LIBRARIES.items():
        shutil.copyfile(next(runtime.libraries.glob(pattern)), folder / "lib" / name)


def _loader_says(folder: Path) -> str:
    environment = dict(os.environ) | {"LD_LIBRARY_PATH": str(folder / "lib")}
    answer = subprocess.run(
        [folder / _PROGRAM, "--version"], capture_output=True, text=True, check=False, env=environment
    )
    return answer.stderr.strip()


def _missing(why: str) -> ToolMissing:
    return ToolMissing(
        "perf_analyzer could not be installed",
        where=_folder(),
        why=why,
        fix="put a real perf_analyzer on the PATH (it is in the container nvcr.io/nvidia/tritonserver:<yy.mm>-py3-sdk); "
        "the pinned one needs a package index for its first use and `apt-get install libssl3 zlib1g libstdc++6`",
    )
