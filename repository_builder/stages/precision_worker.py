"""Lowers the precision of ONNX graphs with nvidia-modelopt, on request: `python precision_worker.py REPORT_FD`.

A program, not a module of ours: it runs in the environment of `precision_environment` and imports nothing of this
package. It stays alive for many requests, since importing the tools takes seconds. A request is one JSON line on standard
input, its answer the line `{"done": true}` on REPORT_FD. A conversion that fails ends the process with a traceback in the
log: the tools may be in any state then, and the next request gets a fresh process.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def main(report_fd: str) -> int:
    """Answer requests until standard input ends."""
    with os.fdopen(int(report_fd), "w", buffering=1) as report:
        for line in sys.stdin:
            request = json.loads(line)
            LOWER[request["precision"]](request)
            report.write(json.dumps({"done": True}) + "\n")
    return 0


def _float(request: dict[str, Any]) -> None:
    """FP16 or BF16: types are lowered by rules on the graph alone; no data are run, and none are made up."""
    import onnx
    from modelopt.onnx.autocast import convert_to_mixed_precision

    model = convert_to_mixed_precision(
        request["onnx"],
        low_precision_type=request["precision"],
        nodes_to_exclude=_patterns(request["keep"]),
        data_max=float("inf"),
        keep_io_types=True,
        providers=["cpu"],
    )
    onnx.save(model, request["out"], **_external(request))


def _quantized(request: dict[str, Any]) -> None:
    """INT8 or FP8: Q/DQ pairs with scales from real samples; what is not quantized becomes `request["rest"]`."""
    from modelopt.onnx.quantization import quantize

    quantize(
        request["onnx"],
        quantize_mode=request["precision"],
        calibration_data_reader=_Samples(request["samples"]),
        calibration_method=request["method"],
        calibration_eps=["cpu"],
        nodes_to_exclude=_patterns(request["keep"]),
        high_precision_dtype=request["rest"],
        use_external_data_format=bool(request["external"]),
        output_path=request["out"],
        log_level="WARNING",
    )
    if not Path(request["out"]).is_file():
        raise RuntimeError("the quantizer wrote nothing: it found no layer to quantize")


class _Samples:
    """Feeds of the network, one per recorded batch, as ONNX Runtime's calibrator wants them; can be read again."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.rewind()

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)

    def get_first(self) -> dict[str, Any] | None:
        return next(self._read(), None)

    def rewind(self) -> None:
        self._feeds = self._read()

    def _read(self) -> Iterator[dict[str, Any]]:
        import numpy as np

        with np.load(self._path, allow_pickle=False) as stored:
            feeds: dict[str, dict[str, Any]] = {}
            for key in stored.files:
                batch, side, name = key.split("/", 2)
                if side == "inputs":
                    feeds.setdefault(batch, {})[name] = stored[key]
        return iter(feeds[batch] for batch in sorted(feeds))


def _patterns(names: list[str]) -> list[str]:
    return [f"^{re.escape(name)}$" for name in names]


def _external(request: dict[str, Any]) -> dict[str, Any]:
    if not request["external"]:
        return {}
    return {"save_as_external_data": True, "location": Path(request["out"]).name + ".data", "size_threshold": 1024}


LOWER = {"fp16": _float, "bf16": _float, "int8": _quantized, "fp8": _quantized}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
