"""Runs the reference of one public model. `python -m repository_builder.stages.golden_worker FOLDER`, as a child process.

Without a model in the job, only the pre-processor runs. The folder holds `job.json` and `inputs.npz`; the pre- and
post-processor lie in packages `preprocess` and `postprocess` on the Python path. Leaves `outputs.npz` and
`answer.json`: an empty object, or what went wrong in words.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from repository_builder.repository import golden


class Refused(Exception):
    """The reference cannot be computed, for a reason that the user can mend."""

    def __init__(self, what: str, why: str, fix: str, kind: str = "stage") -> None:
        super().__init__(what)
        self.answer = {"kind": kind, "what": what, "why": why, "fix": fix}


def main(folder: Path) -> int:
    """Compute the reference and leave the answer."""
    job = json.loads((folder / "job.json").read_text())
    answer: dict[str, str] = {}
    try:
        outputs = _reference(job, dict(golden.read(folder / "inputs.npz").inputs))
        golden.write(golden.Golden({}, outputs, ""), folder / "outputs.npz")
    except Refused as refused:
        answer = refused.answer
    (folder / "answer.json").write_text(json.dumps(answer))
    return 0


def _reference(job: dict[str, Any], tensors: dict[str, Any]) -> dict[str, Any]:
    public_inputs = dict(tensors)
    tensors = public_inputs | _process("preprocess", job, public_inputs)
    if not job["model"]:
        return {name: tensors[name] for name in job["outputs"]}
    tensors |= _core(job["model"], tensors)
    tensors |= _process("postprocess", job, tensors)
    return {name: tensors[name] for name in job["outputs"]}


def _process(role: str, job: dict[str, Any], tensors: dict[str, Any]) -> dict[str, Any]:
    """What the Python model of this role makes of the tensors; nothing if there is none."""
    if role not in job["roles"]:
        return {}
    try:
        module = importlib.import_module(f"{role}.model")
    except ModuleNotFoundError as error:
        raise Refused(
            f"the {role} needs the Python package `{error.name}`",
            "it is not installed where the build runs",
            "pip install 'triton-repo-builder[text]'" if error.name == "tokenizers" else f"pip install {error.name}",
        ) from None
    model = module.TritonPythonModel()
    model.configure(job["roles"][role], Path(str(module.__file__)).parent)
    result = model.process(tensors)
    if result.errors:
        rows = "; ".join(f"sample {row}: {text}" for row, text in sorted(result.errors.items()))
        raise Refused(f"the {role} refuses golden samples", rows, "correct or remove them (`golden.inputs`)", "spec")
    outputs: dict[str, Any] = dict(result.outputs)
    return outputs


def _core(model: str, tensors: dict[str, Any]) -> dict[str, Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    errors = onnxruntime.capi.onnxruntime_pybind11_state
    known = (errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.NotImplemented, errors.RuntimeException)
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except known as error:
        raise _session_problem(str(error)) from None
    feeds = {entry.name: tensors[entry.name] for entry in session.get_inputs()}
    names = [entry.name for entry in session.get_outputs()]
    try:
        return dict(zip(names, session.run(names, feeds), strict=True))
    except known as error:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in feeds.items())
        raise Refused(
            "the ONNX graph cannot be run on the golden inputs",
            f"ONNX Runtime, with {shapes}: {_brief(str(error))}",
            "check `golden.inputs`, and that the graph runs for these shapes",
        ) from None


def _session_problem(message: str) -> Refused:
    if "opset" in message.lower() and "official support" in message.lower():
        fix = "export with a lower opset (torch: `opset_version=`), or convert the file with onnx.version_converter"
        return Refused("the ONNX graph's opset is newer than the target reads", _brief(message), fix)
    if "unsupported model ir version" in message.lower():
        fix = "save the file with an older IR version (`model.ir_version = 10`) or a newer onnxruntime"
        return Refused("the ONNX graph's IR version is newer than the target reads", _brief(message), fix)
    return Refused("ONNX Runtime refuses the graph", _brief(message), "see `triton-repo inspect` for each node")


def _brief(message: str) -> str:
    return " ".join(message.split())[:600]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
