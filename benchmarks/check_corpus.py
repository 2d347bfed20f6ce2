"""Scores the checker on the configurations of Triton's own tests.

    python benchmarks/check_corpus.py CHECKOUT [--show]

CHECKOUT is a checkout of github.com/triton-inference-server/server (only its folder qa/ is read; nothing of it is part of
this project). Cases are laid out as qa/L0_model_config/test.sh does it: version folders are made, Python files copied. Where
that script takes engines from NVIDIA's shared disk, their published shapes are written as `engine.json`.

A case counts as reported if a finding belongs to a rule that speaks of the fault that Triton's expected message names
(`PHRASES`). Valid cases count as false alarms if any *error* is found.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from repository_builder.check import check
from repository_builder.check.report import RepositoryReport

PHRASES = {
    r"batch input|unknown source input|batch output kind .* expects": "IO030 IO031",
    r"unknown target output|can only be specified once": "IO031",
    r"sequence batching specifies multiple": "SEQ003",
    r"specified for multiple control kinds": "SEQ002",
    r"must specify either 'int32_false_true'|more than one from": "SEQ004",
    r"default priority level": "BAT010",
    r"priority queue policy must": "BAT011",
    r"'?preserve_ordering'? is": "BAT013",
    r"ensemble scheduling cannot be set": "ENS002",
    r"specifies one or more GPU|invalid or unsupported gpu": "INS001 INS002 INS009",
    r"must specify 'data_type'": "IO002 IO003",
    r"must be non-negative": "CFG021",
    r"empty reshape": "IO020",
    r"dims and reshape|different number of variable-size": "IO021",
    r"dimension must be integer|reshape dimensions must be": "IO004",
    r"at least one version must": "VER001",
    r"Could not determine backend": "CFG010",
    r"unable to find backend library": "CFG013 CFG014 CFG016",
    r"escapes backend directory": "CFG016",
    r"circular dependency": "ENS021",
    r"ensemble scheduling must be set": "ENS001",
    r"must have platform type": "CFG015",
    r"inconsistent data type": "ENS033",
    r"inconsistent shape": "ENS034",
    r"should not be specified|can not be specified for ensemble": "ENS003",
    r"allows maximum batch size": "ENS024",
    r"originated from different decoupled": "ENS026",
    r"non-existing input": "ENS030",
    r"non-existing output": "ENS031",
    r"must specify '(model_name|input_map|output_map)'": "ENS005",
    r"must specify 'step'": "ENS004",
    r"required version .* is not loaded|whose required version": "ENS023 ENS022",
    r"contains models that are not available|contains models that": "ENS020 ENS023",
    r"only once for ensemble": "ENS010",
    r"is unused in ensemble": "ENS013",
    r"mapped to multiple ensemble tensors": "CFG025",
    r"is not mapped to any": "ENS032",
    r"ensemble input .* is not used": "ENS011",
    r"ensemble output .* is not used|is not written": "ENS012",
    r"configuration expects \d+ inputs": "ONX010 ONX011",
    r"must contain at least one output|expects 0 inputs": "IO011",
    r"unexpected inference (input|output)": "ONX010 TRT040",
    r"does not support batching while non-zero|support batching the shape": "ONX013",
    r"the model expects \d+ dimensions": "ONX014 TRT043",
    r"invalid shape for input": "TRT031",
    r"linear IO format": "TRT047 IO007",
    r"incorrectly specified as a shape tensor": "TRT044",
    r"unexpected datatype": "TRT042",
    r"contradicting each other": "TRT043 TRT046",
    r"failed to specify the dimensions": "TRT041",
    r"auto-complete|auto_complete|model provides|the model expects dims": "PYB030",
    r"'platform' and 'backend' pair": "CFG012",
    r"metric|histogram": "CFG023",
    r"execution_context_allocation_strategy|allocation strategy": "TRT004",
}
"""A phrase of Triton's expected message → rules that speak of that fault."""


@dataclass(frozen=True)
class Case:
    """One repository and what Triton says to it; nothing if it is valid."""

    name: str
    path: Path
    expected: str = ""
    auto_complete: bool = True


def main() -> int:
    """Score, print, and fail below the target."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("checkout", type=Path)
    arguments.add_argument("--show", action="store_true", help="also print what was found in each invalid case")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        cases = [
            *_model_config(options.checkout / "qa", Path(scratch)),
            *_others(options.checkout / "qa", Path(scratch)),
        ]
        return _score(cases, show=options.show)


def _score(cases: list[Case], *, show: bool) -> int:
    missed, false, counts = [], [], Counter()
    for case in cases:
        (report,) = check(case.path, auto_complete=case.auto_complete).repositories
        kind = "invalid" if case.expected else "valid"
        group = case.name.rsplit("/", 1)[0]
        counts[kind, group] += 1
        if case.expected:
            if not _names_it(report, case.expected):
                missed.append((case, report))
            elif show:
                print(f"ok     {case.name}: {', '.join(finding.id for finding in report.findings)}")
        elif report.errors:
            false.append((case, report))
    for case, report in missed:
        found = [finding.id for finding in report.findings]
        print(f"missed {case.name}: {case.expected!r}\n       found {found}, skipped {len(report.skipped)}")
    for case, report in false:
        for finding in report.findings:
            if finding.severity == "error":
                print(f"false  {case.name}: {finding.id} {finding.found.field} {finding.found.message}")
    invalid = sum(count for (kind, _), count in counts.items() if kind == "invalid")
    valid = sum(counts.values()) - invalid
    for (kind, group), count in sorted(counts.items()):
        wrong = missed if kind == "invalid" else false
        bad = sum(case.name.rsplit("/", 1)[0] == group for case, _ in wrong)
        print(f"{kind:8} {group:60} {count - bad}/{count}")
    share = 100 * (invalid - len(missed)) / max(1, invalid)
    print(f"reported with the right rule: {invalid - len(missed)} of {invalid} invalid repositories ({share:.1f} %)")
    print(f"false alarms: {len(false)} of {valid} valid repositories")
    return 1 if false or share < 95 else 0


def _names_it(report: RepositoryReport, expected: str) -> bool:
    ids = {finding.id for finding in report.findings}
    wanted = {rule for phrase, rules in PHRASES.items() if re.search(phrase, expected) for rule in rules.split()}
    return bool(ids & wanted)


# -- qa/L0_model_config --------------------------------------------------------------------------------------------------

PLATFORMS = {"tensorrt_plan": "model.plan", "onnxruntime_onnx": "model.onnx", "pytorch_libtorch": "model.pt"}


def _model_config(qa: Path, scratch: Path) -> Iterator[Case]:
    root = qa / "L0_model_config"
    for source in sorted((root / "noautofill_platform").iterdir()):
        for platform in PLATFORMS:
            case = scratch / "noautofill" / platform / source.name
            _copy(source, case / source.name)
            config = case / source.name / "config.pbtxt"
            lines = [line for line in config.read_text().splitlines() if "platform:" not in line]
            config.write_text("\n".join([*lines, f'platform: "{platform}"']) + "\n")
            (case / source.name / "1").mkdir(exist_ok=True)
            yield Case(f"noautofill_platform/{platform}/{source.name}", case, _expected(source), auto_complete=False)
    for success in ("autofill_noplatform", "autofill_noplatform_success"):
        for source in sorted((root / success).glob("*/*")):
            case = _autofill(qa, source, scratch / success / source.parent.name / source.name)
            yield Case(
                f"{success}/{source.parent.name}/{source.name}", case, _expected(source) if success[-1] == "m" else ""
            )
    for source in sorted((root / "special_cases").iterdir()):
        case = scratch / "special" / source.name
        _copy(source, case / source.name)
        (case / source.name / "1").mkdir(exist_ok=True)
        (case / source.name / "1" / "model.onnx").touch()
        yield Case(f"special_cases/{source.name}", case, _expected(source))
    yield from _partial(qa, scratch)


def _autofill(qa: Path, source: Path, case: Path) -> Path:
    _copy(source, case / source.name if (source / "config.pbtxt").exists() or (source / "1").exists() else case)
    if source.name == "no_version":
        return case
    for model in [path for path in case.iterdir() if path.is_dir()]:
        if not any(path.name.isdigit() for path in model.iterdir() if path.is_dir()):
            (model / "1").mkdir()
        version = next(path for path in sorted(model.iterdir()) if path.is_dir() and path.name.isdigit())
        if source.parent.name == "python":
            python = model / "model.py"
            shutil.copy(
                python if python.exists() else qa / "python_models/auto_complete/model.py", version / "model.py"
            )
        elif source.parent.name in ENGINES and not (version / "model.onnx").exists():
            _engine(source, version)
        elif source.parent.name in ("openvino", "pytorch"):
            (version / {"openvino": "model.xml", "pytorch": "model.pt"}[source.parent.name]).touch()
            if source.name == "partial_config":
                (model / "output0_labels.txt").touch()
        elif source.name == "cpu_instance":
            (version / "model.onnx").touch()
    return case


def _partial(qa: Path, scratch: Path) -> Iterator[Case]:
    """Cases that are a few lines, appended to the configuration of another model."""
    root = qa / "L0_model_config"
    base = qa / "python_models/async_execute_decouple"
    for source in sorted((root / "model_metrics").glob("*/*")):
        case = scratch / "metrics" / source.name
        (case / source.name / "1").mkdir(parents=True)
        text = (base / "config.pbtxt").read_text() + (source / "partial.pbtxt").read_text()
        (case / source.name / "config.pbtxt").write_text(re.sub('(?m)^name: ".*"$', f'name: "{source.name}"', text))
        shutil.copy(base / "model.py", case / source.name / "1")
        invalid = source.parent.name == "invalid_config"
        yield Case(f"model_metrics/{source.name}", case, _expected(source) if invalid else "")
    for source in sorted((root / "custom_parameters/tensorrt").glob("*/*")):
        case = scratch / "parameters" / source.name
        version = case / source.name / "1"
        version.mkdir(parents=True)
        text = PLAIN + (source / "partial.pbtxt").read_text()
        (case / source.name / "config.pbtxt").write_text(text)
        _engine(source, version)
        invalid = source.parent.name == "invalid"
        yield Case(f"custom_parameters/{source.name}", case, "allocation strategy" if invalid else "")


PLAIN = """platform: "tensorrt_plan"
max_batch_size: 8
input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ 16 ] }, { name: "INPUT1" data_type: TYPE_FP32 dims: [ 16 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 16 ] }, { name: "OUTPUT1" data_type: TYPE_FP32 dims: [ 16 ] } ]
"""


def _expected(source: Path) -> str:
    return " | ".join(path.read_text().strip() for path in sorted(source.glob("expected*")) if path.is_file())


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)


# -- engines: shapes as in qa/common/gen_qa_models.py and its neighbours -----------------------------------------------------

ENGINES = ("tensorrt",)


def _engine(source: Path, version: Path) -> None:
    (version / "model.plan").write_bytes(b"placeholder of an engine from a shared disk")
    if source.name != "reshape_config_provided":  # its engine's shapes are not published
        (version.parent / "engine.json").write_text(json.dumps(_facts(source)))


def _facts(source: Path) -> dict[str, object]:
    """The engine that test.sh copies for the case."""
    name, bounds, shape = source.name, ([1, 16], [1, 16], [8, 16]), [-1, 16]
    inputs, outputs = ["INPUT0", "INPUT1"], ["OUTPUT0", "OUTPUT1"]
    dtypes: dict[str, str] = {}
    if "dynamic_shapes" in name:
        bounds, shape = ([1, 4], [1, 16], [8, 32]), [-1, -1]
    elif name in ("bad_input_type", "bad_output_type"):
        dtypes = {"INPUT0": "FP16", "INPUT1": "FP16", "OUTPUT0": "INT8", "OUTPUT1": "INT8"}
    elif "variable" in name or name in ("hint_for_no_batch", "multi_prof_max_bs"):
        bounds, shape = ([1, 1], [1, 16], [8, 32]), [-1, -1]
    profiles = [{"shapes": {each: dict(zip(("min", "opt", "max"), bounds, strict=True)) for each in inputs}}]
    if name == "multi_prof_max_bs":
        profiles = profiles * 3
    if name in ("mixed_batch_hint_dims", "mixed_batch_hint_shape_values", "no_config_shape_tensor"):
        return _shape_tensor_facts()
    return {
        "inputs": [{"name": each, "dtype": dtypes.get(each, "FP32"), "shape": shape} for each in inputs],
        "outputs": [{"name": each, "dtype": dtypes.get(each, "FP32"), "shape": shape} for each in outputs],
        "profiles": profiles,
    }


def _shape_tensor_facts() -> dict[str, object]:
    inputs = [
        {"name": "DUMMY_INPUT0", "dtype": "FP32", "shape": [-1, -1, -1]},
        {"name": "INPUT0", "dtype": "INT32", "shape": [3], "shape_tensor": True},
    ]
    outputs = [{"name": each, "dtype": "FP32", "shape": [-1, -1, -1]} for each in ("DUMMY_OUTPUT0", "OUTPUT0")]
    return {"inputs": inputs, "outputs": outputs, "profiles": []}


# -- the rest of qa/ -----------------------------------------------------------------------------------------------------

FAILS_BY_INTENT = re.compile(
    r"decoupled_cache|init_error|execute_error|wrong_model|bls_undefined|decoupled_return_response_error"
)


def _others(qa: Path, scratch: Path) -> Iterator[Case]:
    """Every other config.pbtxt, as the one model of a repository; files that test.sh would fetch are put up empty."""
    for config in sorted(qa.rglob("config.pbtxt")):
        relative = config.relative_to(qa)
        if relative.parts[0] == "L0_model_config" or FAILS_BY_INTENT.search(str(relative)):
            continue
        text = config.read_text()
        if "ensemble_scheduling" in text:
            continue  # its steps come from other places
        named = re.search(r'(?m)^name:\s*"([^"]+)"', text)
        name = named.group(1) if named else config.parent.name
        case = scratch / "others" / "_".join(relative.parts[:-1])
        _copy(config.parent, case / name)
        version = case / name / "1"
        version.mkdir(exist_ok=True)
        for file in ("model.py", "model.onnx"):
            if (case / name / file).exists() and not (version / file).exists():
                shutil.copy(case / name / file, version / file)
        _fill(version, text)
        yield Case(f"others/{relative.parent}", case)


def _fill(version: Path, text: str) -> None:
    """Put up the model file that the test fetches from elsewhere."""
    for words, file in (("onnx", "model.onnx"), ("tensorrt", "model.plan"), ("libtorch|pytorch", "model.pt")):
        if re.search(rf'(platform|backend):\s*"[^"]*({words})', text) and not list(version.glob("model.*")):
            (version / file).touch()
    if re.search(r'backend:\s*"python"', text) and not list(version.glob("*.py")):
        (version / "model.py").write_text("class TritonPythonModel:\n    def execute(self, requests):\n        pass\n")


if __name__ == "__main__":
    sys.exit(main())
