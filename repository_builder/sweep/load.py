"""One window of load: the real perf_analyzer, its report, and every single latency where the requests are small enough."""

from __future__ import annotations

import bisect
import csv
import json
import os
import re
import statistics
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from repository_builder.errors import ServerError
from repository_builder.serving.perf_analyzer import PerfAnalyzer
from repository_builder.sweep.latency import Latencies
from repository_builder.sweep.sample import Load

_WINDOWS = 3
_PER_INTERVAL = 1.2
"""perf_analyzer measures three windows of 1.2 times the interval that it is told (facts: its inference_profiler)."""
_NONE_FITS = "No valid requests recorded"
_LONGER_BY, _LONGER_TIMES = 2, 7
_SETTLING, _SETTLING_SHARE = 3, 0.25
"""Median latencies until a window counts, and the share of it that this may take at most."""
EXPORT_LIMIT = 192 << 10
"""Bytes of input data per request above which the requests are not exported: the file holds every tensor as text."""


@dataclass(frozen=True)
class Seen:
    """What the clients saw."""

    throughput: float
    latencies: Latencies
    seconds: float
    parts: Mapping[str, float]
    """Mean seconds of a request: `send`, `receive`, `network`."""


@dataclass(frozen=True)
class LoadGenerator:
    """perf_analyzer with its input data, for one model of one server."""

    analyzer: PerfAnalyzer
    url: str
    """`host:port` of gRPC."""
    model: str
    input_data: Path
    extra: tuple[str, ...] = ()
    """Further arguments: string sizes, shapes, shared memory."""

    @property
    def exports(self) -> bool:
        """Whether single requests can be exported."""
        entries = len(json.loads(self.input_data.read_text())["data"])
        return self.input_data.stat().st_size / max(entries, 1) <= EXPORT_LIMIT

    def command(self, load: Load, seconds: float, *output: str) -> list[str]:
        """The command line of a window of about `seconds`."""
        interval_ms = max(50, round(1000 * seconds / (_WINDOWS * _PER_INTERVAL)))
        command = [str(self.analyzer.program), "-m", self.model, "-u", self.url, "-i", "grpc", "-b", "1"]
        if load.kind == "rate":
            command += ["--request-rate-range", f"{load.value:g}:{load.value:g}", "--request-distribution", "poisson"]
        else:
            command += ["--concurrency-range", f"{load.value:.0f}:{load.value:.0f}"]
        # -s 9999: a window always counts; how far windows differ is judged by whoever repeats them, not in here
        command += ["--input-data", str(self.input_data), "-p", str(interval_ms), "-s", "9999", "-r", str(_WINDOWS)]
        return [*command, *self.extra, *output]

    def __call__(self, load: Load, seconds: float) -> Seen:
        """Measure; longer than asked where the requests take so long that none fits into a window.

        Raises ServerError where requests fail or nothing can be measured.
        """
        for _ in range(_LONGER_TIMES):
            seen, said = self._window(load, seconds)
            if seen is not None:
                return seen
            if _NONE_FITS not in said:
                break
            seconds *= _LONGER_BY
        raise _failed(self.model, load, said)

    def _window(self, load: Load, seconds: float) -> tuple[Seen | None, str]:
        with tempfile.TemporaryDirectory(prefix="triton-repo-sweep-") as folder:
            report, export = Path(folder, "report.csv"), Path(folder, "requests.json")
            output = ["-f", str(report)] + (["--profile-export-file", str(export)] if self.exports else [])
            said = self._run(self.command(load, seconds, *output), 4 * seconds + 60)
            if not report.is_file():
                return None, said
            return _seen(report.read_text(), export.read_bytes() if export.is_file() else b"", seconds), said

    def _run(self, command: list[str], limit_s: float) -> str:
        libraries = {"LD_LIBRARY_PATH": self.analyzer.library_path} if self.analyzer.library_path else {}
        try:
            answer = subprocess.run(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=limit_s,
                check=False,
                env=dict(os.environ) | libraries,
            )
        except subprocess.TimeoutExpired:
            raise ServerError(
                "the load measurement did not end",
                where=" ".join(command),
                why=f"perf_analyzer still ran after {limit_s:.0f} s",
                fix="the server may hang: look into its log",
            ) from None
        return answer.stdout


def _seen(report: str, export: bytes, seconds: float) -> Seen | None:
    """The report's numbers; None for an empty report."""
    row = next(csv.DictReader(report.splitlines()), None)
    if row is None:
        return None
    throughput = float(row["Inferences/Second"])
    columns = {"send": "Client Send", "network": "Network+Server Send/Recv", "receive": "Client Recv"}
    parts = {name: _us(row, column) for name, column in columns.items()}
    if requests := _exported(export):
        settled, latencies = _settled(requests)
        return Seen(settled, Latencies.of(latencies), seconds, parts)
    marks = {level / 100: _us(row, f"p{level} latency") for level in (50, 90, 95, 99)}
    return Seen(throughput, _from_marks(marks, round(throughput * seconds)), seconds, parts)


def _exported(export: bytes) -> list[tuple[float, float]]:
    """When each request of the measured windows was sent and when its last answer came, in seconds.

    Only the time stamps are picked out: perf_analyzer writes the bytes of STRING tensors as they are, which is no JSON.
    """
    starts = [int(found) for found in re.findall(rb'"timestamp":(\d+)', export)]
    ends = [int(found) for found in re.findall(rb'"response_timestamps":\[(?:\d+,)*(\d+)\]', export)]
    if len(starts) != len(ends):  # a request without an answer: the two cannot be told apart
        return []
    bounds = re.search(rb'"window_boundaries":\[(\d+)', export)
    first = int(bounds[1]) if bounds else 0
    return [(start / 1e9, end / 1e9) for start, end in zip(starts, ends, strict=True) if end >= first]


def _settled(requests: Sequence[tuple[float, float]]) -> tuple[float, list[float]]:
    """Throughput, and the latencies, once the clients are out of step.

    All of them send their first request at the same moment: on two instances the first batches took 84 ms where later ones
    took 45, and in a window of a second they alone were its p99. What is sent until `_SETTLING` latencies have passed is
    left out. The throughput counts from answer to answer: batches end together, and a window that ends just before one
    of them would lose all of it.
    """
    begin = min(sent for sent, _ in requests)
    ends = sorted(answered for _, answered in requests)
    usual = statistics.median(answered - sent for sent, answered in requests)
    since = begin + min(_SETTLING * usual, _SETTLING_SHARE * (ends[-1] - begin))
    place = bisect.bisect_right(ends, since)
    mark = ends[place - 1] if place else begin
    rate = (len(ends) - place) / (ends[-1] - mark) if ends[-1] > mark else 0.0
    kept = [answered - sent for sent, answered in requests if sent >= since]
    return rate, kept or [answered - sent for sent, answered in requests]


def _from_marks(marks: Mapping[float, float], count: int) -> Latencies:
    """A histogram out of percentiles alone: each share of the requests stands at its percentile."""
    values, before = [], 0
    for share, seconds in sorted(marks.items()):
        values += [seconds] * (round(share * count) - before)
        before = round(share * count)
    values += [1.01 * marks[max(marks)]] * (count - before)
    return Latencies.of(values)


def _us(row: Mapping[str, str | None], column: str) -> float:
    text = row.get(column)
    return float(text) / 1e6 if text else 0.0


def _failed(model: str, load: Load, said: str) -> ServerError:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    told = [line for line in lines if "rror" in line or "ailed" in line] or lines[-3:]
    return ServerError(
        f"the load on model `{model}` could not be measured",
        where=str(load),
        why="\n".join(told[:5]) or "perf_analyzer said nothing",
        fix="try one request first: `triton-repo verify`",
    )
