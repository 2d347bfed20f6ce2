"""Stage: the graph with every node rewritten that TensorRT refuses, and proof that results are equal.

The result stands in for the folder of the stage `graph`: `model.onnx` (with its external data), `graph.json`, and
`repairs.json`, which says what was done. A graph that is accepted as it is comes out byte for byte. One that is still
refused comes out as far repaired as it could be proven: a plugin may serve the rest, and the engine stage judges. Types of
inputs and outputs stay as they are, since clients know them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from repository_builder.build.stage import Stage, StageContext
from repository_builder.errors import StageFailed
from repository_builder.stages.graph import MODEL, GraphFacts

if TYPE_CHECKING:
    import onnx

    from repository_builder.onnx_graph.repair import Repaired
    from repository_builder.onnx_graph.verdict import Judge, Verdict

REPORT = "repairs.json"

MODULES = tuple(
    f"repository_builder.onnx_graph.{name}"
    for name in ("repair", "equal", "facts", "rewrite", "parser", "parser_child", "table_judge", "judges", "read")
)


def stage(
    model: str,
    graph: Stage,
    *,
    wanted: str | None,
    leave: Sequence[str] = (),
    tools: Mapping[str, str],
    plugins: Sequence[str] = (),
) -> Stage:
    """The stage for one model. `wanted` is the deployment as `--for` names it; `tools` must name the parser's version.

    `plugins` are operators (`Det`, `acme.MyOp`) that become plugins later: they need no repair.
    """
    return Stage(
        name=f"{model}/repair",
        run=run,
        params={"for": wanted, "allow": sorted(leave), "plugins": sorted(plugins)},
        needs={"graph": graph},
        tools=tools,
        modules=(*MODULES, *repair_modules()),
    )


def repair_modules() -> tuple[str, ...]:
    """Every module of a repair: a changed repair must not meet a stale result."""
    folder = Path(__file__).parents[1] / "onnx_graph" / "repairs"
    return tuple(f"repository_builder.onnx_graph.repairs.{file.stem}" for file in sorted(folder.glob("[!_]*.py")))


def run(context: StageContext) -> None:
    """Repair `inputs["graph"]`; parameters `for` and `allow`, both as on the command line."""
    from repository_builder.onnx_graph import external, read
    from repository_builder.onnx_graph.batch_repair import SINGLE_FILE_BYTES, save
    from repository_builder.onnx_graph.judges import judge_for
    from repository_builder.onnx_graph.repair import repair

    folder = context.inputs["graph"]
    context.progress("asking the parser")
    with judge_for(context.params.get("for")) as strict:
        judge = WithPlugins(strict, frozenset(context.params.get("plugins", ())))
        verdict = judge.judge(read.load(folder / MODEL), folder / MODEL)
        if verdict.accepted:
            shutil.copytree(folder, context.out, dirs_exist_ok=True)
            _report(
                context.out, {"judged_by": verdict.source, "accepted_before": True, "accepted": True, "repairs": []}
            )
            return
        context.progress(f"repairing {len(verdict.complaints)} refused node(s)")
        model = read.load(folder / MODEL)
        if model.ByteSize() + external.size(model) > SINGLE_FILE_BYTES:
            raise StageFailed(
                "TensorRT refuses the graph, and it is too large to be repaired here",
                where=folder / MODEL,
                why="; ".join(f"{c.operator}: {c.why}" for c in verdict.complaints[:3]),
                fix="export it in the operators that TensorRT takes: `triton-repo inspect` ranks the ways",
            )
        external.load_into(model, folder)
        result = repair(model, judge, leave=frozenset(context.params.get("allow", ())), keep_interface=True)
    save(result.model, context.out / MODEL)
    facts = GraphFacts.read(folder)
    replace(facts, opset=_opset(result), ir_version=result.model.ir_version).write(context.out)
    _report(context.out, summary(result))
    context.progress(f"{len(result.applied)} repair(s); {'accepted' if result.accepted else 'still refused'}")


class WithPlugins:
    """A judge that does not mind operators which become plugins."""

    def __init__(self, judge: Judge, plugins: frozenset[str]) -> None:
        self._judge, self._plugins = judge, plugins
        self.source = judge.source

    def judge(self, model: onnx.ModelProto, path: Path | None = None) -> Verdict:
        """The verdict without complaints about them."""
        verdict = self._judge.judge(model, path)
        left = tuple(complaint for complaint in verdict.complaints if complaint.operator not in self._plugins)
        only_plugins = bool(verdict.complaints) and not left
        return replace(verdict, accepted=verdict.accepted or only_plugins, complaints=left)


def summary(result: Repaired) -> dict[str, object]:
    """What the manifest lists."""
    return {
        "judged_by": result.after.source,
        "accepted_before": result.before.accepted,
        "accepted": result.accepted,
        "repairs": [applied.as_json() for applied in result.applied],
        "dropped": [rejected.as_json() for rejected in result.rejected],
        "refused": [complaint.as_json() for complaint in result.after.complaints],
        "largest_difference": result.difference,
        "compared_inputs": result.samples,
    }


def _opset(result: Repaired) -> int:
    from repository_builder.onnx_graph.facts import opset

    return opset(result.model)


def _report(out: Path, value: Mapping[str, object]) -> None:
    (out / REPORT).write_text(json.dumps(value, indent=1))
