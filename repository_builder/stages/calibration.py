"""The stage `samples`: real inputs of the network, made by the pre-processor's own code from what the user recorded.

They calibrate INT8 and FP8, and they are what the accuracy gate compares on. Nothing is ever made up here. `samples.npz` holds
batches: `00000/inputs/<name>`, `00001/inputs/<name>` … (texts of one batch share a length, batches need not).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from repository_builder.build.stage import Stage, StageContext
from repository_builder.errors import Problem, SpecError
from repository_builder.repository import golden as golden_file
from repository_builder.repository.python_model import deployed_files
from repository_builder.spec.processor import Processor
from repository_builder.stages import golden, processors, samples
from repository_builder.stages.graph import GraphFacts
from repository_builder.tensor import NUMPY_OF, Interface

FILE = "samples.npz"
FACTS = "samples.json"
ROWS = 16
"""Samples per batch: enough to run fast, few enough for large networks."""

Batches = list[dict[str, Any]]


def stage(
    model: str,
    *,
    graph: Stage,
    before: Processor | None,
    source: Path,
    count: int,
    labels: Path | None,
    tools: Mapping[str, str],
    name: str = "samples",
) -> Stage:
    """The stage for one public model."""
    params, sources = processors.describe("preprocess", before)
    if before:
        sources |= {f"preprocess.code/{name}": path for name, path in deployed_files(before.entry).items()}
    sources |= {"samples": source} | ({"labels": labels} if labels else {})
    helpers = ("golden", "golden_worker", "samples")
    return Stage(
        name=f"{model}/{name}",
        run=run,
        params={"count": count, "suffix": source.suffix, **params},
        sources=sources,
        needs={"graph": graph},
        tools=tools,
        modules=tuple(f"repository_builder.stages.{name}" for name in helpers),
    )


def run(context: StageContext) -> None:
    """Collect, pre-process, check and write the samples."""
    import numpy as np

    facts = GraphFacts.read(context.inputs["graph"])
    before = processors.restore("preprocess", context.params, context.sources)
    source = context.sources["samples"]
    context.progress("collecting samples")
    found = _collect(facts, before, source, context.params["count"])
    if before and not set(found) >= {t.name for t in facts.interface.inputs}:
        batches = list(_preprocessed(context, facts, before, found))
    else:
        batches = list(_split(found, facts))
    _check(batches, facts.interface, source)
    rows = sum(len(next(iter(batch.values()))) for batch in batches)
    labels = _labels(context.sources.get("labels"), rows)
    np.savez(
        context.out / FILE,
        **{f"{i:05d}/inputs/{name}": array for i, batch in enumerate(batches) for name, array in batch.items()},
    )
    told = {"rows": rows, "batches": len(batches), "origin": f"{rows} samples of {source.name}", "labels": labels}
    (context.out / FACTS).write_text(json.dumps(told))


def read(folder: Path) -> tuple[Batches, dict[str, Any]]:
    """The batches of a finished stage, and what is known of them."""
    import numpy as np

    batches: dict[str, dict[str, Any]] = {}
    with np.load(folder / FILE, allow_pickle=False) as stored:
        for key in stored.files:
            batch, _, name = key.split("/", 2)
            batches.setdefault(batch, {})[name] = stored[key]
    return [batches[key] for key in sorted(batches)], json.loads((folder / FACTS).read_text())


def digest(folder: Path) -> str:
    """SHA-256 of the samples that a finished stage holds: names, types, shapes and values (the file itself has dates)."""
    import hashlib

    import numpy as np

    found = hashlib.sha256()
    with np.load(folder / FILE, allow_pickle=False) as stored:
        for key in sorted(stored.files):
            array = np.ascontiguousarray(stored[key])
            found.update(f"{key} {array.dtype} {array.shape}".encode())
            found.update(array.tobytes())
    return found.hexdigest()


def _collect(facts: GraphFacts, before: Processor | None, source: Path, count: int) -> dict[str, Any]:
    """Arrays by name: the network's own inputs where a `.npz` holds them, else inputs of the public model."""
    public = golden.pipeline_of(facts.interface, before, None).public
    if source.suffix == ".npz" and set(_names(source)) >= {t.name for t in facts.interface.inputs}:
        public = facts.interface
    return dict(samples.collect(public, source, count, facts).arrays)


def _names(source: Path) -> list[str]:
    import zipfile

    import numpy as np

    try:
        with np.load(source, allow_pickle=False) as stored:
            return list(stored.files)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise SpecError(
            "cannot read the samples", where=source, why=str(error), fix="write it with numpy.savez"
        ) from error


def _split(arrays: Mapping[str, Any], facts: GraphFacts) -> Iterator[dict[str, Any]]:
    """Batches of at most ROWS rows; a graph of fixed batch gets whole batches of its size."""
    if not facts.batched:
        yield dict(arrays)
        return
    total = min(len(array) for array in arrays.values())
    for start in range(0, total, ROWS):
        yield {name: array[start : start + ROWS] for name, array in arrays.items()}


def _preprocessed(
    context: StageContext, facts: GraphFacts, before: Processor, public: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Each batch through the pre-processor's own code, in a child process."""
    wanted = [tensor.name for tensor in facts.interface.inputs]
    batches = list(_split(public, facts))
    with tempfile.TemporaryDirectory(prefix="triton-repo-samples-") as folder:
        work = Path(folder)
        golden.deploy(before, work / "steps" / "preprocess")
        job = {"model": "", "outputs": wanted, "roles": {"preprocess": before.parameters(facts.interface)}}
        for index, batch in enumerate(batches):
            context.progress(f"pre-processing batch {index + 1} of {len(batches)}", index / len(batches))
            (work / "answer.json").unlink(missing_ok=True)
            golden_file.write(golden_file.Golden(batch, {}, ""), work / "inputs.npz")
            yield dict(golden.reference(job, work, work / "steps"))


def _check(batches: Batches, core: Interface, source: Path) -> None:
    """Types and shapes that the network takes, and no NaN: scales made from a NaN are all NaN."""
    import numpy as np

    problems = []
    for number, batch in enumerate(batches):
        for tensor in core.inputs:
            array, where = batch[tensor.name], f"{source} ({tensor.name}, batch {number})"
            fits = array.ndim == len(tensor.shape) and all(
                isinstance(dim, str) or dim == size for dim, size in zip(tensor.shape, array.shape, strict=True)
            )
            if not fits or array.dtype != NUMPY_OF.get(tensor.dtype):
                why = f"{array.dtype}{list(array.shape)} is not {tensor}"
                problems.append(
                    Problem("the samples do not fit the network", where, why, "give what the network takes")
                )
            elif array.dtype.kind == "f" and not np.isfinite(array).all():
                count = int((~np.isfinite(array)).sum())
                why = f"{count} of {array.size} values are NaN or infinite"
                problems.append(Problem("the samples hold NaN or infinity", where, why, "remove these samples"))
    if problems:
        raise SpecError.many(problems[:10])


def _labels(path: Path | None, rows: int) -> list[int] | None:
    if path is None:
        return None
    try:
        labels = [int(line) for line in path.read_text(encoding="utf-8").split()]
    except ValueError as error:
        raise SpecError("precision.labels must hold one class number per line", where=path, why=str(error)) from error
    if len(labels) < rows:
        raise SpecError(
            "precision.labels has fewer lines than there are samples",
            where=path,
            why=f"{len(labels)} labels for {rows} samples",
            fix="write one class number per sample, in the order of the sorted file names",
        )
    return labels[:rows]
