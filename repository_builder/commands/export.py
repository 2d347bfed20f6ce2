"""Export a model to ONNX with a pinned opset, and check that the graph keeps its contract.

SOURCE is a spec with a `pytorch` source, `file.py:function` (a function, or a class, that is called without arguments), or
the folder of a TensorFlow SavedModel (converted by tf2onnx in an environment of its own, made on first use: 1.6 GB).
The exporter runs in a child process, after `eval()`, and compares the graph with the module at two sizes. `--check` adds:
opset and IR version that the target reads, no training leftovers, no undeclared outputs, declared dynamic dims that really are,
no baked batch (the graph is run at several sizes), and NVIDIA's verdict. Put it into the CI of your checkpoints.

examples:
  triton-repo export deploy.yaml --check
  triton-repo export deploy.yaml --model encoder -o encoder.onnx
  triton-repo export net.py:build --input "x=FP32[batch,3,32,32]" --returns "y=[batch,10]" --check
  triton-repo export net.py:Net --checkpoint best.pt --trust --input "x=FP32[batch,8]" --returns "y=[batch,2]" -o net.onnx
  triton-repo export saved_model/ --trust --check -o model.onnx

exit codes: 0 exported, contract kept, 2 wrong usage or source, 4 the export failed, 5 the contract is broken,
10 torch is missing, or TensorFlow's environment cannot be made
"""

from __future__ import annotations

import argparse
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repository_builder import console
from repository_builder.errors import CheckFailed, SpecError, nearest

if TYPE_CHECKING:
    from repository_builder.stages.export_check import Check

_TENSOR = re.compile(r"(?P<name>[^=\s]+)=(?P<dtype>[A-Z0-9]*)\[(?P<dims>[^\]]*)\]")
_FIRST, _OTHER = 2, 16
"""Example sizes of dynamic dims: the first of a tensor, and all others."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("source", metavar="SOURCE", help="a spec (.yaml), file.py:function, or a SavedModel folder")
    parser.add_argument("--model", metavar="NAME", help="which model of the spec (default: the only one)")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="where to write the graph")
    parser.add_argument("--check", action="store_true", help="judge the graph and print a report")
    parser.add_argument("--for", dest="wanted", metavar="WHAT", help="tensorrt=11.1, image=26.07 or rtx")
    parser.add_argument("--input", action="append", default=[], metavar="NAME=TYPE[DIMS]", help="with file.py:function")
    parser.add_argument("--returns", action="append", default=[], metavar="NAME=[DIMS]", help="what forward returns")
    parser.add_argument("--size", action="append", default=[], metavar="DIM=N", help="example size of a dynamic dim")
    parser.add_argument("--opset", type=int, help="opset, without a spec (default 20; 18 for TensorFlow)")
    parser.add_argument("--signature", default="serving_default", help="signature of a SavedModel")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="weights to load into the module")
    parser.add_argument("--trust", action="store_true", help="the checkpoint or SavedModel is from a source you trust")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(options: argparse.Namespace) -> int:
    """Export, and with `--check` report; 5 if the contract is broken."""
    if not options.check and options.output is None:
        raise SpecError("nothing to do", where="export", fix="write the graph (`-o FILE`), or judge it (`--check`)")
    _refuse_untrusted(options)
    source = None if Path(options.source).is_dir() else _source(options)
    with tempfile.TemporaryDirectory(prefix="triton-repo-export-") as scratch:
        out = Path(scratch)
        with console.progress("export", quiet=options.json) as progress:
            if source is None:
                params = _from_saved_model(options, out / "model.onnx", progress)
            else:
                code, params = source
                _export(code, params, out, progress)
            checks = _checked(out / "model.onnx", params, options.wanted, progress) if options.check else ()
        broken = [entry for entry in checks if not entry.passed]
        if options.output is not None and not broken:
            _keep(out, options.output)
    _show(checks, options, written=options.output is not None and not broken)
    return CheckFailed.exit_code if broken else 0


def _from_saved_model(options: argparse.Namespace, out: Path, progress: console.Progress) -> dict[str, Any]:
    """Convert; the contract's interface is that of the graph, since a SavedModel declares its own."""
    from repository_builder.onnx_graph import read
    from repository_builder.stages import tensorflow_export

    opset = options.opset or tensorflow_export.NEWEST_OPSET
    tensorflow_export.export(Path(options.source), out, opset=opset, signature=options.signature, progress=progress)
    found = read.interface(read.load(out))
    inputs = {tensor.name: {"shape": tensor.shape} for tensor in found.inputs}
    return {"inputs": inputs, "outputs": {tensor.name: tensor.shape for tensor in found.outputs}, "opset": opset}


def _export(code: Path, params: Mapping[str, Any], out: Path, progress: console.Progress) -> None:
    from repository_builder.build.stage import StageContext
    from repository_builder.stages import export

    export.run(StageContext(out, {}, {"code": code}, {**params, "any_file": True}, progress))


def _checked(
    path: Path, params: Mapping[str, Any], wanted: str | None, progress: console.Progress
) -> tuple[Check, ...]:
    from repository_builder.onnx_graph.judges import judge_for
    from repository_builder.stages.export_check import check
    from repository_builder.targets.engine_stages import READS

    progress("checking the contract")
    shapes = {name: given["shape"] for name, given in params["inputs"].items()}
    with judge_for(wanted) as judge:
        found = check(path, inputs=shapes, outputs=params["outputs"], opset=params["opset"], reads=READS, judge=judge)
    from repository_builder.stages.export_check import Check

    return (Check("numerics", True, "the graph and the module agree at two sizes of every dynamic dim"), *found)


def _source(options: argparse.Namespace) -> tuple[Path, dict[str, Any]]:
    """The file with the factory, and the parameters of the stage `export`."""
    checkpoint = {"checkpoint": str(options.checkpoint.resolve())} if options.checkpoint else {}
    if options.source.endswith((".yaml", ".yml")):
        code, params = _from_spec(Path(options.source), options.model)
        return code, params | checkpoint
    file, _, function = options.source.rpartition(":")
    if not file.endswith(".py") or not function.isidentifier():
        raise SpecError(
            f"`{options.source}` is no source", where="export", fix="name a spec (.yaml), or write `file.py:function`"
        )
    if not Path(file).is_file():
        raise SpecError(f"cannot read `{file}`", where=file, why="there is no such file", fix="check the path")
    if not options.input or not options.returns:
        raise SpecError(
            "the inputs and outputs of the module are not known",
            where=options.source,
            fix='add `--input "x=FP32[batch,3,32,32]" --returns "y=[batch,10]"` for each',
        )
    sizes = dict(map(_size, options.size))
    inputs = dict(_input(text, sizes) for text in options.input)
    outputs = {name: list(shape) for name, _, shape in map(_tensor, options.returns)}
    params = {"function": function, "inputs": inputs, "outputs": outputs, "opset": options.opset or 20}
    return Path(file).resolve(), params | checkpoint


def _from_spec(file: Path, wanted: str | None) -> tuple[Path, dict[str, Any]]:
    from repository_builder.spec.load import load

    sources = {name: model.source.pytorch for name, model in load(file).models.items() if model.source.pytorch}
    if wanted is not None and wanted not in sources:
        raise SpecError(
            f"no model `{wanted}` with a pytorch source{nearest(wanted, sources)}", where=file, fix="correct `--model`"
        )
    if not sources or (wanted is None and len(sources) > 1):
        why = f"there are {len(sources)}: {', '.join(sources) or 'none'}"
        raise SpecError("which model to export is not clear", where=file, why=why, fix="name it with `--model`")
    source = sources[wanted] if wanted else next(iter(sources.values()))
    params = source.model_dump(mode="json", exclude={"factory", "files"}) | {"function": source.factory.function}
    return source.factory.file, params


def _input(text: str, sizes: Mapping[str, int]) -> tuple[str, dict[str, Any]]:
    name, dtype, shape = _tensor(text)
    example = [
        dim if isinstance(dim, int) else sizes.get(dim, _OTHER if axis else _FIRST) for axis, dim in enumerate(shape)
    ]
    return name, {"dtype": dtype or "FP32", "shape": shape, "example": example}


def _tensor(text: str) -> tuple[str, str, list[int | str]]:
    found = _TENSOR.fullmatch(text.replace(" ", ""))
    if found is None:
        raise SpecError(f"`{text}` is no tensor", where="export", fix='write it as "x=FP32[batch,3,32,32]"')
    dims = [part for part in found["dims"].split(",") if part]
    return found["name"], found["dtype"], [int(part) if part.isdigit() else part for part in dims]


def _size(text: str) -> tuple[str, int]:
    name, _, size = text.partition("=")
    if not size.isdigit() or int(size) < 2:
        raise SpecError(f"`{text}` is no size", where="--size", fix="write it as `sequence=16`, at least 2")
    return name, int(size)


def _refuse_untrusted(options: argparse.Namespace) -> None:
    if Path(options.source).is_dir() and not options.trust:
        raise SpecError(
            f"`{options.source}` is not opened without your word",
            where=options.source,
            why="a SavedModel is a program: loading it runs it, and it may read and write files",
            fix="if you know where it comes from, add `--trust`",
        )
    if options.checkpoint is None:
        return
    if not options.checkpoint.is_file():
        raise SpecError("no such checkpoint", where=options.checkpoint, fix="check the path")
    if not options.trust:
        raise SpecError(
            f"`{options.checkpoint.name}` is not opened without your word",
            where=options.checkpoint,
            why="a checkpoint is a pickle: holes of PyTorch let foreign ones run code even with `weights_only`",
            fix="if you know where it comes from, add `--trust` (only tensors are read then: `weights_only=True`)",
        )


def _keep(folder: Path, output: Path) -> None:
    """Move the graph, and its external data, to where the user wants it."""
    import onnx

    output.parent.mkdir(parents=True, exist_ok=True)
    data = folder / "model.onnx.data"
    if data.is_file():
        model = onnx.load(folder / "model.onnx")
        onnx.save(model, output, save_as_external_data=True, location=f"{output.name}.data")
    else:
        shutil.copyfile(folder / "model.onnx", output)


def _show(checks: tuple[Check, ...], options: argparse.Namespace, *, written: bool) -> None:
    if options.json:
        report = {"checks": [entry.as_json() for entry in checks], "written": str(options.output) if written else None}
        console.print_json(report)
        return
    if checks:
        console.table(("check", "", "detail"), [(c.name, "ok" if c.passed else "BROKEN", c.detail) for c in checks])
        for entry in checks:
            if not entry.passed:
                print(f"{entry.name}: {entry.fix}")
    print(f"written: {options.output}" if written else "nothing was written" if options.output else "")
