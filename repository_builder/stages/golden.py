"""The stage `golden`: inputs of the public model and what the reference answers to them.

The reference is the definition of correct: the pre-processor's own code, the FP32 graph in ONNX Runtime on the CPU, the
post-processor's own code, one after the other in a child process. Whatever target is built and however it is served, it
is compared with this.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repository_builder.build.stage import Stage, StageContext
from repository_builder.errors import RepositoryBuilderError, SpecError, StageFailed
from repository_builder.repository import golden
from repository_builder.repository.ensemble import Pipeline
from repository_builder.repository.python_model import deployed_files
from repository_builder.spec.model import GoldenSpec
from repository_builder.spec.processor import Processor
from repository_builder.stages import processors, samples
from repository_builder.stages.graph import MODEL, GraphFacts
from repository_builder.tensor import Interface


def stage(
    model: str,
    *,
    graph: Stage,
    before: Processor | None,
    after: Processor | None,
    spec: GoldenSpec,
    max_batch_size: int | None,
    tools: Mapping[str, str],
) -> Stage:
    """The stage for one public model."""
    params: dict[str, Any] = {
        "count": spec.count,
        "atol": spec.atol,
        "rtol": spec.rtol,
        "max_batch_size": max_batch_size,
    }
    sources = {"inputs": spec.inputs} if spec.inputs else {}
    for role, processor in (("preprocess", before), ("postprocess", after)):
        more_params, more_sources = processors.describe(role, processor)
        code = (
            {f"{role}.code/{name}": path for name, path in deployed_files(processor.entry).items()} if processor else {}
        )
        params, sources = params | more_params, sources | more_sources | code
    return Stage(
        name=f"{model}/golden",
        run=run,
        params=params,
        sources=sources,
        needs={"graph": graph},
        tools=tools,
        modules=("repository_builder.stages.golden_worker", "repository_builder.stages.samples"),
    )


def run(context: StageContext) -> None:
    """Make the inputs, run the reference on them, write `golden.npz`."""
    facts = GraphFacts.read(context.inputs["graph"])
    before, after = (
        processors.restore(role, context.params, context.sources) for role in ("preprocess", "postprocess")
    )
    pipeline = pipeline_of(facts.interface, before, after)
    limit = min(context.params["count"], context.params["max_batch_size"] or context.params["count"])
    context.progress("collecting samples")
    found = samples.collect(pipeline.public, context.sources.get("inputs"), limit, facts)
    with tempfile.TemporaryDirectory(prefix="triton-repo-golden-") as work:
        steps = Path(work, "steps")
        for role, processor in (("preprocess", before), ("postprocess", after)):
            if processor:
                deploy(processor, steps / role)
        golden.write(golden.Golden(found.arrays, {}, found.origin), Path(work, "inputs.npz"))
        job = {
            "model": str(context.inputs["graph"] / MODEL),
            "outputs": [tensor.name for tensor in pipeline.public.outputs],
            "roles": {
                r: p.parameters(facts.interface) for r, p in (("preprocess", before), ("postprocess", after)) if p
            },
        }
        context.progress("running the reference")
        outputs = reference(job, Path(work), steps)
    tolerance = {"atol": context.params["atol"], "rtol": context.params["rtol"]}
    golden.write(golden.Golden(found.arrays, outputs, found.origin, **tolerance), context.out / golden.FILENAME)


def pipeline_of(core: Interface, before: Processor | None, after: Processor | None) -> Pipeline:
    """The pipeline that these processors make with a core."""
    return Pipeline(core, *(interface_of(processor, core) if processor else None for processor in (before, after)))


def interface_of(processor: Processor, core: Interface) -> Interface:
    """Inputs and outputs of a processor's Triton model."""
    ports = processor.ports(core)
    return Interface(ports.inputs, ports.outputs)


def deploy(processor: Processor, folder: Path) -> None:
    """Put a processor's files where the worker imports them from."""
    folder.mkdir(parents=True)
    for name, source in (deployed_files(processor.entry) | processor.files()).items():
        (folder / name).write_bytes(source.read_bytes())


def reference(job: dict[str, Any], work: Path, steps: Path) -> Mapping[str, Any]:
    """Run the worker on a job; `work` holds `inputs.npz`."""
    (work / "job.json").write_text(json.dumps(job))
    paths = [str(steps), *([os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else [])]
    process = subprocess.run(
        [sys.executable, "-m", "repository_builder.stages.golden_worker", str(work)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    answer = work / "answer.json"
    if not answer.exists():
        log = Path(tempfile.mkstemp(prefix="triton-repo-golden-", suffix=".log")[1])
        log.write_text(process.stdout + process.stderr)
        raise StageFailed(
            "the reference run died",
            why=f"its process ended with code {process.returncode}",
            fix="read the log; if memory ran out, use fewer golden samples (`golden: {count: 1}`)",
            log=log,
        )
    problem = json.loads(answer.read_text())
    if problem:
        raise _failure(problem)
    return golden.read(work / "outputs.npz").outputs


def _failure(problem: dict[str, str]) -> RepositoryBuilderError:
    kind = SpecError if problem["kind"] == "spec" else StageFailed
    return kind(problem["what"], why=problem["why"], fix=problem["fix"])
