"""How many ONNX graphs NVIDIA's parser takes before and after repair, with equal results. Writes docs/onnx_coverage.md.

    python benchmarks/onnx_coverage.py                       # node tests and light models of the `onnx` package
    python benchmarks/onnx_coverage.py --architectures DIR   # and the .onnx files in DIR
    python benchmarks/onnx_architectures.py DIR              # makes them (needs `transformers`; random weights, no download)

Node tests are the models that `onnx.backend.test` generates, one operator each, with inputs and expected outputs. A
repaired model counts only if it gives the expected outputs *and* the equality proof on generated inputs held.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repository_builder.errors import GraphError
from repository_builder.onnx_graph import equal, read, walk
from repository_builder.onnx_graph.execute import NodeFailed
from repository_builder.onnx_graph.parser import ParserJudge, available
from repository_builder.onnx_graph.repair import Repaired, repair

ROOT = Path(__file__).parent.parent


PAGE = ROOT / "docs" / "onnx_coverage.md"
LEAVE = frozenset({"double-as-float"})


@dataclass(frozen=True)
class Row:
    """What became of one model."""

    name: str
    operator: str
    before: bool
    after: bool
    equal: bool
    repairs: tuple[str, ...]
    difference: float
    seconds: float
    reason: str
    leave: bool
    """Whether it took the user's leave (DOUBLE computed as FLOAT)."""
    retyped: bool = False
    """Whether integer types at inputs or outputs became wider."""


def node_tests(judge: ParserJudge) -> list[Row]:
    """Every node-test model of the `onnx` package."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)
        return [_node_test(case, judge) for case in cases]


def _node_test(case: Any, judge: ParserJudge) -> Row:
    start = time.monotonic()
    inputs, outputs = case.data_sets[0]
    given = dict(zip((value.name for value in case.model.graph.input), inputs, strict=False))
    result = repair(case.model, judge, given=[given])
    used_leave = not result.accepted
    if used_leave:
        result = repair(case.model, judge, given=[given], leave=LEAVE)
    expected = dict(zip((value.name for value in case.model.graph.output), outputs, strict=False))
    why = "" if not result.accepted or result.before.accepted else _wrong(result, given, expected)
    return Row(
        case.name,
        "+".join(sorted({walk.operator(node) for node in case.model.graph.node})),
        result.before.accepted,
        result.accepted,
        result.accepted and not why,
        tuple(dict.fromkeys(applied.repair for applied in result.applied)),
        result.difference,
        time.monotonic() - start,
        why or _reason(case.model, result),
        used_leave and result.accepted,
        result.accepted and _types(result.model) != _types(case.model),
    )


def _types(model: Any) -> list[int]:
    return [value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)]


def _wrong(result: Repaired, given: dict[str, Any], expected: dict[str, Any]) -> str:
    """Why the repaired model does not give the test's expected outputs; empty if it does."""
    try:
        found = equal.Evaluator(result.model)(equal.adapted(given, result.model))
    except (NodeFailed, GraphError) as error:
        return f"the repaired model cannot be run: {error}"
    return equal.differences(expected, found)[1]


_TRAINING = {"Adagrad", "Adam", "Momentum", "Gradient", "Dropout", "BatchNormalization"}
_RANDOM = {"Bernoulli", "RandomUniformLike", "RandomNormalLike", "Multinomial"}


def _reason(model: Any, result: Repaired) -> str:
    """Why a model stays out, in classes."""
    if result.accepted:
        return ""
    operators = {node.op_type for node in walk.nodes(model)}
    dropped = f"a repair was dropped: {result.rejected[0].why.partition(' (')[0][:90]}" if result.rejected else ""
    return _class(model, operators) or dropped or "no repair: " + ", ".join(sorted(operators))[:60]


def _class(model: Any, operators: set[str]) -> str:
    """A kind of model that is out of reach; empty if it is none."""
    edges = (*model.graph.input, *model.graph.output)
    types = {value.type.tensor_type.elem_type for value in edges}
    sequences = any(value.type.WhichOneof("value") != "tensor_type" for value in edges)
    for applies, name in (
        (8 in types, "strings"),
        (sequences or any(o.startswith(("Sequence", "Optional")) for o in operators), "sequences and optionals"),
        (bool(types & set(range(17, 27))), "8-, 4- and 2-bit types as tensors"),
        (bool(operators & _TRAINING), "training operators"),
        (bool(operators & _RANDOM), "random operators: equality cannot be shown"),
        ("ImageDecoder" in operators, "image decoding"),
    ):
        if applies:
            return name
    return ""


def files(paths: Iterable[Path], judge: ParserJudge) -> list[Row]:
    """Whole models."""
    rows = []
    for path in paths:
        start = time.monotonic()
        model = read.load(path, weights=True)
        result = repair(model, judge)
        repairs = tuple(dict.fromkeys(applied.repair for applied in result.applied))
        reason = "; ".join(f"{c.operator}: {c.why}" for c in result.after.complaints[:2])
        kinds = f"{len(model.graph.node)} nodes"
        seconds = time.monotonic() - start
        rows.append(
            Row(path.stem, kinds, result.before.accepted, result.accepted, result.accepted, repairs,
                result.difference, seconds, reason, False)
        )  # fmt: skip
    return rows


def optimized(paths: Iterable[Path], folder: Path) -> Iterator[Path]:
    """The models as ONNX Runtime saves them after its extended optimization: full of its own operators."""
    import onnxruntime as ort

    for path in paths:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(folder / path.name)
        ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        yield folder / path.name


def light_models() -> list[Path]:
    """The nine small classics whose structure the `onnx` package ships."""
    import onnx.backend.test

    folder = Path(onnx.backend.test.__file__).parent / "data" / "light"
    return sorted(folder.glob("*.onnx"))


def page(nodes: Sequence[Row], wholes: Mapping[str, Sequence[Row]], source: str) -> str:
    """The generated page."""
    import onnx
    import onnxruntime

    good = [row for row in nodes if row.equal]
    wrong = [row for row in nodes if row.after and not row.equal]
    left = Counter(row.reason for row in nodes if not row.after)
    with_leave = sum(row.leave for row in good)
    lines = [
        "# How much of ONNX converts",
        "",
        "Generated by `python benchmarks/onnx_coverage.py`; do not edit.",
        "",
        f"Judge: {source}. onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}, "
        f"Python {platform.python_version()}. Accepted means that the parser builds a network; engines are not run here, "
        "since that takes an NVIDIA GPU. Equal means: the repaired graph, run by ONNX Runtime (or ONNX's reference "
        "evaluator), gives the test's expected outputs, and those of the original on generated inputs.",
        "",
        "| corpus | models | accepted before | after repair, equal | accepted with a wrong result | median s per model |",
        "|---|--:|--:|--:|--:|--:|",
        _total("node tests", nodes),
        *(_total(name, rows) for name, rows in wholes.items()),
        "",
        f"Of the node tests, {with_leave} take the user's leave to compute DOUBLE as FLOAT; "
        f"{sum(row.before for row in nodes)} were accepted as they are. In {sum(row.retyped for row in good)} of the repaired "
        "ones, integer types at inputs or outputs became wider (values are equal; a build for Triton leaves such graphs alone, "
        "since clients know the types).",
        "",
        "## Repairs",
        "",
        "| repair | node tests that need it |",
        "|---|--:|",
        *(f"| `{name}` | {count} |" for name, count in _repairs(good).most_common()),
        "",
        "## What stays out",
        "",
        "| node tests | why |",
        "|--:|---|",
        *(f"| {count} | {_cell(reason)} |" for reason, count in left.most_common()),
        "",
    ]
    if wrong:
        lines += ["## Wrong", "", *(f"- {row.name}: {row.reason}" for row in wrong), ""]
    for name, rows in wholes.items():
        lines += [f"## {name[0].upper()}{name[1:]}", "", *_models(rows), ""]
    lines += ["## By operator", "", *_operators(nodes), ""]
    return "\n".join(lines)


def _total(name: str, rows: Sequence[Row]) -> str:
    times = sorted(row.seconds for row in rows)
    median = times[len(times) // 2] if times else 0.0
    wrong = sum(row.after and not row.equal for row in rows)
    return (
        f"| {name} | {len(rows)} | {sum(row.before for row in rows)} | **{sum(row.equal for row in rows)}** | {wrong} "
        f"| {median:.3f} |"
    )


def _repairs(rows: Iterable[Row]) -> Counter[str]:
    return Counter(name for row in rows for name in row.repairs)


def _models(rows: Sequence[Row]) -> list[str]:
    head = ["| model | size | before | after | repairs | s |", "|---|--:|---|---|---|--:|"]
    return head + [
        f"| {row.name} | {row.operator} | {_yes(row.before)} | {_yes(row.after)} | {', '.join(row.repairs)} "
        f"| {row.seconds:.2f} |"
        for row in rows
    ]


def _operators(rows: Sequence[Row]) -> list[str]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.operator if "+" not in row.operator else "several operators"].append(row)
    head = ["| operator | tests | before | after, equal |", "|---|--:|--:|--:|"]
    return head + [
        f"| {name} | {len(group)} | {sum(row.before for row in group)} | {sum(row.equal for row in group)} |"
        for name, group in sorted(groups.items())
    ]


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> int:
    """Measure and write the page; 1 if an accepted model gives a wrong result."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--architectures", type=Path, metavar="DIR", help="folder of exported architectures")
    options.add_argument("-o", "--output", type=Path, default=PAGE)
    given = options.parse_args()
    package = next(iter(available()), None)
    if package is None:
        print("no parser of NVIDIA's is installed: pip install 'triton-repo-builder[tensorrt-rtx]'", file=sys.stderr)
        return 10
    with ParserJudge(package) as judge:
        nodes = node_tests(judge)
        wholes = {"light models": files(light_models(), judge)}
        if given.architectures:
            exported = sorted(given.architectures.glob("*.onnx"))
            wholes["architectures, random weights"] = files(exported, judge)
            with tempfile.TemporaryDirectory() as scratch:
                saved = list(optimized(exported, Path(scratch)))
                wholes["the same, saved by ONNX Runtime's optimizer"] = files(saved, judge)
        given.output.write_text(page(nodes, wholes, judge.source))
    print(_total("node tests", nodes), *(_total(name, rows) for name, rows in wholes.items()), sep="\n")
    return int(any(row.after and not row.equal for row in (*nodes, *(row for rows in wholes.values() for row in rows))))


if __name__ == "__main__":
    sys.exit(main())
