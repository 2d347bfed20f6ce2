"""A handle on the running precision tools: one child process, many conversions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from repository_builder.errors import StageFailed
from repository_builder.resources import cache_folder

WORKER = Path(__file__).with_name("precision_worker.py")


class ConversionFailed(Exception):
    """The tools could not convert the graph; the text says why. One candidate fails, not the build."""


class PrecisionTool:
    """The child process: `convert` may be called any number of times; a fresh process replaces one that failed."""

    def __init__(self, python: Path, log: Path) -> None:
        self.log = log
        """Output of the tools, kept."""
        self._python = python
        self._child: subprocess.Popen[str] | None = None
        self._reports: IO[str] | None = None

    def convert(
        self,
        onnx_file: Path,
        out: Path,
        precision: str,
        *,
        keep: Sequence[str] = (),
        samples: Path | None = None,
        method: str = "entropy",
        rest: str = "fp16",
        external: bool = False,
    ) -> None:
        """Write the graph in a lower precision to `out`; nodes named in `keep` stay as they are.

        `samples` (see `calibration`) are needed for `int8` and `fp8`. Raises ConversionFailed.
        """
        request = {
            "onnx": str(onnx_file), "out": str(out), "precision": precision, "keep": list(keep),
            "samples": str(samples) if samples else None, "method": method, "rest": rest, "external": external,
        }  # fmt: skip
        child, reports = self._running()
        with suppress(BrokenPipeError):
            child.stdin.write(json.dumps(request) + "\n")  # type: ignore[union-attr]  # it was opened as a pipe
            child.stdin.flush()  # type: ignore[union-attr]
        if not reports.readline():
            raise self._failure()

    def close(self) -> None:
        """End the process."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
        if self._reports is not None:
            self._reports.close()
        self._child = self._reports = None

    def _running(self) -> tuple[subprocess.Popen[str], IO[str]]:
        if self._child is None or self._reports is None:
            read_fd, write_fd = os.pipe()
            self._reports = os.fdopen(read_fd)
            with self.log.open("ab") as output:
                self._child = subprocess.Popen(
                    [str(self._python), "-I", str(WORKER), str(write_fd)],
                    stdin=subprocess.PIPE, stdout=output, stderr=output, text=True,
                    pass_fds=(write_fd,), start_new_session=True,
                )  # fmt: skip
            os.close(write_fd)
        return self._child, self._reports

    def _failure(self) -> Exception:
        """A traceback is an answer about this candidate; a signal is the end of the stage."""
        code = self._child.wait() if self._child else 1
        self.close()
        if code < 0:
            return StageFailed(
                "the precision tools ended while they converted a graph",
                why=f"killed by {signal.Signals(-code).name}",
                fix="SIGKILL is what an out-of-memory killer leaves: calibrate with fewer samples (`precision.count`)",
                log=self.log,
            )
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return ConversionFailed(" ".join(lines[-1:])[:600])


@contextmanager
def precision_tool(python: Path) -> Iterator[PrecisionTool]:
    """The tools with the interpreter of their environment; they end with the block, however it ends."""
    logs = cache_folder() / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix="precision-", suffix=".log", dir=logs)
    os.close(handle)
    tool = PrecisionTool(python, Path(name))
    try:
        yield tool
    finally:
        tool.close()
