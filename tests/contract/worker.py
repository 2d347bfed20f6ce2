"""Runs a deployed Python model as Triton's stub imports it, but without Triton. NumPy and the model's own needs only.

`worker.py JOB`: a JSON file with `version` (folder), `parameters`, and `inputs`: name → `{"hex": [...]}`, one string
per item, or `{"values": …, "dtype": …}`, and `shape` where a list cannot say it. Prints a JSON document with errors,
and shape, type and values of every output.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


def main(job: dict[str, Any]) -> dict[str, Any]:
    version = Path(job["version"])
    sys.path += [str(version), str(version.parent)]  # as ModelContext::StubSetup of pb_stub.cc does it
    module = importlib.import_module(f"{version.name}.model")
    model = module.TritonPythonModel().configure(job["parameters"], version)
    result = model.process({name: array(described) for name, described in job["inputs"].items()})
    return {
        "numpy": np.__version__,
        "triton": "triton_python_backend_utils" in sys.modules,
        "errors": result.errors,
        "outputs": {name: described(values) for name, values in result.outputs.items()},
    }


def array(described: dict[str, Any]) -> np.ndarray[Any, Any]:
    if "values" in described:
        values = np.array(described["values"], described["dtype"])
        return values.reshape(described.get("shape", values.shape))
    strings = np.empty((len(described["hex"]), 1), object)
    strings[:, 0] = [bytes.fromhex(item) for item in described["hex"]]
    return strings


def described(values: np.ndarray[Any, Any]) -> dict[str, Any]:
    plain = values.astype(str) if values.dtype == object else values
    return {"dtype": values.dtype.name, "shape": values.shape, "values": plain.tolist()}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))))
