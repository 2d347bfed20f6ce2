"""CUDA plugins: list the operators there are, compile and test them, or start a new one.

examples:
  triton-repo plugin list
  triton-repo plugin list --model model.onnx          # which nodes of a graph need a plugin under TensorRT, and why
  triton-repo plugin test grid_sample                 # on the CPU: kernel arithmetic, reference, the standard's own tests
  triton-repo plugin test my_op --plugins my_plugins --gpu  # also the kernels, on this machine's GPU
  triton-repo plugin build grid_sample --arch 90 --tensorrt /opt/tensorrt --out plugins/
  triton-repo plugin new acme::MyOp --like model.onnx --out my_plugins/
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from repository_builder import console

if TYPE_CHECKING:
    from repository_builder.plugins.compile import Compiled
    from repository_builder.plugins.headers import Headers
    from repository_builder.plugins.operators import Operator


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the actions of `plugin` and their options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--plugins", type=Path, action="append", default=[], metavar="FOLDER", help="your own operators, in addition"
    )
    shared.add_argument("--json", action="store_true", help="the result as JSON")
    listing = actions.add_parser("list", parents=[shared], help="the operators, or what a graph needs")
    listing.add_argument("--model", type=Path, help="an ONNX graph: show the nodes that need a plugin")
    build = actions.add_parser("build", parents=[shared], help="compile plugin libraries")
    build.add_argument("names", nargs="*", help="operators; none: all")
    build.add_argument("--arch", action="append", default=[], metavar="CC", help="compute capability, such as 90")
    build.add_argument("--tensorrt", type=Path, metavar="FOLDER", help="TensorRT package or checkout with headers")
    build.add_argument("--fetch-headers", metavar="VERSION", help="fetch TensorRT's public headers, such as 11.1")
    build.add_argument("--kernels-only", action="store_true", help="without TensorRT shells: for tests only")
    build.add_argument("--out", type=Path, default=Path("plugins"), help="folder for the libraries (default: plugins)")
    test = actions.add_parser("test", parents=[shared], help="prove operators on the CPU, and on a GPU")
    test.add_argument("names", nargs="*", help="operators; none: all")
    test.add_argument("--gpu", action="store_true", help="also compile the kernels and run them on this machine's GPU")
    new = actions.add_parser("new", parents=[shared], help="write the files of a new operator")
    new.add_argument("name", help="domain::Operator, as the graph's node says it")
    new.add_argument("--like", type=Path, required=True, metavar="MODEL", help="an ONNX graph with such a node")
    new.add_argument("--out", type=Path, default=Path("plugins"), help="folder for the operator's folder")


def run(options: argparse.Namespace) -> int:
    """Run one action."""
    return {"list": _list, "build": _build, "test": _test, "new": _new}[options.action](options)


def _operators(options: argparse.Namespace, names: Sequence[str] = ()) -> list[Operator]:
    from repository_builder.plugins import operators
    from repository_builder.resources import data_folder

    known = operators.find([data_folder("plugins_cuda"), *options.plugins])
    return [operators.choose(name, known) for name in names] or list(known)


def _list(options: argparse.Namespace) -> int:
    known = _operators(options)
    if options.model:
        return _needs(options, known)
    if options.json:
        console.print_json(
            [{"name": o.key, "onnx": o.qualified, "plugin": o.plugin, "summary": o.summary} for o in known]
        )
    else:
        console.table(["name", "what it is"], [(o.key, o.summary) for o in known])
    return 0


def _needs(options: argparse.Namespace, known: list[Operator]) -> int:
    from repository_builder.onnx_graph import read
    from repository_builder.plugins import needed

    model = read.load(options.model)
    found = needed.uses(model, known)
    lacking = needed.unknown(model, known)
    if options.json:
        uses = [{"node": use.node.name, "plugin": use.operator.key, "why": use.why} for use in found]
        console.print_json({"uses": uses, "unknown": lacking})
    else:
        console.table(
            ["node", "plugin", "why"], [(u.node.name or u.node.op_type, u.operator.key, u.why) for u in found]
        )
        for name in lacking:
            console.note(f"no plugin for {name}: `triton-repo plugin new {name} --like {options.model}`")
    return 1 if lacking else 0


def _build(options: argparse.Namespace) -> int:
    from repository_builder.plugins import toolchain
    from repository_builder.plugins.compile import compile_plugin
    from repository_builder.repository.server_line import plugin_arguments

    nvcc = toolchain.find_nvcc()
    architectures = (
        toolchain.check_architectures(options.arch, nvcc) if options.arch else toolchain.default_architectures(nvcc)
    )
    headers = _headers(options)
    chosen = _operators(options, options.names)
    made = []
    with console.progress("plugin") as progress:
        for number, operator in enumerate(chosen):
            progress(operator.key, number / len(chosen))
            made.append(compile_plugin(operator, nvcc, architectures, headers))
    options.out.mkdir(parents=True, exist_ok=True)
    paths = [_place(compiled, options.out) for compiled in made]
    if options.json:
        facts = [{"library": str(p), "sha256": c.sha256, **c.recipe} for p, c in zip(paths, made, strict=True)]
        console.print_json({"libraries": facts, "server": plugin_arguments(map(str, paths))})
        return 0
    rows = [(p, "cached" if c.cached else "compiled", c.sha256[:12]) for p, c in zip(paths, made, strict=True)]
    console.table(["library", "", "sha256"], rows)
    console.note(
        "registers and spills: the .md beside each library; server: " + " ".join(plugin_arguments(map(str, paths)))
    )
    return 0


def _headers(options: argparse.Namespace) -> Headers | None:
    from repository_builder.plugins import headers

    if options.kernels_only:
        return None
    if options.fetch_headers:
        return headers.fetch_headers(options.fetch_headers)
    return headers.require_headers(options.tensorrt)


def _place(compiled: Compiled, out: Path) -> Path:
    target = out / compiled.library.name
    shutil.copyfile(compiled.library, target)
    shutil.copyfile(compiled.library.parent / "usage.md", target.with_suffix(".md"))
    record = {"sha256": compiled.sha256, **compiled.recipe}
    target.with_suffix(".json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    return target.resolve()


def _test(options: argparse.Namespace) -> int:
    from repository_builder.plugins import testing
    from repository_builder.plugins.device import Driver

    driver = Driver() if options.gpu else None
    results = {}
    with console.progress("plugin") as progress:
        chosen = _operators(options, options.names)
        for number, operator in enumerate(chosen):
            progress(operator.key, number / len(chosen))
            results[operator.key] = testing.prove(operator)
            if driver and not any(outcome.problem for outcome in results[operator.key]):
                results[operator.key] += testing.prove_on_gpu(operator, driver)
    failed = {key: [o for o in outcomes if o.problem] for key, outcomes in results.items()}
    if options.json:
        console.print_json({k: {"cases": len(v), "failed": [vars(o) for o in failed[k]]} for k, v in results.items()})
    else:
        console.table(["operator", "cases", "failed"], [(k, len(v), len(failed[k])) for k, v in results.items()])
        for key, outcomes in failed.items():
            for outcome in outcomes[:10]:
                console.note(f"{key}, {outcome.case}: {outcome.problem}")
    return 5 if any(failed.values()) else 0


def _new(options: argparse.Namespace) -> int:
    from repository_builder.onnx_graph import read
    from repository_builder.plugins import scaffold

    target = scaffold.scaffold(scaffold.like(read.load(options.like), options.name), options.out)
    if options.json:
        console.print_json({"folder": str(target), "files": sorted(path.name for path in target.iterdir())})
    else:
        print(target)
        console.note("write reference.py, then the line FILL IN of the _math.h, then function.onnxtxt; then:")
        console.note(f"  triton-repo plugin test {target.name} --plugins {target}")
    return 0
