"""The process in which NVIDIA's parser runs: it may die on a graph, so it is never ours.

Reads requests from standard input, writes answers to what was standard output: each a JSON line, a request followed by
the bytes it announces. Imports nothing but the standard library and TensorRT, to start quickly.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, BinaryIO


def main(package: str) -> int:
    """Answer requests until standard input ends. `package` is `tensorrt` or `tensorrt_rtx`."""
    import importlib

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the libraries print there
    trt = importlib.import_module(package)
    session = _Session(trt)
    _write(answers, {"ready": trt.__version__})
    while line := sys.stdin.buffer.readline():
        request = json.loads(line)
        content = sys.stdin.buffer.read(request["bytes"])
        _write(answers, session.judge(content, request["path"]))
    return 0


class _Session:
    """One builder, reused; a network per question, since a parser leaves its layers behind."""

    def __init__(self, trt: Any) -> None:
        self._trt = trt
        self._logger = _quiet_logger(trt)
        self._builder = trt.Builder(self._logger)
        flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        self._flags = 0 if flag is None else 1 << int(flag)

    def judge(self, content: bytes, path: str) -> dict[str, Any]:
        """Whether `parse` takes the graph; if not, the complaints of `supports_model_v2` about all of its nodes."""
        self._logger.lines.clear()
        network, parser = self._fresh()
        accepted = parser.parse(content) if content else parser.parse_from_file(path)
        complaints = self._errors(parser)
        if not accepted:
            del parser, network
            complaints = self._all_errors(content, path) or complaints
        return {"accepted": bool(accepted), "complaints": complaints, "log": self._logger.lines[-5:]}

    def _all_errors(self, content: bytes, path: str) -> list[dict[str, Any]]:
        network, parser = self._fresh()
        if not content:
            with open(path, "rb") as stream:  # noqa: PTH123  (start-up time)
                content = stream.read()
        parser.supports_model_v2(content, path) if path else parser.supports_model_v2(content)
        errors = self._errors(parser)
        del parser, network
        return errors

    def _fresh(self) -> tuple[Any, Any]:
        network = self._builder.create_network(self._flags)
        return network, self._trt.OnnxParser(network, self._logger)

    @staticmethod
    def _errors(parser: Any) -> list[dict[str, Any]]:
        found = []
        for index in range(parser.num_errors):
            error = parser.get_error(index)
            found.append(
                {
                    "why": error.desc(),
                    "index": error.node(),
                    "node": error.node_name(),
                    "operator": error.node_operator(),
                    "code": str(error.code()).rpartition(".")[2],
                }
            )
        return found


def _quiet_logger(trt: Any) -> Any:
    class Logger(trt.ILogger):
        """Keeps errors instead of printing them."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.lines.append(message)

    return Logger()


def _write(stream: BinaryIO, value: dict[str, Any]) -> None:
    stream.write(json.dumps(value).encode() + b"\n")
    stream.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
