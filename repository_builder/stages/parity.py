"""The stage `parity`: the engine's own numbers against the FP32 graph, at min, opt and max of every profile.

A clean build may answer wrongly (NVIDIA/TensorRT#4813). This runs the engine, so it is part of a build only on a machine with
a GPU that can load it; elsewhere the manifest has no parity, which says that nobody looked.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from repository_builder.build.stage import Stage, StageContext
from repository_builder.errors import CheckFailed, Problem
from repository_builder.onnx_graph import execute, samples
from repository_builder.shapes.profile import Profile, symbol_ranges
from repository_builder.stages import calibration, engine_run
from repository_builder.stages.accuracy import METRICS
from repository_builder.stages.engine_facts import FACTS, PLAN, EngineFacts
from repository_builder.stages.graph import MODEL, GraphFacts
from repository_builder.tensor import Interface

REPORT = "parity.json"
NEEDED = {"fp32": 0.9999, "fp16": 0.999, "bf16": 0.99, "int8": 0.9, "fp8": 0.9}
"""Smallest cosine of a sample that is still rounding, by precision: accuracy is the gate's business, this finds
wrong kernels."""

Arrays = dict[str, Any]


def stage(model: str, *, graph: Stage, engine: Stage, samples_stage: Stage | None, gpu: str) -> Stage:
    """The stage for one model; `gpu` names the GPU on which the engine runs."""
    needs = {"graph": graph, "engine": engine} | ({"samples": samples_stage} if samples_stage else {})
    return Stage(
        name=f"{model}/parity",
        run=run,
        needs=needs,
        params={"gpu": gpu},
        modules=(
            "repository_builder.stages.accuracy",
            "repository_builder.stages.engine_run",
            "repository_builder.stages.parity_worker",
        ),
    )


def run(context: StageContext) -> None:
    """Ask graph and engine the same questions; raise CheckFailed where the answers differ by more than rounding."""
    import numpy as np

    facts = GraphFacts.read(context.inputs["graph"])
    built = EngineFacts.read(context.inputs["engine"] / FACTS)
    session = execute.session(context.inputs["graph"] / MODEL, optimize=True)
    with tempfile.TemporaryDirectory(prefix="triton-repo-parity-") as name:
        folder, answers = Path(name), {}
        for place, inputs in questions(built.profiles, facts.interface, _real(context)):
            np.savez(folder / f"{place}.in.npz", **inputs)
            answers[place] = execute.run(session, inputs)
        context.progress(f"running the engine at {len(answers)} shapes")
        engine_run.answers(built, context.inputs["engine"] / PLAN, folder, list(answers), context.progress)
        report = {}
        for place, reference in answers.items():
            with np.load(folder / f"{place}.out.npz") as stored:
                report[place] = scores(reference, {key: stored[key] for key in stored.files})
    (context.out / REPORT).write_text(json.dumps({"question": _question(context), "scores": report}, indent=1))
    require(report, NEEDED[str(built.raw.get("precision", "fp32"))])


def questions(
    profiles: tuple[Profile, ...], interface: Interface, real: list[Arrays] | None
) -> Iterator[tuple[str, Arrays]]:
    """Inputs at min, opt and max of each profile: real samples again and again where their other sizes fit, else seeded."""
    import numpy as np

    for profile in profiles:
        for which in ("min", "opt", "max"):
            shapes = profile.corner(which)
            fitting = next((batch for batch in real or () if _fits(batch, shapes)), None)
            if fitting is not None:
                inputs = {n: np.take(a, range(shapes[n][0]), axis=0, mode="wrap") for n, a in fitting.items()}
            else:
                at = {dim: _size(profile, interface, dim, which) for dim in symbol_ranges(profile, interface.inputs)}
                inputs = samples.generate(interface, at)
            yield f"{profile.name}.{which}", inputs


def scores(reference: Arrays, found: Arrays) -> dict[str, dict[str, float]]:
    """Output → the worst cosine of a sample and the largest difference; both of an output with NaN are NaN."""
    import numpy as np

    result = {}
    for name, expected in reference.items():
        answer = found[name]
        if answer.shape != expected.shape or not np.isfinite(answer).all():
            result[name] = {"cosine": float("nan"), "max_abs": float("nan")}
        else:
            pair = [
                array.reshape(len(array), -1) if array.ndim else array.reshape(1, 1) for array in (expected, answer)
            ]
            result[name] = {"cosine": METRICS["cosine"](*pair), "max_abs": -METRICS["max_abs"](*pair)}
    return result


def require(report: Mapping[str, Mapping[str, Mapping[str, float]]], needed: float) -> None:
    """Raise CheckFailed for every output whose worst sample is further away than rounding explains."""
    problems = [
        Problem(
            f"the engine answers wrongly at {place}",
            f"output `{name}`",
            f"cosine {values['cosine']:.6g} to the FP32 graph, needs {needed:g}; largest difference {values['max_abs']:.4g}",
            "try another TensorRT release (`triton-repo upgrade`), or keep the layer that does it out of TensorRT's fusions",
        )
        for place, outputs in report.items()
        for name, values in outputs.items()
        if not values["cosine"] >= needed
    ]
    if problems:
        raise CheckFailed.many(problems)


def _question(context: StageContext) -> dict[str, str]:
    """What the scores answer: they are comparable with those of another build only where this is the same."""
    samples_digest = calibration.digest(context.inputs["samples"]) if "samples" in context.inputs else "seeded"
    return {"gpu": str(context.params["gpu"]), "samples": samples_digest}


def _real(context: StageContext) -> list[Arrays] | None:
    return calibration.read(context.inputs["samples"])[0] if "samples" in context.inputs else None


def _fits(batch: Arrays, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    return all(array.shape[1:] == shapes[name][1:] for name, array in batch.items())


def _size(profile: Profile, interface: Interface, dim: str, which: str) -> int:
    return next(
        int(getattr(profile.shapes[t.name], which)[axis])
        for t in interface.inputs
        for axis, name in enumerate(t.shape)
        if name == dim
    )
