"""The real thing, short: a sweep of a small ensemble on the embedded Triton, its report, and what is written back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from repository_builder.errors import CheckFailed
from repository_builder.repository import golden, manifest
from repository_builder.repository.pbtxt import parse
from repository_builder.sweep import apply as applying
from repository_builder.sweep import command
from repository_builder.sweep import document as documents
from repository_builder.sweep.goal import Goal
from repository_builder.sweep.runner import Plan, Result
from repository_builder.sweep.sample import Load, Setting
from repository_builder.sweep.search import Options
from repository_builder.sweep.store import Fingerprint
from repository_builder.sweep.subject import subject
from repository_builder.sweep.verdict import Gain, Verdict
from tests.conftest import ROOT, Cli

pytestmark = [pytest.mark.server, pytest.mark.slow]

QUICK = ("--latency-p99", "10s", "--budget", "15s", "--window", "300ms", "--pairs", "1", "--concurrency", "1:8")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits example, built from a copy of its folder."""
    folder = tmp_path_factory.mktemp("sweep")
    shutil.copytree(ROOT / "examples" / "digits", folder / "digits")
    arguments = ["build", str(folder / "digits/deploy.yaml"), "-o", str(folder / "repo")]
    words = [sys.executable, "-m", "repository_builder", *arguments]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def work(made: Path, tmp_path: Path, private_cache: Path) -> Path:
    """A copy for each test: sweeps leave things beside the repository."""
    shutil.copytree(made, tmp_path / "work")
    return tmp_path / "work"


def config(work: Path, model: str):
    path = work / "repo" / model / "config.pbtxt"
    return parse(path.read_text(), path).config


def test_a_short_sweep_finds_something_and_tells_everything(work: Path, cli: Cli) -> None:
    before = (work / "repo/digits_core/config.pbtxt").read_text()
    answer = cli("sweep", work / "repo", *QUICK, "--member", "digits_core", "--json", "--html", work / "report.html")
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    (part,) = found["parts"]
    assert part["member"] == "digits_core"
    assert part["points"]  # how many depends on how busy the machine is
    assert all(point["throughput"] > 0 and point["p99_ms"] >= point["p50_ms"] > 0 for point in part["points"])
    assert all(entry["why"] for entry in part["pruned"])
    winner = found["winner"]["settings"]
    assert winner["digits_core"]["max_batch"] <= 64
    breakdown = part["points"][0]["breakdown_ms"]
    assert set(breakdown) == {"client", "digits_preprocess", "digits_core", "digits_postprocess"}
    assert breakdown["digits_core"]["compute"] > 0
    assert (work / "report.html").read_text().startswith("<!doctype html>")
    assert (work / "repo/digits_core/config.pbtxt").read_text() == before, "nothing is written without --apply"
    with sqlite3.connect(work / ".repo.sweep.sqlite") as store:
        assert store.execute("SELECT finished FROM session").fetchall() == [(1,)]
        assert store.execute("SELECT count(*) FROM window").fetchone()[0] >= 1
    store.close()


def test_a_grid_measures_every_point_and_lists_what_is_refused(work: Path, cli: Cli) -> None:
    grid = ("--grid", "max_batch=1,4", "instances=1", "concurrency=1,4")
    answer = cli("sweep", work / "repo", *grid, "--member", "digits_core", "--window", "300ms", "--json")
    assert answer.returncode == 0, answer.stderr
    (part,) = json.loads(answer.stdout)["parts"]
    assert part["member"] == "digits_core"
    assert not part["refused"]
    assert [point["text"] for point in part["points"]] == ["1× b1, c=1", "1× b1, c=4", "1× b4, c=1", "1× b4, c=4"]
    assert max(map(int, part["points"][0]["batches"])) == 1
    too_large = cli("sweep", work / "repo", "--grid", "max_batch=128")
    assert too_large.returncode == 2
    assert "at most 64 is possible" in too_large.stderr


def test_ctrl_c_keeps_what_was_measured_and_two_sweeps_are_refused(work: Path, cli: Cli) -> None:
    arguments = ["sweep", str(work / "repo"), "--budget", "60s", "--window", "300ms"]
    words = [sys.executable, "-m", "repository_builder", *arguments]
    running = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 90
    while _windows(work) < 3:
        assert running.poll() is None, running.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    second = cli("sweep", work / "repo")
    assert second.returncode == 9
    assert "another sweep is running" in second.stderr
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130, said
    assert "the same command goes on from there" in said
    kept = _windows(work)
    resumed = cli("sweep", work / "repo", "--budget", "8s", "--window", "300ms", "--pairs", "1", timeout=240)
    assert resumed.returncode in (0, 5), resumed.stderr
    assert f"going on with an interrupted sweep: {kept} windows" in resumed.stderr


def _windows(work: Path) -> int:
    file = work / ".repo.sweep.sqlite"
    if not file.exists():
        return 0
    store = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        return int(store.execute("SELECT count(*) FROM window").fetchone()[0])
    except sqlite3.OperationalError:  # the tables are being made
        return 0
    finally:
        store.close()


TUNED = {
    "digits_preprocess": Setting(2, 64),
    "digits_core": Setting(2, 16, 1500, (), 1),
    "digits_postprocess": Setting(1, 64),
}


def test_a_winner_is_written_everywhere_and_the_next_build_gives_the_same(work: Path, cli: Cli) -> None:
    repository = work / "repo"
    what = applying.change(repository, subject(repository), TUNED)
    assert "+    count: 2" in what.diff()
    seen = []
    applying.write(repository, "digits", what, {"verdict": "better"}, seen.append)
    assert seen, "the finished tree is verified before it takes its place"
    assert config(work, "digits_core").dynamic_batching.max_queue_delay_microseconds == 1500
    assert config(work, "digits").max_batch_size == 16
    record = manifest.read(repository)
    assert record is not None
    assert record.pipelines["digits"].notes["tuning"] == {"verdict": "better"}
    text = (work / "digits/deploy.yaml").read_text()
    assert text.startswith("# Handwritten digits: PNG bytes in")
    assert "image_decode: {size: [8, 8], mode: L}" in text
    assert "tuning: {core: {max_batch_size: 16, max_queue_delay_us: 1500, threads: 1}}" in text
    assert "instances: {preprocess: 2, core: 2}" in text
    tuned = {path: path.read_text() for path in repository.glob("*/config.pbtxt")}
    assert cli("build", work / "digits/deploy.yaml", "-o", repository).returncode == 0
    assert {path: path.read_text() for path in repository.glob("*/config.pbtxt")} == tuned
    again = manifest.read(repository)
    assert again is not None
    assert again.pipelines["digits"].notes["tuning"] == {"verdict": "better"}, "the record outlives a build"
    assert cli("verify", repository).returncode == 0


def test_nothing_changes_if_the_golden_answers_differ(work: Path) -> None:
    repository = work / "repo"
    before = {path: path.read_bytes() for path in [*repository.rglob("config.pbtxt"), work / "digits/deploy.yaml"]}

    def refuse(tree: Path) -> None:
        raise CheckFailed("wrong answers")

    for found in (repository, work):
        if found == work:  # a repository that somebody else made is changed file by file, and put back
            (repository / "manifest.json").unlink()
        what = applying.change(repository, subject(repository, "digits"), TUNED)
        with pytest.raises(CheckFailed):
            applying.write(repository, "digits", what, {}, refuse)
        assert {path: path.read_bytes() for path in before} == before


def test_a_running_server_is_only_measured(work: Path, cli: Cli) -> None:
    from repository_builder.serving.client import Client
    from repository_builder.serving.server import serve

    with serve(work / "repo", graceful=False) as server:
        arguments = ("--golden", work / "repo", "--concurrency", "1:4", "--window", "300ms", "--json")
        answer = cli("sweep", server.grpc, "digits", *arguments)
        assert answer.returncode == 0, answer.stderr
        (part,) = json.loads(answer.stdout)["parts"]
        assert [point["load"] for point in part["points"]] == [1, 2, 4]
        controlled = cli("sweep", server.grpc, "digits", "--control", *arguments)
        assert controlled.returncode == 9, "a server without explicit control refuses"
        with Client(server.grpc) as client:
            assert client.config("digits_core").max_batch_size == 64


def test_a_server_under_control_gets_its_own_configuration_back(work: Path, cli: Cli) -> None:
    from repository_builder.serving.client import Client
    from repository_builder.serving.server import serve

    with serve(work / "repo", control="explicit", graceful=False) as server, Client(server.grpc) as client:
        client.load("digits")
        grid = ("--grid", "instances=2", "max_batch=2", "concurrency=4", "--window", "300ms", "--json")
        answer = cli("sweep", server.grpc, "digits", "--control", "--golden", work / "repo", *grid)
        assert answer.returncode == 0, answer.stderr
        (part,) = json.loads(answer.stdout)["parts"]
        assert [point["text"] for point in part["points"]] == ["2× b2, c=4"]
        assert (client.config("digits").max_batch_size, client.config("digits_core").max_batch_size) == (64, 64)
        assert client.config("digits_core").instance_group[0].count == 1


def test_a_server_that_dies_in_the_middle_is_explained_and_nothing_is_lost(work: Path, cli: Cli) -> None:
    arguments = ["sweep", str(work / "repo"), "--budget", "60s", "--window", "300ms"]
    words = [sys.executable, "-m", "repository_builder", *arguments]
    running = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 90
    while _windows(work) < 2:
        assert running.poll() is None, running.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    (server,) = _servers_of(work / "repo")
    os.kill(server, signal.SIGKILL)
    _, said = running.communicate(timeout=90)
    assert running.returncode == 9, said
    assert "killed by signal 9" in said
    assert _windows(work) >= 2


def _servers_of(repository: Path) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"/tritonserver") and f"--model-repository={repository}".encode() in words:
            found.append(int(entry.name))
    return found


def test_apply_verifies_the_finished_tree_with_the_real_server(work: Path, private_cache: Path) -> None:
    repository = work / "repo"
    done = finished(repository)
    golden_file = repository / "digits" / "golden.npz"
    right = golden.read(golden_file)
    wrong = {name: array + 1 if array.dtype.kind == "f" else array for name, array in right.outputs.items()}
    golden.write(golden.Golden(right.inputs, wrong, right.origin), golden_file)
    with pytest.raises(CheckFailed, match="does not answer as recorded"):
        command.apply(done, lambda _: None)
    assert config(work, "digits_core").max_batch_size == 64
    golden.write(right, golden_file)
    said: list[str] = []
    assert command.apply(done, said.append)
    assert "+max_batch_size: 16" in said[0]
    assert config(work, "digits_core").max_batch_size == 16


def finished(repository: Path) -> command.Done:
    """A sweep that ended with TUNED as its proven winner."""
    what = subject(repository)
    start = {member.name: member.start for member in what.members}
    gain = Gain(0.5, 0.4, 0.6, 4)
    verdict = Verdict(gain, gain, winner_over_budget=False, noisy=False, drift=0.0)
    result = Result(start, Load(8), TUNED, Load(8), (), (), (), verdict, 1.0, 2.0, 1.0, 1.0)
    plan = Plan(Goal(), Options(), 2)
    found = documents.document(what, plan, result, Fingerprint({}), "")
    change = applying.change(repository, what, TUNED)
    return command.Done(command.Request(repository, "", "digits", plan), what, found, result, change)
