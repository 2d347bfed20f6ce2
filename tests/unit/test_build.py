"""The command `build` on small graphs: what comes out, what is refused, and what survives."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from repository_builder.repository import golden, manifest
from repository_builder.repository.pbtxt import parse
from tests import graphs
from tests.conftest import ROOT, Cli

pytestmark = pytest.mark.usefixtures("fresh_cache")


def spec(folder: Path, text: str = graphs.DIGITS, **lines: str) -> Path:
    graphs.save(text, folder / "digits.onnx")
    (folder / "labels.txt").write_text("\n".join(f"digit {n}" for n in range(10)))
    rows = ["models:", "  digits:", "    source: {onnx: digits.onnx}", *(f"    {k}: {v}" for k, v in lines.items())]
    (folder / "deploy.yaml").write_text("\n".join(rows) + "\n")
    return folder / "deploy.yaml"


def config(folder: Path, model: str = "digits"):  # type: ignore[no-untyped-def]
    path = folder / "model_repository" / model / "config.pbtxt"
    return parse(path.read_text(), path).config


FULL = {
    "preprocess": "{image_decode: {}}",
    "postprocess": "{top_k: {k: 3, labels: labels.txt}}",
    "max_batch_size": "16",
}


def test_a_complete_repository(tmp_path: Path, cli: Cli) -> None:
    answer = cli("build", spec(tmp_path, **FULL), "--json")
    assert answer.returncode == 0, answer.stderr
    report = json.loads(answer.stdout)
    assert report["changed"]
    assert report["models"]["digits"]["batching"]["max_batch_size"] == 16
    repository = tmp_path / "model_repository"
    assert {p.name for p in repository.iterdir() if p.is_dir()} == {
        "digits", "digits_core", "digits_preprocess", "digits_postprocess",
    }  # fmt: skip
    assert config(tmp_path).platform == "ensemble"
    assert all(step.model_version == -1 for step in config(tmp_path).ensemble_scheduling.step)
    assert (repository / "digits/1").is_dir()
    core = config(tmp_path, "digits_core")
    assert (core.backend, core.platform, list(core.input[0].dims)) == ("onnxruntime", "onnxruntime_onnx", [1, 8, 8])
    entries = manifest.read(repository)
    assert entries is not None
    assert set(entries.files) == {
        p.relative_to(repository).as_posix() for p in repository.rglob("*") if p.is_file()
    } - {"manifest.json"}
    recorded = golden.read(repository / "digits/golden.npz")
    assert recorded.outputs["label"].shape == (8, 3)
    assert recorded.inputs["image"].shape == (8, 1)


def test_a_build_with_findings_fails_and_leaves_the_old_repository(tmp_path: Path, cli: Cli) -> None:
    """BAT005: a delay beyond the queue's own timeout rejects every request that waits for it."""
    cli("build", spec(tmp_path))
    before = config(tmp_path)
    answer = cli("build", spec(tmp_path, batching="{max_queue_delay_us: 5000, timeout_us: 1000}"))
    refused(answer, 5, "model_repository/digits/config.pbtxt:")
    assert config(tmp_path) == before


def test_building_again_does_no_work(tmp_path: Path, cli: Cli) -> None:
    cli("build", spec(tmp_path, **FULL))
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "model_repository").rglob("*")}
    answer = cli("build", tmp_path / "deploy.yaml", "--json")
    report = json.loads(answer.stdout)
    assert (report["changed"], report["stages_run"]) == (False, [])
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "model_repository").rglob("*")} == before


def test_the_same_input_gives_the_same_keys_in_another_place(tmp_path: Path, cli: Cli) -> None:
    keys = []
    for name in ("here", "there"):
        folder = tmp_path / name
        folder.mkdir()
        answer = cli("build", spec(folder, **FULL), "-o", folder / "out", "--json", TRITON_REPO_CACHE=str(folder / "c"))
        keys.append(json.loads(answer.stdout)["models"]["digits"]["keys"])
    assert keys[0] == keys[1]


def test_the_order_of_a_modules_inputs_is_part_of_the_key(tmp_path: Path) -> None:
    from repository_builder.builder import plan

    (tmp_path / "module.py").write_text("")
    sides = {name: f"{name}: {{shape: [batch, 3], example: [2, 3]}}" for name in "ab"}
    keys = set()
    for order in ("ab", "ba"):
        inputs = ", ".join(sides[name] for name in order)
        source = f"{{pytorch: {{factory: 'module.py:build', inputs: {{{inputs}}}, outputs: {{y: [batch, 3]}}}}}}"
        (tmp_path / "deploy.yaml").write_text(f"models: {{m: {{source: {source}}}}}")
        _, steps = plan(tmp_path / "deploy.yaml", tmp_path / "none")
        keys.add(next(step.stage.key for step in steps if step.stage.name == "m/export"))
    assert len(keys) == 2


def test_plan_says_what_would_run_and_why(tmp_path: Path, cli: Cli) -> None:
    file = spec(tmp_path, **FULL)
    first = json.loads(cli("plan", file, "--json").stdout)
    assert {(step["stage"], step["action"]) for step in first} == {("digits/graph", "run"), ("digits/golden", "run")}
    assert not (tmp_path / "model_repository").exists()
    cli("build", file)
    assert {step["action"] for step in json.loads(cli("plan", file, "--json").stdout)} == {"cached"}
    (tmp_path / "labels.txt").write_text("\n".join("abcdefghij"))
    changed = {step["stage"]: step for step in json.loads(cli("plan", file, "--json").stdout)}
    assert changed["digits/graph"]["action"] == "cached"
    assert "sources.postprocess.labels" in changed["digits/golden"]["why"]


def test_an_onnx_file_alone_gets_an_inferred_spec(tmp_path: Path, cli: Cli) -> None:
    graphs.save(graphs.SPARE_ENDS, tmp_path / "my model.onnx")
    answer = cli("build", tmp_path / "my model.onnx")
    assert answer.returncode == 0, answer.stderr
    written = (tmp_path / "my_model.deploy.yaml").read_text()
    assert "max_batch_size: 8" in written
    assert "pixels: {min: [1, 1, 8, 8], opt: [4, 1, 8, 8], max: [8, 1, 8, 8]}" in written
    assert config(tmp_path, "my_model").max_batch_size == 8
    again = cli("build", tmp_path / "my_model.deploy.yaml")
    assert "is up to date" in again.stdout


@pytest.mark.parametrize("ends", [{}, {"preprocess": FULL["preprocess"]}, {"postprocess": FULL["postprocess"]}])
def test_core_only_pre_only_and_post_only(tmp_path: Path, cli: Cli, ends: dict[str, str]) -> None:
    answer = cli("build", spec(tmp_path, **ends))
    assert answer.returncode == 0, answer.stderr
    assert config(tmp_path).input[0].name == "image"
    assert bool(config(tmp_path).platform == "ensemble") == bool(ends)


def test_a_fixed_batch_is_served_without_batching_and_says_so(tmp_path: Path, cli: Cli) -> None:
    answer = cli("build", spec(tmp_path, graphs.FIXED_BATCH, preprocess="{image_decode: {}}"))
    assert answer.returncode == 0, answer.stderr
    assert "served without batching: the first dimension of input `image` is fixed to 4" in answer.stderr
    assert config(tmp_path, "digits_core").max_batch_size == 0
    assert list(config(tmp_path, "digits_core").input[0].dims) == [4, 1, 8, 8]
    assert list(config(tmp_path).input[0].dims) == [4, 1]
    assert "no batching" in (tmp_path / "model_repository/digits_core/config.pbtxt").read_text()


def refused(answer: subprocess.CompletedProcess[str], code: int, *texts: str) -> None:
    assert answer.returncode == code, answer.stderr
    assert "Traceback" not in answer.stderr
    assert "fix:" in answer.stderr
    for text in texts:
        assert text in answer.stderr, answer.stderr


def test_graphs_that_cannot_be_served(tmp_path: Path, cli: Cli) -> None:
    refused(cli("build", spec(tmp_path, graphs.TWO_BATCHES)), 7, "`queries`", "`documents`", "max_batch_size: 0")
    refused(cli("build", spec(tmp_path, graphs.FIXED_BATCH, max_batch_size="8")), 7, "fixed to 4")
    newer = graphs.DIGITS.replace('"" : 17', '"" : 27')
    (tmp_path / "new.onnx").write_bytes(_with_opset(graphs.DIGITS, 27))
    (tmp_path / "new.yaml").write_text("models: {new: {source: {onnx: new.onnx}}}")
    assert newer != graphs.DIGITS
    refused(cli("build", tmp_path / "new.yaml"), 7, "opset 27")
    assert not (tmp_path / "model_repository").exists()


def _with_opset(text: str, opset: int) -> bytes:
    message = graphs.model(text)
    message.opset_import[0].version = opset
    return bytes(message.SerializeToString())


def test_two_batch_dimensions_can_be_served_without_batching(tmp_path: Path, cli: Cli) -> None:
    answer = cli("build", spec(tmp_path, graphs.TWO_BATCHES, max_batch_size="0"))
    assert answer.returncode == 0, answer.stderr
    assert config(tmp_path).max_batch_size == 0
    assert list(config(tmp_path).output[0].dims) == [-1, -1]


def test_a_baked_batch_is_refused_and_its_node_named(tmp_path: Path, cli: Cli) -> None:
    refused(cli("build", spec(tmp_path, graphs.BAKED_BATCH)), 7, "Reshape", "8")
    assert not (tmp_path / "model_repository").exists()


def test_labels_must_match_the_classes(tmp_path: Path, cli: Cli) -> None:
    file = spec(tmp_path, **FULL)
    (tmp_path / "labels.txt").write_text("only\ntwo\n")
    refused(cli("build", file), 2, "2 labels", "10 classes", "deploy.yaml:5 (models.digits.postprocess.top_k.labels)")


def test_files_that_are_no_models(tmp_path: Path, cli: Cli) -> None:
    refused(cli("build", tmp_path / "missing.yaml"), 2, "no such file")
    refused(cli("build", tmp_path / "missing.onnx"), 7, "missing.onnx")
    (tmp_path / "photo.onnx").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    refused(cli("build", tmp_path / "photo.onnx"), 7, "photo.onnx")
    whole = graphs.save(graphs.DIGITS, tmp_path / "whole.onnx").read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    refused(cli("build", tmp_path / "cut.onnx"), 7, "cut.onnx")


def test_a_plan_needs_a_spec(tmp_path: Path, cli: Cli) -> None:
    graphs.save(graphs.DIGITS, tmp_path / "digits.onnx")
    refused(cli("plan", "digits.onnx"), 2, "triton-repo build digits.onnx")


def test_an_error_in_json_too(tmp_path: Path, cli: Cli) -> None:
    answer = cli("build", tmp_path / "missing.yaml", "--json")
    assert json.loads(answer.stdout)["errors"][0]["where"].endswith("missing.yaml")


def test_a_named_target_is_never_replaced_silently(tmp_path: Path, cli: Cli) -> None:
    refused(
        cli("build", spec(tmp_path, target="tensorrt_plan")), 3, "tensorrt_plan", "deploy.yaml:4 (models.digits.target)"
    )


def test_other_specs_keep_their_models_and_dropped_ones_go(tmp_path: Path, cli: Cli) -> None:
    cli("build", spec(tmp_path))
    (tmp_path / "two.yaml").write_text(
        "models: {a: {source: {onnx: digits.onnx}}, b: {source: {onnx: digits.onnx}, max_batch_size: 4}}"
    )
    cli("build", "two.yaml")
    repository = tmp_path / "model_repository"
    assert {p.name for p in repository.iterdir() if p.is_dir()} == {"digits", "a", "b"}
    (tmp_path / "two.yaml").write_text("models: {a: {source: {onnx: digits.onnx}}}")
    cli("build", "two.yaml")
    assert {p.name for p in repository.iterdir() if p.is_dir()} == {"digits", "a"}


def test_the_container_has_what_all_models_need(tmp_path: Path, cli: Cli) -> None:
    cli("build", spec(tmp_path, **FULL))
    (tmp_path / "two.yaml").write_text("models: {a: {source: {onnx: digits.onnx}}}")
    answer = cli("build", "two.yaml")
    assert answer.returncode == 0, answer.stderr
    assert "pillow==" in (tmp_path / "model_repository/requirements.txt").read_text()


def test_a_name_of_another_spec_is_not_taken(tmp_path: Path, cli: Cli) -> None:
    cli("build", spec(tmp_path, **FULL))
    (tmp_path / "other.yaml").write_text("models: {digits_core: {source: {onnx: digits.onnx}}}")
    refused(cli("build", "other.yaml"), 8, "digits_core")


def test_a_file_changed_by_hand_is_replaced_with_a_warning(tmp_path: Path, cli: Cli) -> None:
    cli("build", spec(tmp_path))
    file = tmp_path / "model_repository/digits/config.pbtxt"
    wanted = file.read_text()
    file.write_text(wanted.replace("max_batch_size: 8", "max_batch_size: 9"))
    answer = cli("build", tmp_path / "deploy.yaml")
    assert "changed by hand" in answer.stderr
    assert file.read_text() == wanted


def test_a_folder_that_is_not_ours_is_refused_before_any_work(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "photos/summer").mkdir(parents=True)
    refused(cli("build", spec(tmp_path), "-o", "photos"), 8, "refusing to build", "summer")
    assert [p.name for p in (tmp_path / "photos").iterdir()] == ["summer"]


@pytest.mark.slow
def test_sigkill_at_any_moment_leaves_a_whole_repository(tmp_path: Path, cli: Cli) -> None:
    cli("build", spec(tmp_path, **FULL))
    repository = tmp_path / "model_repository"
    for moment in range(8):
        _with_new_labels(tmp_path, moment)
        process = _start_build(tmp_path)
        time.sleep(0.15 * moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        entries = manifest.read(repository)
        assert entries is not None
        for path, entry in entries.files.items():
            assert (repository / path).stat().st_size == entry.size
    _with_new_labels(tmp_path, 99)
    answer = cli("build", "deploy.yaml")
    assert answer.returncode == 0, answer.stderr
    assert (repository / "digits_postprocess/1/labels.txt").read_text().startswith("digit 99")
    assert not (tmp_path / ".model_repository.building").exists()


def _start_build(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "repository_builder", "build", "deploy.yaml"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


def _with_new_labels(folder: Path, number: int) -> None:
    (folder / "labels.txt").write_text("\n".join(f"digit {number}-{n}" for n in range(10)))


def test_a_folder_that_cannot_be_written_is_explained(tmp_path: Path, cli: Cli) -> None:
    refused(cli("build", spec(tmp_path), "-o", "/proc/nowhere/repo"), 8, "cannot build into")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission_to_write_is_explained(tmp_path: Path, cli: Cli) -> None:
    file = spec(tmp_path)
    (tmp_path / "closed").mkdir(mode=0o555)
    refused(cli("build", file, "-o", "closed/repo"), 8, "cannot build into", "who may write there")


def test_a_failed_stage_names_what_was_not_run(tmp_path: Path, cli: Cli) -> None:
    answer = cli("build", spec(tmp_path, graphs.BAKED_BATCH))
    assert "not run therefore: digits/golden" in answer.stderr


@pytest.mark.slow
@pytest.mark.parametrize("moment", [0.3, 0.8])
def test_ctrl_c_leaves_nothing_half_written(tmp_path: Path, cli: Cli, moment: float) -> None:
    spec(tmp_path, **FULL)
    process = _start_build(tmp_path)
    time.sleep(moment)
    process.send_signal(signal.SIGINT)
    assert process.wait() in (0, 130, -signal.SIGINT)  # CPython itself ends so when an `exec` was interrupted
    repository = tmp_path / "model_repository"
    assert not (tmp_path / ".model_repository.building").exists()
    assert repository.exists() or process.returncode != 0
    built = manifest.read(repository) if repository.exists() else None  # the signal may come after the last step, too
    assert (built is not None) == repository.exists()
    for name, entry in built.files.items() if built else ():
        assert hashlib.sha256((repository / name).read_bytes()).hexdigest() == entry.sha256, name


def test_tuning_of_single_models(tmp_path: Path, cli: Cli) -> None:
    tuning = "{core: {max_batch_size: 4, max_queue_delay_us: 700, threads: 1}, preprocess: {max_queue_delay_us: 90}}"
    assert cli("build", spec(tmp_path, tuning=tuning, instances="{core: 2}", **FULL)).returncode == 0
    core = config(tmp_path, "digits_core")
    assert (core.max_batch_size, core.instance_group[0].count) == (4, 2)
    assert core.dynamic_batching.max_queue_delay_microseconds == 700
    assert core.parameters["intra_op_thread_count"].string_value == "1"
    assert config(tmp_path, "digits_preprocess").dynamic_batching.max_queue_delay_microseconds == 90
    assert config(tmp_path, "digits_postprocess").dynamic_batching.max_queue_delay_microseconds == 0
    assert config(tmp_path).max_batch_size == 4, "an ensemble takes no more than its smallest step"
    too_much = cli("build", spec(tmp_path, tuning="{core: {max_batch_size: 32}}", **FULL))
    refused(too_much, 2, "tuning.core.max_batch_size", "batches of at most 16")
