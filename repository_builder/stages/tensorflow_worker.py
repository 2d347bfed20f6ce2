"""Runs a SavedModel on given inputs. A program of TensorFlow's environment: it imports nothing of this package.

`python tensorflow_worker.py REQUEST`: `inputs.npz` in the request's folder goes in, `outputs.npz` comes out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(request: dict[str, str]) -> None:
    """One call of one signature."""
    import numpy as np
    import tensorflow as tf

    folder = Path(request["folder"])
    function = tf.saved_model.load(request["saved_model"]).signatures[request["signature"]]
    wanted = function.structured_input_signature[1]
    with np.load(folder / "inputs.npz", allow_pickle=False) as stored:
        given = {name.partition(":")[0]: stored[name] for name in stored.files}
    inputs = {name: tf.constant(given[name], dtype=spec.dtype) for name, spec in wanted.items()}
    np.savez(folder / "outputs.npz", **{name: value.numpy() for name, value in function(**inputs).items()})


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
