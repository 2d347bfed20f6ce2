"""Rewrite the nodes of ONNX graphs that TensorRT refuses, and prove by running that the results are equal.

Only refused nodes are touched, by repairs that are each proven on random and extreme inputs; one that changes results is
dropped and reported. Changes that are not exact need your leave:

  --allow double-as-float   compute in FLOAT what the graph declares as DOUBLE
  --allow drop-training     switch Dropout and BatchNormalization from training to inference

examples:
  triton-repo repair model.onnx -o fixed.onnx
  triton-repo repair models/ -o fixed/ --jobs 4
  triton-repo repair a.onnx b.onnx -o fixed/ --for image=26.07 --json

exit codes: 0 every graph is accepted now, 2 wrong usage, 5 some are not, 10 no parser for what `--for` asks
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from repository_builder import console
from repository_builder.errors import CheckFailed, SpecError

if TYPE_CHECKING:
    from repository_builder.onnx_graph.batch_repair import Record

LEAVES = ("double-as-float", "drop-training")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("models", metavar="MODEL", nargs="+", type=Path, help=".onnx files, or folders of them")
    parser.add_argument(
        "-o", "--output", metavar="OUT", type=Path, required=True, help="file (for one model) or folder"
    )
    parser.add_argument("--for", dest="wanted", metavar="WHAT", help="tensorrt=11.1, image=26.07 or rtx")
    parser.add_argument(
        "--allow", action="append", choices=LEAVES, default=[], help="leave for a change that is not exact"
    )
    parser.add_argument("--optimize", action="store_true", help="also fold BatchNormalization and remove idle nodes")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default 1)")
    parser.add_argument("--json", action="store_true", help="print one JSON document with a record per model")


def run(options: argparse.Namespace) -> int:
    """Repair everything; 5 if some graph is still refused."""
    from repository_builder.onnx_graph.batch_repair import Order, repair_files
    from repository_builder.onnx_graph.judges import judge_for

    jobs = _jobs(options.models, options.output)
    with judge_for(options.wanted):  # a wrong or impossible wish is told at once, and once
        order = Order(options.wanted, frozenset(options.allow), options.optimize)
    records: list[Record] = []
    with console.progress("repair", quiet=options.json) as progress:
        for record in repair_files(jobs, order, processes=max(1, options.jobs)):
            records.append(record)
            progress(f"{len(records)} of {len(jobs)}: {Path(record.source).name}", len(records) / len(jobs))
    records.sort(key=lambda record: record.source)
    if options.json:
        console.print_json({"records": [record.as_json() for record in records]})
    else:
        _show(records)
    return 0 if all(record.accepted_after for record in records) else CheckFailed.exit_code


def _jobs(models: list[Path], output: Path) -> dict[Path, Path]:
    """Source → target. Raises SpecError where targets would clash or overwrite a source."""
    single = len(models) == 1 and not models[0].is_dir()
    if single and not output.is_dir():
        jobs = {models[0]: output if output.suffix == ".onnx" else output / models[0].name}
    else:
        jobs = {}
        for given in models:
            files = sorted(given.rglob("*.onnx")) if given.is_dir() else [given]
            base = given if given.is_dir() else given.parent
            jobs |= {file: output / file.relative_to(base) for file in files}
    if not jobs:
        raise SpecError("nothing to repair", where=", ".join(map(str, models)), why="no .onnx file there")
    targets = [target.resolve() for target in jobs.values()]
    if len(set(targets)) < len(targets):
        raise SpecError("two models would be written to the same file", where=str(output), fix="repair them one by one")
    if sources := {source.resolve() for source in jobs} & set(targets):
        raise SpecError(
            "a model would be overwritten",
            where=str(sources.pop()),
            fix="name another output (`-o`): originals are kept",
        )
    return jobs


def _show(records: list[Record]) -> None:
    rows = [
        (
            Path(record.source).name,
            "yes" if record.accepted_before else "no",
            "yes" if record.accepted_after else "no",
            ", ".join(f"{name} ×{count}" for name, count in record.repairs.items()) or "none",
            f"{record.difference:.2g}" if record.samples else "",
            record.samples or "",
            f"{record.seconds:.1f}",
        )
        for record in records
    ]
    console.table(("model", "before", "after", "repairs", "difference", "samples", "s"), rows)
    for record in records:
        for dropped in record.rejected:
            print(f"{Path(record.source).name}: {dropped['repair']} was tried and dropped: {dropped['why']}")
        if record.reason:
            print(f"{Path(record.source).name}: not accepted: {record.reason}")
