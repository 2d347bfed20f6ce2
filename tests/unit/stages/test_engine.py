"""Engines built by NVIDIA's real builder (TensorRT for RTX: no GPU needed), and what can go wrong there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from repository_builder.build.stage import StageContext
from repository_builder.console import silent
from repository_builder.errors import CheckFailed, GraphError, SpecError, StageFailed, TargetUnavailable, ToolMissing
from repository_builder.stages import engine
from repository_builder.stages.engine_facts import EngineFacts, audit
from repository_builder.stages.engine_process import Place, container_command
from tests.unit.stages.engine_graphs import BUILDERS, HEADER, UNKNOWN, mlp, profile, write

TWO = [profile("small", 1, 4, 8), profile("large", 9, 32, 64)]
EVERY_RTX = ["8.6", "8.9", "12.0"]
DEFAULTS = {"profiles": TWO, "bounds": {}, "max_batch_size": None}


@pytest.fixture(autouse=True, params=BUILDERS)
def package(request, tmp_path, monkeypatch):
    """Every test with every package that can build here; each with a cache of its own."""
    monkeypatch.setenv("TRITON_REPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(DEFAULTS, "package", request.param)
    monkeypatch.setitem(DEFAULTS, "compute_capabilities", EVERY_RTX if request.param == "tensorrt_rtx" else [])
    return request.param


def context(tmp_path: Path, progress=silent, **params) -> StageContext:
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    return StageContext(out, {"graph": tmp_path / "graph"}, {}, DEFAULTS | params, progress)


def children() -> list[int]:
    tasks = Path("/proc/self/task").glob("*/children")
    return [int(pid) for task in tasks for pid in task.read_text().split()]


def test_engine_with_two_profiles(tmp_path, package):
    mlp(tmp_path / "graph")
    heard = []
    engine.run(context(tmp_path, lambda message, fraction=None: heard.append((message, fraction))))
    facts = EngineFacts.read(tmp_path / "out" / engine.FACTS)
    assert (tmp_path / "out" / engine.PLAN).stat().st_size == facts.raw["engine"]["bytes"] > 1000
    assert [p.as_json() for p in facts.profiles] == TWO
    assert facts.profiles_from in ("engine", "report")
    assert facts.compute_capabilities == tuple(DEFAULTS["compute_capabilities"])
    assert facts.package == package
    assert [str(t) for t in facts.interface.inputs] == ["x: FP32[batch, 4]"]
    assert facts.share("FP32") == 1.0
    assert facts.raw["network"]["weights"] == {"FP32": 4 * 8 + 8 * 2}
    fractions = [fraction for _, fraction in heard if fraction is not None]
    assert fractions == sorted(fractions)
    assert fractions[-1] > 0.5
    assert "[VERBOSE]" in (tmp_path / "out" / "engine.log").read_text()


def test_plan_without_named_architectures_is_for_the_gpu_that_built_it(tmp_path):
    mlp(tmp_path / "graph")
    engine.run(context(tmp_path, compute_capabilities=[], built_for=["8.9"]))
    assert EngineFacts.read(tmp_path / "out" / engine.FACTS).compute_capabilities == ("8.9",)


def test_half_precision_network_is_really_half(tmp_path):
    mlp(tmp_path / "graph", half=True)
    engine.run(context(tmp_path, precision="fp16"))
    facts = EngineFacts.read(tmp_path / "out" / engine.FACTS)
    assert facts.share("FP16") == 1.0
    assert facts.raw["network"]["bytes"] == {"FP16": 2 * (4 * 8 + 8 * 2)}


@pytest.mark.parametrize("sold_as", ["fp16", "bf16", "int8", "fp8"])
def test_single_precision_engine_sold_as_something_else_is_refused(tmp_path, sold_as):
    mlp(tmp_path / "graph")
    with pytest.raises(CheckFailed, match=f"called {sold_as}, but is not {sold_as.upper()} inside") as caught:
        engine.run(context(tmp_path, precision=sold_as))
    assert "of 2 layers that do the arithmetic, 2 in FP32" in caught.value.problems[0].why


def test_half_precision_engine_sold_as_single_is_refused(tmp_path):
    mlp(tmp_path / "graph", half=True)
    with pytest.raises(CheckFailed, match="not FP32 inside"):
        engine.run(context(tmp_path, precision="fp32"))


def test_operator_that_the_parser_does_not_take_is_named(tmp_path):
    write(UNKNOWN, tmp_path / "graph" / "model.onnx")
    with pytest.raises(GraphError) as caught:
        engine.run(context(tmp_path, profiles=[profile("p", 1, 2, 4)]))
    assert "Det" in caught.value.problems[0].what
    assert caught.value.log is not None
    assert caught.value.log.is_file()


RESHAPE = f"""{HEADER}
net (float[batch, 4] x, int64[2] size) => (float[rows, columns] y)
{{ y = Reshape(x, size) }}
"""


def test_input_whose_values_are_sizes_is_refused_with_a_way_out(tmp_path):
    write(RESHAPE, tmp_path / "graph" / "model.onnx")
    shapes = {"x": {"min": [1, 4], "opt": [2, 4], "max": [8, 4]}, "size": {"min": [2], "opt": [2], "max": [2]}}
    with pytest.raises(StageFailed) as caught:
        engine.run(context(tmp_path, profiles=[{"name": "only", "shapes": shapes}]))
    (problem,) = caught.value.problems
    assert "the values of input size are sizes (a shape tensor)" in problem.why
    assert "onnxruntime_onnx" in problem.fix


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"profiles": [profile("bad", 8, 4, 2)]}, "profile"),
        ({"compute_capabilities": ["9.0"]}, "has no compute capability SM90; it has"),
        (
            {"compute_capabilities": ["CURRENT"]},
            "has no compute capability SMCURRENT; it has",
        ),  # it builds what loads nowhere
        ({"flags": ["FP16"]}, "has no builder flag FP16"),
        ({"hardware_compatibility": "AMPERE_PLUS"}, "name compute capabilities"),
        ({"profiles": []}, "no optimization profile has been defined"),
    ],
)
def test_what_the_builder_refuses_is_explained_with_its_log(tmp_path, package, params, words):
    """Asked directly, without our own checks before it."""
    if package != "tensorrt_rtx" and not {"profiles", "flags"} & params.keys():
        pytest.skip("what TensorRT for RTX alone refuses")
    mlp(tmp_path / "graph")
    wanted = context(tmp_path, **params)
    with pytest.raises(StageFailed) as caught:
        engine.build(engine.request(tmp_path / "graph" / "model.onnx", wanted.out, wanted.params, []), silent)
    problem = caught.value.problems[0]
    assert words in problem.why
    assert problem.fix
    assert caught.value.log is not None
    assert caught.value.log.is_file()


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"profiles": [profile("bad", 8, 4, 2)]}, "min ≤ opt ≤ max does not hold"),
        ({"profiles": [profile("a", 1, 4, 8), profile("b", 8, 16, 32)]}, r"overlap at x \[8, 4\]"),
        ({"profiles": [profile("a", 1, 4, 8), profile("b", 10, 16, 32)]}, r"no optimization profile fits x \[9, 4\]"),
        ({"max_batch_size": 128}, r"no optimization profile fits x \[65, 4\]"),
        ({"max_batch_size": 8}, "profile `large` begins above max_batch_size"),
    ],
)
def test_profiles_that_cannot_serve_are_refused_before_anything_is_built(tmp_path, params, words):
    mlp(tmp_path / "graph")
    with pytest.raises(SpecError, match=words):
        engine.run(context(tmp_path, **params))


def test_absent_profiles_are_inferred_and_that_is_recorded(tmp_path):
    mlp(tmp_path / "graph")
    engine.run(context(tmp_path, profiles=[], max_batch_size=16))
    facts = EngineFacts.read(tmp_path / "out" / engine.FACTS)
    assert [p.as_json() for p in facts.profiles] == [profile("default", 1, 8, 16)]
    assert facts.raw["profiles_origin"] == "inferred: no profiles in the spec"


def test_missing_package_says_what_to_install(tmp_path):
    mlp(tmp_path / "graph")
    with pytest.raises(TargetUnavailable, match="tensorrt_absent cannot be loaded"):
        engine.run(context(tmp_path, package="tensorrt_absent"))


def test_builder_that_dies_is_explained(tmp_path):
    """What NVIDIA's parser does on some graphs, and what an out-of-memory killer does."""
    mlp(tmp_path / "graph")

    def kill(message, fraction=None):
        if "reading" in message:
            for pid in children():
                os.kill(pid, signal.SIGABRT)

    with pytest.raises(StageFailed) as caught:
        engine.run(context(tmp_path, kill))
    problem = caught.value.problems[0]
    assert "ended the process while it was" in problem.what
    assert "killed by SIGABRT" in problem.why


def test_interrupt_ends_the_builder(tmp_path):
    mlp(tmp_path / "graph")

    def interrupt(message, fraction=None):
        raise KeyboardInterrupt

    before = set(children())
    with pytest.raises(KeyboardInterrupt):
        engine.run(context(tmp_path, interrupt))
    assert set(children()) <= before
    assert not list((tmp_path / "out").glob("model.plan"))


def test_pulled_leash_cancels_the_build(tmp_path):
    """The worker stops by itself when its parent is gone: its standard input ends."""
    mlp(tmp_path / "graph")
    wanted = engine.request(tmp_path / "graph" / "model.onnx", tmp_path, context(tmp_path).params, [])
    (tmp_path / "request.json").write_text(json.dumps(wanted))
    command = [sys.executable, str(engine.WORKER), str(tmp_path / "request.json"), "1"]
    worker = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    reports = [json.loads(line) for line in worker.stdout.splitlines() if line.startswith("{")]
    assert worker.returncode == 1
    assert reports[-1]["failed"] == "cancelled"
    assert not (tmp_path / "model.plan").exists()


def test_audit_of_a_network_without_heavy_layers_has_nothing_to_say():
    facts = EngineFacts("tensorrt_rtx", "1", None, frozenset(), (), "builder", (), (), (), {})  # type: ignore[arg-type]
    audit(facts, "fp16")


@pytest.fixture
def stand_in_docker(tmp_path, monkeypatch):
    """A `docker` that checks the mounts and runs the command right here: only the container itself is missing."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\n"
        "import os, sys\n"
        "from pathlib import Path\n"
        "words = sys.argv[1:]\n"
        "mounts = [words[i + 1].split(':')[0] for i, word in enumerate(words) if word == '--volume']\n"
        "assert all(Path(mount).is_dir() for mount in mounts), mounts\n"
        "command = words[words.index('image:1') + 1 :]\n"
        "named = [word for word in command if word.startswith('/')]\n"
        "assert all(any(word.startswith(mount) for mount in mounts) for word in named), (named, mounts)\n"
        f"os.execv({sys.executable!r}, [{sys.executable!r}, *command[1:]])\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return program


def test_engine_is_built_through_a_container_with_its_log_and_progress(tmp_path, stand_in_docker):
    mlp(tmp_path / "graph")
    heard = []
    wanted = context(tmp_path, lambda message, fraction=None: heard.append(message))
    request = engine.request(tmp_path / "graph" / "model.onnx", wanted.out, wanted.params, [])
    log = engine.build(request, wanted.progress, Place("", "image:1"))
    assert (wanted.out / "model.plan").is_file()
    assert "[VERBOSE]" in log.read_text()
    assert any("reading the ONNX graph" in message for message in heard)


def test_failure_inside_a_container_is_explained_as_here(tmp_path, stand_in_docker):
    write(UNKNOWN, tmp_path / "graph" / "model.onnx")
    wanted = context(tmp_path, profiles=[profile("p", 1, 2, 4)])
    request = engine.request(tmp_path / "graph" / "model.onnx", wanted.out, wanted.params, [])
    with pytest.raises(GraphError, match="Det"):
        engine.build(request, silent, Place("", "image:1"))


def test_container_that_holds_another_version_than_the_table_says_is_refused(tmp_path, stand_in_docker):
    mlp(tmp_path / "graph")
    with pytest.raises(StageFailed, match=r"image:1 holds \w+ \S+, not 1\.0"):
        engine.run(context(tmp_path, container="image:1", version="1.0"))


def test_container_without_docker_says_what_to_install(tmp_path, monkeypatch):
    mlp(tmp_path / "graph")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="cannot build inside a container"):
        engine.run(context(tmp_path, container="image:1", version="1.7"))


def test_container_sees_only_what_it_needs_and_writes_only_the_result(tmp_path):
    wanted = {
        "onnx": "/graphs/a/model.onnx",
        "out": str(tmp_path / "out"),
        "plugins": ["/p/x.so"],
        "timing_cache": None,
    }
    command = container_command(wanted, "image:1", tmp_path / "request.json")
    mounts = [command[i + 1] for i, word in enumerate(command) if word == "--volume"]
    assert "/graphs/a:/graphs/a:ro" in mounts
    assert "/p:/p:ro" in mounts
    assert [mount for mount in mounts if not mount.endswith(":ro")] == [f"{tmp_path / 'out'}:{tmp_path / 'out'}"]
    assert command[command.index("--network") + 1] == "none"
    assert command[command.index("--user") + 1] == f"{os.getuid()}:{os.getgid()}"
