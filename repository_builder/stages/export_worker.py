"""The child process of `export`: imports the user's factory, exports its module and compares the two.

`python -m repository_builder.stages.export_worker REQUEST FD`: reports go to the file descriptor as JSON lines, the
last of which is `done` or `failed`; whatever torch and the user's code print goes to the log.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

SEED = 0
ATOL_OF_RANGE = 1e-4
"""Largest difference between module and graph, as a share of the largest output."""
DTYPES = {"FP32": "float32", "FP16": "float16", "INT64": "int64", "INT32": "int32", "BOOL": "bool", "UINT8": "uint8"}

FILES_FIX = "list them under `source.pytorch.files`"
INPUTS_FIX = "`inputs` must be those of `forward`, in its order, with shapes it takes"
SIZE_FIX = "it works at the example's sizes only: write the size of a dimension that is fixed, instead of a name"

WEIGHTS = {".bin", ".ckpt", ".npy", ".npz", ".pt", ".pth", ".safetensors"}

Request = Mapping[str, Any]
Reporter = Callable[..., None]


class Failure(Exception):
    """What the parent turns into an error."""

    def __init__(self, kind: str, what: str, why: str, fix: str, where: str = "") -> None:
        super().__init__(what)
        self.report = {"failed": kind, "what": what, "why": why, "fix": fix} | ({"where": where} if where else {})


class _Explaining:
    """A block of somebody else's code: whatever it raises becomes the Failure that `explain` makes of it."""

    def __init__(self, explain: Callable[[BaseException], Failure]) -> None:
        self._explain = explain

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (Exception, SystemExit)) and not isinstance(error, Failure):
            traceback.print_exception(error)
            raise self._explain(error) from error


def main(request: Request, report: Reporter) -> None:
    """Export one module, or raise Failure."""
    report(progress="importing torch")
    torch = _torch()
    opened = _watch(Path(request["code"]).parent)
    report(progress=f"running {Path(request['code']).name}:{request['function']}")
    torch.manual_seed(SEED)
    module = _made(request, torch)
    if not request.get("any_file"):
        _refuse_unknown(opened, request)
    if request.get("checkpoint"):
        _load_weights(module, Path(request["checkpoint"]), torch)
    module.eval()
    wrapper = _in_order(module, list(request["outputs"]), torch)
    report(progress="running the module at two sizes")
    sizes = tuple(_examples(request["inputs"], torch, more) for more in (0, 1))
    expected = _run(wrapper, sizes[0], request, torch, INPUTS_FIX)
    _check_shapes(request, expected)
    larger = _run(wrapper, sizes[1], request, torch, SIZE_FIX)
    report(progress="exporting to ONNX")
    _export(wrapper, sizes[0], request, torch)
    report(progress="comparing the graph with the module")
    _compare(request, sizes[0], expected)
    _compare(request, sizes[1], larger)
    report(done=True)


def _torch() -> Any:
    try:
        import onnxscript  # noqa: F401
        import torch
    except ImportError as error:
        fix = "pip install 'triton-repo-builder[pytorch]'"
        raise Failure("tool", "a `pytorch` source needs torch and onnxscript", str(error), fix) from error
    return torch


def _watch(folder: Path) -> set[Path]:
    """Files that are opened from now on and may change the result: those of the spec's folder, and weights anywhere."""
    opened: set[Path] = set()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], (str, os.PathLike)) and arguments[1] != "w":
            path = Path(os.fspath(arguments[0])).absolute()
            if (path.is_relative_to(folder) or path.suffix in WEIGHTS) and path.is_file():
                opened.add(path)

    sys.addaudithook(hook)
    return opened


def _refuse_unknown(opened: set[Path], request: Request) -> None:
    """Refuse files that are not part of the stage's recipe: their changes would go unnoticed."""
    code = Path(request["code"])
    known = {code.resolve(), *(Path(path).resolve() for path in request["files"])}
    unknown = [path for path in sorted(opened) if path.resolve() not in known and path.suffix != ".pyc"]
    if unknown:
        listed = ", ".join(str(p.relative_to(code.parent) if p.is_relative_to(code.parent) else p) for p in unknown)
        why = "when they change, nothing would be exported again, and the old graph would be served"
        raise Failure("spec", f"`{code.name}` reads files that the spec does not name", f"{listed}: {why}", FILES_FIX)


def _made(request: Request, torch: Any) -> Any:
    file, function = Path(request["code"]), request["function"]
    factory = getattr(_imported(file), function, None)
    if not callable(factory):
        known = ", ".join(name for name, value in vars(sys.modules[file.stem]).items() if inspect.isfunction(value))
        why, fix = f"its functions: {known or 'none'}", "correct the name after the colon"
        raise Failure("spec", f"`{file.name}` has no function `{function}`", why, fix)
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(factory).parameters.values()
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in kinds]
    if needed:
        why = f"it needs {', '.join(needed)}"
        raise Failure("spec", f"`{function}` cannot be called without arguments", why, "give them default values")
    with _Explaining(lambda error: _in_users_code(error, file, f"`{function}` failed")):
        module = factory()
    if not isinstance(module, torch.nn.Module):
        why = f"it is a {type(module).__name__}"
        raise Failure("spec", f"`{function}` does not return a torch.nn.Module", why, "return the module itself")
    return module


def _load_weights(module: Any, file: Path, torch: Any) -> None:
    """Tensors only (`weights_only`): nothing of a checkpoint is executed. Common wrappers of training loops are opened."""
    fix = "save it again as `torch.save(model.state_dict(), file)`"
    with _Explaining(lambda error: Failure("stage", f"`{file.name}` cannot be read", _one_line(error), fix, str(file))):
        state = torch.load(file, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    fix = "name the class and the settings with which the checkpoint was trained"
    what = f"`{file.name}` does not fit the module"
    with _Explaining(lambda error: Failure("stage", what, _whole(error), fix, str(file))):
        module.load_state_dict(state)


def _whole(error: BaseException) -> str:
    return " ".join(str(error).split())[:400]


def _imported(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise Failure("spec", f"{file} is not a Python file", "", "name a file that ends in .py")
    code = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = code
    with _Explaining(lambda error: _in_users_code(error, file, f"`{file.name}` cannot be imported")):
        spec.loader.exec_module(code)
    return code


def _in_users_code(error: BaseException, file: Path, what: str) -> Failure:
    """Names the line in the user's file."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    line = frames[-1].lineno if frames else getattr(error, "lineno", 1)
    return Failure("stage", what, _one_line(error), "correct it; the log has the traceback", f"{file}:{line}")


def _examples(inputs: Mapping[str, Mapping[str, Any]], torch: Any, more: int) -> tuple[Any, ...]:
    """Inputs of the example's shape, dynamic dimensions `more` larger: noise for floats, ones for the rest."""
    generator = torch.Generator().manual_seed(SEED)
    tensors = []
    for given in inputs.values():
        shape = [size + more * isinstance(dim, str) for dim, size in zip(given["shape"], given["example"], strict=True)]
        dtype = getattr(torch, DTYPES[given["dtype"]])
        noise = torch.randn(shape, generator=generator)
        tensors.append(noise.to(dtype) if dtype.is_floating_point else torch.ones(shape, dtype=dtype))
    return tuple(tensors)


def _in_order(module: Any, names: Sequence[str], torch: Any) -> Any:
    """The module with its outputs as a tuple in the order of the spec."""

    class InOrder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, *inputs: Any) -> tuple[Any, ...]:
            return _as_tuple(self.module(*inputs), names, torch)

    return InOrder().eval()


def _as_tuple(result: Any, names: Sequence[str], torch: Any) -> tuple[Any, ...]:
    if isinstance(result, Mapping):
        missing = [name for name in names if name not in result]
        if missing:
            _mismatch(names, f"the module returns {', '.join(result)}")
        return tuple(result[name] for name in names)
    outputs = (result,) if isinstance(result, torch.Tensor) else tuple(result)
    if len(outputs) != len(names) or not all(isinstance(output, torch.Tensor) for output in outputs):
        kinds = ", ".join(type(output).__name__ for output in outputs)
        _mismatch(names, f"the module returns {len(outputs)}: {kinds}")
    return outputs


def _mismatch(names: Sequence[str], why: str) -> NoReturn:
    fix = "list under `outputs` what `forward` returns, in its order"
    raise Failure("spec", f"the spec names {len(names)} outputs ({', '.join(names)})", why, fix)


def _run(wrapper: Any, examples: tuple[Any, ...], request: Request, torch: Any, fix: str) -> tuple[Any, ...]:
    shapes = ", ".join(f"{n} {list(t.shape)}" for n, t in zip(request["inputs"], examples, strict=True))
    what = f"the module fails with inputs {shapes}"
    with _Explaining(lambda error: Failure("stage", what, _one_line(error), fix)), torch.no_grad():
        return tuple(wrapper(*examples))


def _check_shapes(request: Request, outputs: Sequence[Any]) -> None:
    """Compare the outputs with the shapes that the spec declares for them."""
    sizes = {
        dim: size
        for given in request["inputs"].values()
        for dim, size in zip(given["shape"], given["example"], strict=True)
        if isinstance(dim, str)
    }
    for (name, declared), output in zip(request["outputs"].items(), outputs, strict=True):
        wanted = [sizes.get(dim, dim) for dim in declared]
        same = len(wanted) == output.dim() and all(
            isinstance(dim, str) or dim == size for dim, size in zip(wanted, output.shape, strict=True)
        )
        if not same:
            why = f"the spec says {list(declared)}, and for the example the module gives {list(output.shape)}"
            raise Failure("spec", f"output `{name}` has another shape", why, "correct `outputs`")


def _export(wrapper: Any, examples: tuple[Any, ...], request: Request, torch: Any) -> None:
    names = {dim for given in request["inputs"].values() for dim in given["shape"] if isinstance(dim, str)}
    dims = {name: torch.export.Dim(name) for name in names}
    shapes = tuple(
        {axis: dims[dim] for axis, dim in enumerate(given["shape"]) if isinstance(dim, str)}
        for given in request["inputs"].values()
    )
    fix = (
        "if a dimension became fixed, `forward` treats it as a Python number: make it fixed in the spec, or use tensor "
        "operations; the log has the exporter's report"
    )
    with _Explaining(lambda error: Failure("stage", "torch cannot export the module", _cause(error), fix)):
        program = torch.onnx.export(
            wrapper,
            examples,
            input_names=list(request["inputs"]),
            output_names=list(request["outputs"]),
            dynamic_shapes=(shapes,),
            opset_version=request["opset"],
            dynamo=True,
            optimize=True,
            verbose=False,
        )
    _forget_origins(program.model)
    program.save(request["out"])


def _forget_origins(model: Any) -> None:
    """Remove the exporter's notes: they name files of this machine, and equal modules would give different bytes."""
    for graph in (model.graph, *model.functions.values()):
        graph.metadata_props.clear()
        for node in graph.all_nodes():
            node.metadata_props.clear()
            node.doc_string = None
            for value in node.outputs:
                value.metadata_props.clear()
        for value in graph.inputs:
            value.metadata_props.clear()


def _compare(request: Request, examples: tuple[Any, ...], expected: Sequence[Any]) -> None:
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(request["out"], providers=["CPUExecutionProvider"])
    wanted = {node.name for node in session.get_inputs()}
    feed = {name: tensor.numpy() for name, tensor in zip(request["inputs"], examples, strict=True) if name in wanted}
    for name, reference, got in zip(request["outputs"], expected, session.run(None, feed), strict=True):
        theirs = reference.detach().numpy()
        span = float(np.abs(theirs.astype(np.float64)).max(initial=0.0)) or 1.0
        worst = np.abs(theirs.astype(np.float64) - got.astype(np.float64)).max(initial=0.0) if got.size else 0.0
        if got.shape != theirs.shape or not worst <= ATOL_OF_RANGE * span * (50 if got.dtype == np.float16 else 1):
            shapes = ", ".join(f"{n} {list(a.shape)}" for n, a in feed.items())
            why = f"output `{name}` {list(got.shape)} differs by {worst:.3g} from {list(theirs.shape)} at {shapes}"
            fix = "export it yourself and give `source: {onnx: ...}`, or report the operator to PyTorch"
            raise Failure("stage", "the exported graph does not compute what the module does", why, fix)


def _cause(error: BaseException) -> str:
    """The innermost reason, which says more than the exporter's own summary."""
    while error.__cause__ is not None:
        error = error.__cause__
    return _one_line(error)


def _one_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:400] if text else ''}"


if __name__ == "__main__":
    with os.fdopen(int(sys.argv[2]), "w") as stream:

        def send(**message: Any) -> None:
            """One report."""
            stream.write(json.dumps(message) + "\n")
            stream.flush()

        warnings.simplefilter("ignore")
        try:
            main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), send)
        except Failure as failure:
            send(**failure.report)
