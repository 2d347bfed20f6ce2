"""A handle on the running precision tools: one child process, many conversions."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from repository_builder.errors import StageFailed
from repository_builder.resources import cache_folder

WORKER = Path(__file__).with_name("precision_worker.py")


class ConversionFailed(Exception):
    """The tools could not convert the graph; the text says why. One candidate fails, not the build."""


@dataclass
class PrecisionTool:
    """The child process: `convert` may be called any number of times."""

    child: subprocess.Popen[str]
    reports: IO[str]
    log: Path

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
        try:
            if self.child.stdin is None:
                raise BrokenPipeError
            self.child.stdin.write(json.dumps(request) + "\n")
            self.child.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None
        answer = self.reports.readline()
        if not answer:
            raise self._died()
        if why := json.loads(answer).get("failed"):
            raise ConversionFailed(" ".join(str(why).split())[:600])

    def _died(self) -> StageFailed:
        code = self.child.wait()
        return StageFailed(
            "the precision tools ended while they converted a graph",
            why=f"exit code {code} (negative: killed by that signal; -9 is what an out-of-memory killer leaves)",
            fix="read the log; calibrate with fewer samples if memory ran out",
            log=self.log,
        )


@contextmanager
def precision_tool(python: Path) -> Iterator[PrecisionTool]:
    """Start the tools with the interpreter of their environment; they end with the block, however it ends."""
    logs = cache_folder() / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix="precision-", suffix=".log", dir=logs)
    read_fd, write_fd = os.pipe()
    with os.fdopen(handle, "wb") as output, os.fdopen(read_fd) as reports:
        child = subprocess.Popen(
            [str(python), "-I", str(WORKER), str(write_fd)],
            stdin=subprocess.PIPE, stdout=output, stderr=output, text=True, pass_fds=(write_fd,), start_new_session=True,
        )  # fmt: skip
        os.close(write_fd)
        try:
            yield PrecisionTool(child, reports, Path(name))
        finally:
            child.kill()
            child.communicate()
