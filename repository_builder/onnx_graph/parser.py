"""NVIDIA's ONNX parser as a judge: a persistent child process that answers for many graphs and may die on one."""

from __future__ import annotations

import importlib.util
import json
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from repository_builder.errors import ToolMissing
from repository_builder.onnx_graph import walk
from repository_builder.onnx_graph.verdict import Complaint, Verdict

if TYPE_CHECKING:
    import onnx

PACKAGES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT for RTX"}
"""Python package → product: both have the same parser interface."""

TIMEOUT_S = 300.0
"""Seconds after which a silent parser counts as dead."""


def available() -> tuple[str, ...]:
    """Installed packages that hold a parser, the production one first; found without importing them."""
    return tuple(name for name in PACKAGES if importlib.util.find_spec(name) is not None)


class ParserJudge:
    """Asks the parser of one package. Use as a context manager, or `close` it."""

    def __init__(self, package: str, *, python: str = sys.executable, timeout_s: float = TIMEOUT_S) -> None:
        child = Path(__file__).with_name("parser_child.py")
        self._command = [python, "-P", str(child), package]  # -P: our modules must not shadow the library's
        self._package = package
        self._timeout_s = timeout_s
        self._child: subprocess.Popen[bytes] | None = None
        self.source = f"{PACKAGES[package]} {self._start()} (parser)"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    def judge(self, model: onnx.ModelProto, path: Path | None = None) -> Verdict:
        """The parser's verdict; with `path` the child reads the file itself. A graph that kills the parser is bisected."""
        answer = self._ask(b"" if path else model.SerializeToString(), str(path or ""))
        if answer is None:
            return self._post_mortem(model)
        complaints = tuple(_complaint(entry) for entry in answer["complaints"])
        if not answer["accepted"] and not complaints:
            complaints = (Complaint("", "", -1, " ".join(answer["log"]) or "the parser gave no reason"),)
        return Verdict(answer["accepted"], complaints if not answer["accepted"] else (), self.source)

    def _post_mortem(self, model: onnx.ModelProto) -> Verdict:
        why = "NVIDIA's parser died on it (a crash, not a refusal)"
        index = _first_deadly(model, lambda part: self._ask(part.SerializeToString(), "") is None)
        if index is None:
            complaint = Complaint("", "", -1, "NVIDIA's parser died on the graph, though on no first part of it")
        else:
            node = model.graph.node[index]
            complaint = Complaint(walk.operator(node), node.name, index, why)
        return Verdict(False, (complaint,), self.source, crashed=True)

    def _ask(self, content: bytes, path: str) -> dict[str, Any] | None:
        """The child's answer, or None if it died; it is then started anew."""
        if self._child is not None and self._child.poll() is not None:
            self.close()  # it died while nobody asked: no graph is to blame
        if self._child is None:
            self._start()
        child = self._child
        assert child is not None  # noqa: S101
        assert child.stdin is not None  # noqa: S101
        try:
            child.stdin.write(json.dumps({"bytes": len(content), "path": path}).encode() + b"\n" + content)
            child.stdin.flush()
            answer = self._read()
        except BrokenPipeError:
            answer = None
        if answer is None:
            self.close()
        return answer

    def _start(self) -> str:
        self._child = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        answer = self._read()
        if answer is None:
            self.close()
            raise ToolMissing(
                f"NVIDIA's parser (`{self._package}`) does not start",
                where=" ".join(self._command),
                why="the package is not installed, or its libraries cannot be loaded",
                fix=f"`pip install 'triton-repo-builder[tensorrt-rtx]'`, and try `python -c 'import {self._package}'`",
            )
        return str(answer["ready"])

    def _read(self) -> dict[str, Any] | None:
        """The next line of the child; None at its end, or when it stays silent for too long."""
        assert self._child is not None  # noqa: S101
        stream = self._child.stdout
        assert stream is not None  # noqa: S101
        end = time.monotonic() + self._timeout_s
        while time.monotonic() < end:
            if select.select([stream], [], [], min(1.0, self._timeout_s))[0]:
                line = stream.readline()
                return json.loads(line) if line else None
        return None


def _complaint(entry: dict[str, Any]) -> Complaint:
    why = " ".join(str(entry["why"]).split())
    return Complaint(entry["operator"] or "", entry["node"] or "", int(entry["index"]), f"{why} [{entry['code']}]")


def _first_deadly(model: onnx.ModelProto, deadly: Callable[[onnx.ModelProto], bool]) -> int | None:
    """Bisection: the index of the node with which the shortest deadly beginning of the graph ends."""
    low, high = 0, len(model.graph.node)
    if not high or not deadly(_beginning(model, high)):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if deadly(_beginning(model, middle)):
            high = middle
        else:
            low = middle
    return high - 1


def _beginning(model: onnx.ModelProto, count: int) -> onnx.ModelProto:
    """The first `count` nodes as a graph whose outputs are what nothing in it reads."""
    import onnx

    part = onnx.ModelProto()
    part.CopyFrom(model)
    del part.graph.node[count:]
    read = {name for node in part.graph.node for name in node.input}
    types = {value.name: value for value in (*model.graph.output, *model.graph.value_info)}
    del part.graph.output[:]
    for node in part.graph.node:
        for name in node.output:
            if name and name not in read:
                part.graph.output.append(types.get(name, onnx.ValueInfoProto(name=name)))
    return part
