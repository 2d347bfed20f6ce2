"""Small parts of the command: arguments, grid, spec, exports, the reader of perf_analyzer's output."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from repository_builder.commands import sweep as command
from repository_builder.errors import RepositoryError, SpecError
from repository_builder.repository import pbtxt
from repository_builder.sweep import export, grid, spec_edit
from repository_builder.sweep.goal import Goal
from repository_builder.sweep.load import _exported, _from_marks, _seen, _settled
from repository_builder.sweep.processor import Usage
from repository_builder.sweep.runner import Plan
from repository_builder.sweep.sample import Candidate, Load, Setting
from repository_builder.sweep.search import Options
from repository_builder.sweep.subject import Member, Subject, subject

CORE = 'name: "m_core" backend: "onnxruntime" max_batch_size: 8 instance_group [{kind: KIND_CPU count: 2}]'


def test_times_need_units():
    assert [command.seconds(text) for text in ("100ms", "0.5s", "250us", "2m")] == [0.1, 0.5, 0.00025, 120]
    for wrong in ("100", "ms", "-1s", "nan", "0s", "1e99s"):
        with pytest.raises(argparse.ArgumentTypeError):
            command.seconds(wrong)


def test_ranges_and_rates():
    assert command.limits("1:64") == (1, 64)
    assert command.limits("8") == (8, 8)
    assert command.rates("200,100") == (100, 200)
    for wrong in ("0:4", "8:4", "a", "1:b", ""):
        with pytest.raises(argparse.ArgumentTypeError):
            command.limits(wrong)


def test_counts():
    assert command.count("4") == 4
    for wrong in ("0", "-1", "1.5", "", "1e9"):
        with pytest.raises(argparse.ArgumentTypeError):
            command.count(wrong)


def test_addresses(tmp_path):
    assert command.is_url("gpu-box:8001")
    assert command.is_url("grpc://10.0.0.1:8001")
    assert not command.is_url("model_repository")
    (tmp_path / "odd:8001").mkdir()
    assert not command.is_url(str(tmp_path / "odd:8001"))


def test_every_mistake_of_a_grid_is_told():
    with pytest.raises(SpecError) as caught:
        grid.axes_of(["instance=1", "max_batch=0,4", "delay_us=x", "concurrency=4"])
    assert len(caught.value.problems) == 3
    assert "did you mean `instances`" in str(caught.value)


def test_a_grid_is_the_product_and_leaves_the_rest():
    found = list(grid.points({"instances": (1, 2), "max_batch": (4,)}, Setting(1, 8, 300, (4, 8)), [Load(1), Load(8)]))
    assert len(found) == 4
    assert found[0] == Candidate(Setting(1, 4, 300, (4,)), Load(1))


SPEC = """# top
models:
  other: {source: {onnx: o.onnx}}   # not mine
  m:
    source: {onnx: "m.onnx"}
    instances: {core: 1}            # one for now
    # the tokenizer
    preprocess:
      text_tokenize: {tokenizer: t.json}
"""


def test_a_spec_keeps_everything_else():
    changes = {"core": (Setting(1, 8), Setting(3, 16, 500, (), 2)), "preprocess": (Setting(1, 8), Setting(1, 8))}
    text = spec_edit.edited(SPEC, Path("s.yaml"), "m", changes, 8)
    for line in ("# top", "  other: {source: {onnx: o.onnx}}   # not mine", "    # the tokenizer", '{onnx: "m.onnx"}'):
        assert line in text
    model = yaml.safe_load(text)["models"]["m"]
    assert model["instances"] == {"core": 3}
    assert model["max_batch_size"] == 16, "the pipeline must be built for it"
    assert model["tuning"]["core"] == {"max_batch_size": 16, "max_queue_delay_us": 500, "threads": 2}
    assert model["tuning"]["preprocess"] == {"max_batch_size": 8}, "it is not to grow with the core"
    assert "# one for now" in text


@pytest.mark.parametrize(
    "text",
    ["models: {}", "[1]", "a: [", "models: {m: 3}", "x: &a {b: 1}\nmodels:\n  m:\n    <<: *a\n    source: {onnx: m}\n"],
)
def test_specs_that_cannot_be_edited(text):
    with pytest.raises(SpecError, match="cannot write the tuning"):
        spec_edit.edited(text, Path("s.yaml"), "m", {"core": (Setting(1, 8), Setting(2, 8))}, 8)


def plan(**fields) -> Plan:
    return Plan(Goal(budget_s=0.1), Options(), 2, **fields)


def one() -> Subject:
    return Subject("m_core", (Member("m_core", pbtxt.parse(CORE).config, 16, "limit"),), {}, "")


def test_export_for_perf_analyzer():
    words = shlex.split(export.perf_analyzer(one(), plan(concurrency=(1, 64))))
    assert words[words.index("--concurrency-range") + 1] == "1:64:7"
    assert words[words.index("--latency-threshold") + 1] == "100"
    words = shlex.split(export.perf_analyzer(one(), plan(rates=(100.0, 300.0))))
    assert words[words.index("--request-rate-range") + 1] == "100:300:200"


def test_export_for_model_analyzer():
    document = yaml.safe_load(export.model_analyzer(one(), plan(), Path("repo")))
    profile = document["profile_models"]["m_core"]
    assert profile["model_config_parameters"]["max_batch_size"] == [1, 2, 4, 8, 16]
    assert profile["model_config_parameters"]["instance_group"] == [[{"kind": "KIND_CPU", "count": [1, 2, 3]}]]
    assert profile["parameters"]["concurrency"] == [1, 2, 4, 8, 16, 32, 64]
    assert document["constraints"] == {"perf_latency_p99": {"max": 100}}


COLUMNS = "Concurrency,Inferences/Second,Client Send,Network+Server Send/Recv,Client Recv"
REPORT = f"{COLUMNS},p50 latency,p90 latency,p95 latency,p99 latency\n4,200.5,10,400,5,1000,2000,3000,4000\n"


def test_single_latencies_are_picked_out_of_an_export_that_is_no_json():
    export_file = (
        b'{"experiments":[{"requests":[{"timestamp":1000000,"request_inputs":{"x":"\x89PNG\xff"},"response_timestamps":[3000000]},'
        b'{"timestamp":5000000,"request_inputs":{},"response_timestamps":[6000000,9000000]}],"window_boundaries":[4000000,9000000]}]}'
    )
    assert _exported(export_file) == [(0.005, 0.009)], "the first ended before the window began"
    seen = _seen(REPORT, export_file, 1.0)
    assert seen is not None
    assert (seen.throughput, seen.latencies.count) == (pytest.approx(250), 1)
    assert seen.parts == {"send": 1e-05, "network": 0.0004, "receive": 5e-06}


def test_percentiles_stand_in_for_single_latencies():
    seen = _seen(REPORT, b"", 1.0)
    assert seen is not None
    assert seen.latencies.count == 200
    assert seen.latencies.quantile(0.5) == pytest.approx(0.001, rel=0.02)
    assert seen.latencies.quantile(0.99) == pytest.approx(0.004, rel=0.02)
    assert seen.latencies.over(0.0045) == 0
    assert _from_marks({0.5: 1.0, 0.99: 2.0}, 0).count == 0
    assert _seen("Concurrency,Inferences/Second\n", b"", 1.0) is None


def test_the_first_requests_of_all_clients_at_once_do_not_count():
    """Eight clients, batches of eight: the first two batches take 45 ms, all others 20 ms."""
    requests, sent = [], 0.0
    for took in [0.045, 0.045] + [0.02] * 40:
        requests += [(sent, sent + took)] * 8
        sent += took
    rate, latencies = _settled(requests)
    assert (min(latencies), max(latencies)) == pytest.approx((0.02, 0.02))
    assert len(requests) / sent < rate < 8 / 0.02


@given(count=st.integers(1, 40), took=st.floats(0.001, 2.0), clients=st.integers(1, 16))
def test_the_throughput_of_a_steady_load_is_exact(count, took, clients):
    requests = [(n * took, (n + 1) * took) for n in range(count) for _ in range(clients)]
    rate, latencies = _settled(requests)
    assert rate == pytest.approx(clients / took)
    assert (min(latencies), max(latencies)) == pytest.approx((took, took))


def test_an_export_with_unanswered_requests_is_not_trusted():
    assert _exported(b'{"timestamp":1,"response_timestamps":[]},{"timestamp":5,"response_timestamps":[7]}') == []


def test_own_work_is_not_foreign():
    before = Usage.now(os.getpid())
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    after = Usage.now(os.getpid())
    assert after.ours - before.ours >= 0.28
    assert after.machine >= before.machine


def test_a_child_that_ends_in_a_window_does_not_take_its_past_along():
    """A stub of an unloaded model has worked for seconds before: they must not seem to be another process's."""
    work = "import time\nend = time.process_time() + 0.6\nwhile time.process_time() < end: pass\n"
    parent = f"import subprocess, sys\nc = subprocess.Popen([sys.executable, '-c', {work + 'input()'!r}], stdin=-1)\n"
    parent += "print(input(), flush=True)\nc.communicate(b'\\n')\nprint('ended', flush=True)\ninput()\n"
    with subprocess.Popen([sys.executable, "-c", parent], stdin=-1, stdout=-1, text=True) as root:
        assert root.stdin is not None
        assert root.stdout is not None
        time.sleep(1.5)
        before = Usage.now(root.pid)
        root.stdin.write("go\n")
        root.stdin.flush()
        assert [root.stdout.readline(), root.stdout.readline()] == ["go\n", "ended\n"]
        after = Usage.now(root.pid)
        root.communicate("\n")
    assert after.ours >= before.ours - 0.02


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_who_works_on_cores_that_we_may_not_use_is_not_foreign():
    allowed = os.sched_getaffinity(0)
    cores = sorted(allowed)[:2]
    work = "import os\nos.sched_setaffinity(0, {CORE})\nprint(flush=True)\nwhile True: pass\n"
    found = []
    with ExitStack() as stack:
        stack.callback(os.sched_setaffinity, 0, allowed)
        for core in cores:
            stranger = subprocess.Popen([sys.executable, "-c", work.replace("CORE", str(core))], stdout=subprocess.PIPE)
            stack.callback(stranger.communicate)
            stack.callback(stranger.kill)
            assert stranger.stdout is not None
            stranger.stdout.readline()
        for usable in (set(cores), {cores[0]}):
            os.sched_setaffinity(0, usable)
            before = Usage.now()
            time.sleep(0.6)
            found.append(before.foreign_cores(Usage.now()))
    both, one = found
    assert both > 1.5
    assert 0.7 < one < 1.1


def write(folder: Path, model: str, text: str) -> None:
    (folder / model / "1").mkdir(parents=True)
    (folder / model / "config.pbtxt").write_text(text)


def test_hand_written_repositories(tmp_path):
    write(tmp_path, "m_core", CORE)
    write(tmp_path, "py", 'name: "py" backend: "python" max_batch_size: 4')
    maps = 'input_map {key: "a" value: "a"} output_map {key: "b" value: "b"}'
    steps = "".join(f'step {{ model_name: "{name}" model_version: -1 {maps} }}' for name in ("py", "m_core"))
    write(tmp_path, "m", f'name: "m" platform: "ensemble" max_batch_size: 4 ensemble_scheduling {{ {steps} }}')
    found = subject(tmp_path)
    assert (found.model, [member.name for member in found.members], list(found.ensembles)) == (
        "m",
        ["py", "m_core"],
        ["m"],
    )
    assert [member.max_batch for member in found.members] == [4, 64], "nobody knows what a Python model can take"
    before = found.digest
    (tmp_path / "py" / "1" / "__pycache__").mkdir()
    (tmp_path / "py" / "1" / "__pycache__" / "x.pyc").write_text("")
    assert subject(tmp_path).digest == before
    (tmp_path / "py" / "1" / "model.py").write_text("")
    assert subject(tmp_path).digest != before
    with pytest.raises(SpecError, match="not part of"):
        found.member("core")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('name: "m" max_batch_size: 4 sequence_batching { max_sequence_idle_microseconds: 5 }', "keeps sequences"),
        ('name: "m" model_transaction_policy { decoupled: true }', "more than once"),
        (
            'name: "m" platform: "ensemble" ensemble_scheduling { step { model_name: "m" model_version: -1 '
            'input_map {key: "a" value: "a"} output_map {key: "b" value: "b"} } }',
            "contains itself",
        ),
    ],
)
def test_models_that_cannot_be_swept(tmp_path, text, words):
    write(tmp_path, "m", text)
    with pytest.raises(RepositoryError) as caught:
        subject(tmp_path, "m")
    assert words in str(caught.value)


def test_which_model_must_be_said_where_there_are_several(tmp_path):
    write(tmp_path, "a", 'name: "a"')
    write(tmp_path, "b", 'name: "b"')
    with pytest.raises(SpecError, match="which model"):
        subject(tmp_path)
    with pytest.raises(RepositoryError, match=r"no model `aa` .did you mean"):
        subject(tmp_path, "aa")


def test_nothing_beyond_a_profile():
    config = pbtxt.parse('name: "m" platform: "tensorrt_plan" max_batch_size: 16').config
    member = Member("m", config, 16, "largest batch of its profiles", (4,))
    assert member.space(2, (1, 64)).batches == (1, 2, 4, 8, 16)
    with pytest.raises(SpecError, match="cannot try a batch of 32"):
        member.space(2, (1, 64), axes={"max_batch": (32,)})


def test_large_tensors_travel_through_shared_memory_and_strings_never_do():
    import numpy as np

    from repository_builder.sweep.local import _shared_memory

    large, small = np.zeros((1, 3, 320, 320), np.float32), np.zeros((2, 10), np.float32)
    text = np.array([[b"a" * (2 << 20)]], object)
    assert _shared_memory({"x": small}, {"y": small}) == ()
    assert _shared_memory({"x": large}, {"y": small})[-1] == "102400"
    assert _shared_memory({"x": large}, {"y": large})[-1] == str(large.nbytes)
    assert _shared_memory({"x": large, "t": text}, {"y": small}) == ()
    assert _shared_memory({"x": large}, {"y": text}) == ()
