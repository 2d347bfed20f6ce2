"""The checker's word against the real server's.

Two servers in explicit control (with and without auto-completion) load the examples of all pages; the message of a refused one
comes back from the call, or stands in the log. Backends that are not part of the embedded server (tensorrt, onnxruntime, …) are
stood in for by copies of the Python backend, so that Triton's core runs all of its own checks on such models; what the real
backends check is not shown here. A server that crashes is replaced, and said so at the end of the run.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from repository_builder.check import Severity, all_rules
from repository_builder.serving import embedded
from repository_builder.serving.server import Server, serve
from tests.rules import pages

pytestmark = pytest.mark.server

STAND_INS = ("tensorrt", "onnxruntime", "pytorch", "identity", "our_tokenizer")
SHARED = f"triton_rules_{os.getpid()}_"
"""Prefix of the stand-ins' shared memory."""
PAGES = pages.read_all()
SHOWN = [id_ for id_, page in PAGES.items() if not page.server.startswith("not shown")]
ENDS = [id_ for id_ in SHOWN if PAGES[id_].server in ("ends", "refuses or ends")]
ASKED = [id_ for id_ in SHOWN if PAGES[id_].server == "ends when asked"]
TOGETHER = [id_ for id_ in SHOWN if id_ not in ENDS + ASKED]
REPEATS = 2
"""How often an example that lost its server is asked again."""
Start = Callable[[bool], AbstractContextManager[Server]]
"""Starts a server without models, with auto-completion or without."""


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> None:
    """In place of the check after each test: here models come and go all the time, so `verdicts` checks at its end."""


@dataclass(frozen=True)
class Verdict:
    """What the server says to an example."""

    refusal: str
    """Empty if everything loads."""
    answer: str = ""
    """The first error of a request of zeros to each model, empty if all answer."""


class Prover:
    """A running server, to whose repository examples are added under names of their own."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.repository = server.repository
        self.client = triton.InferenceServerClient(server.grpc)

    def prove(self, prefix: str, entries: dict[str, pages.Entry]) -> Verdict:
        """Add an example, load its models (ensembles first), ask them, and let them go."""
        entries = renamed(entries, prefix)
        pages.write(entries, self.repository)
        names = sorted({path.split("/")[0] for path in entries if "/" in path})
        try:
            for name in names:
                self.client.load_model(name, client_timeout=120)
        except InferenceServerException as error:
            return Verdict(f"{error.message()}\n{self._log(prefix)}")
        answer = "\n".join(filter(None, map(self._ask, names)))
        for name in names:
            with suppress(InferenceServerException):  # "versions that are still available": it goes later
                self.client.unload_model(name, unload_dependents=True)
        return Verdict("", answer)

    def gone(self) -> bool:
        """Whether the server has ended or does not answer any more.

        Asked over the wire too, since a process that has just died counts as alive until its supervisor has cleaned up.
        """
        try:
            return not self.server.alive() or not self.client.is_server_live(client_timeout=20)
        except InferenceServerException:
            return True

    def end(self) -> str:
        """How the server that is gone ended, and the tail of its log."""
        try:
            how = f"exit code {self.server.wait(20)}"
        except TimeoutError:
            self.server.close()
            how = "it did not answer, and was killed"
        tail = self.server.log.read_text(errors="replace").splitlines()[-25:]
        return "\n    ".join([f"{how}, log {self.server.log}", *tail])

    def _log(self, prefix: str) -> str:
        lines = self.server.log.read_text(errors="replace").splitlines()
        return "\n".join(line for line in lines if line.startswith("E") and prefix in line)

    def _ask(self, name: str) -> str:
        """One request of zeros; the error, empty if every promised output comes back."""
        try:
            metadata = self.client.get_model_metadata(name)
            config = self.client.get_model_config(name).config
            sequence = {"sequence_id": 1, "sequence_start": True, "sequence_end": True}
            options = sequence if config.HasField("sequence_batching") else {}
            answer = self.client.infer(name, _requests(metadata.inputs), client_timeout=5, **options)
        except InferenceServerException as error:
            return str(error)
        missing = [tensor.name for tensor in metadata.outputs if answer.as_numpy(tensor.name) is None]
        return f"no output {missing}" if missing else ""


class LastingProver:
    """One server for many examples, and a fresh one in its place when it is gone.

    The old Triton crashes now and then when models come and go, which is no example's fault. All that were in hand are asked
    again, each on servers of its own: an example that loses all of them cannot blame a neighbour, and fails.
    """

    def __init__(self, start: Callable[[], AbstractContextManager[Server]], losses: list[str]) -> None:
        self._start = start
        self._losses = losses
        self._lock = threading.RLock()
        self._servers = ExitStack()
        self.shared = self._fresh()

    def close(self) -> None:
        """Stop the shared server."""
        self._servers.close()

    def prove(self, prefix: str, entries: dict[str, pages.Entry]) -> Verdict:
        """As `Prover.prove`, but only what a server says and outlives is a verdict."""
        ends = []
        with closing(self._provers()) as provers:
            for prover in provers:
                verdict = prover.prove(prefix, entries)
                if not prover.gone():
                    return verdict
                ends.append(self._lost(f"{prefix} lost its server", prover))
        raise AssertionError("\n".join([f"{prefix} crashes Triton: none of {len(ends)} servers outlived it", *ends]))

    def _provers(self) -> Generator[Prover, None, None]:
        """Where an example is asked: together with others, and if the server does not outlive that, alone."""
        with self._lock:
            if self.shared.gone():
                self._lost("the shared server is replaced", self.shared)
                self.shared = self._fresh()
            shared = self.shared
        yield shared
        for _ in range(REPEATS):
            with self._start() as server:
                yield Prover(server)

    def _fresh(self) -> Prover:
        return Prover(self._servers.enter_context(self._start()))

    def _lost(self, what: str, prover: Prover) -> str:
        with self._lock:  # the exit code can be read once
            end = prover.end()
            known = end in "".join(self._losses)
            self._losses.append(f"{what}: {end.splitlines()[0] if known else end}")
        return end


def _requests(tensors) -> list[triton.InferInput]:
    requests = []
    for tensor in {tensor.name: tensor for tensor in tensors}.values():  # a name that is there twice is sent once
        array = np.zeros([max(int(dim), 1) for dim in tensor.shape], triton_to_np_dtype(tensor.datatype))
        requests.append(triton.InferInput(tensor.name, list(array.shape), tensor.datatype))
        requests[-1].set_data_from_numpy(array)
    return requests


def renamed(entries: dict[str, pages.Entry], prefix: str) -> dict[str, pages.Entry]:
    """The example with its models `m`, `n` and `e` called `<prefix>m` …, so that all can live in one repository."""
    names = re.compile(r'(?m)(^name|model_name): "([men])"')
    renamed_ = {}
    for path, entry in entries.items():
        text = names.sub(rf'\1: "{prefix}\2"', entry.text) if entry.kind == "text" else entry.text
        renamed_[prefix + path if "/" in path else path] = pages.Entry(entry.kind, text)
    return renamed_


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory, runtime: embedded.EmbeddedRuntime) -> Iterator[Path]:
    """A backend folder with the Python backend and the stand-ins."""
    folder = tmp_path_factory.mktemp("stand-ins") / "backends"
    folder.mkdir()
    whole = folder.parent / "whole"
    runtime.assemble_backends(whole)
    shutil.copytree(whole / "python", folder / "python", symlinks=True)
    for name in STAND_INS:
        shutil.copytree(whole / "python", folder / name, symlinks=True)
        (folder / name / "libtriton_python.so").rename(folder / name / f"libtriton_{name}.so")
        shutil.copyfile(pages.STOCK / "model.py", folder / name / "model.py")
    yield folder
    for path in Path("/dev/shm").glob(f"{SHARED}*"):
        path.unlink(missing_ok=True)


def arguments(backends: Path) -> list[str]:
    """Options of the server for the stand-ins."""
    prefix = [f"--backend-config={name},shm-region-prefix-name={SHARED}{name}_" for name in STAND_INS]
    return [f"--backend-directory={backends}", "--cache-config=local,size=1048576", *prefix]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory, backends: Path) -> Start:
    """Each server has a repository of its own."""

    @contextmanager
    def started(completes: bool) -> Iterator[Server]:
        folder = tmp_path_factory.mktemp("proof") / "repository"
        (folder / "nothing").mkdir(parents=True)  # nothing is started for an empty repository
        options = arguments(backends)
        with serve(folder, control="explicit", auto_complete=completes, extra_args=options, graceful=False) as server:
            (folder / "nothing").rmdir()
            yield server

    return started


@pytest.fixture(scope="module")
def verdicts(start: Start, lost_servers: list[str]) -> Iterator[dict[tuple[str, str], Future[Verdict]]]:
    """(page, bad or good) → what the server says. Equal examples are tried once."""
    with ExitStack() as stack:
        provers = {}
        for completes in (False, True):
            prover = LastingProver(partial(start, completes), lost_servers)
            provers[completes] = stack.enter_context(closing(prover))
        pool = stack.enter_context(ThreadPoolExecutor(3))
        found: dict[tuple[str, str], Future[Verdict]] = {}
        same: dict[tuple[object, ...], Future[Verdict]] = {}
        for id_ in TOGETHER:
            for which in ("bad", "good"):
                entries = getattr(PAGES[id_], which)
                key = tuple(sorted((path, entry.kind, entry.text) for path, entry in entries.items()))
                if key not in same:
                    prove = provers[completing(entries)].prove
                    same[key] = pool.submit(prove, f"{id_}{which}_".lower(), entries)
                found[id_, which] = same[key]
        yield found
    for path in Path("/dev/shm").glob("triton_rules_*"):
        path.unlink()


def completing(entries: dict[str, pages.Entry]) -> bool:
    """Does the example lean on auto-completion (which costs Triton a second process per Python model)?"""
    models = {path.split("/")[0] for path in entries if "/" in path}
    configured = {path.split("/")[0] for path in entries if path.endswith("/config.pbtxt")}
    return models != configured or any("auto_complete_config" in entry.text for entry in entries.values())


@pytest.mark.parametrize("id_", TOGETHER)
def test_the_server_agrees_with_the_rule(id_: str, verdicts: dict[tuple[str, str], Future[Verdict]]) -> None:
    page, rule = PAGES[id_], all_rules()[id_]
    verdict = verdicts[id_, "bad"].result()
    match page.server:
        case "refuses":
            assert rule.severity is Severity.ERROR
            assert says(rule.triton, verdict.refusal), verdict.refusal
        case "loads":
            assert rule.severity is Severity.WARNING
            assert not verdict.refusal
        case "answers wrongly":
            assert rule.severity is Severity.ERROR
            assert not verdict.refusal
            assert verdict.answer
            assert says(rule.triton, verdict.answer), verdict.answer
        case other:
            pytest.fail(f"unknown word `{other}`")


@pytest.mark.parametrize("id_", TOGETHER)
def test_the_good_example_loads_and_answers(id_: str, verdicts: dict[tuple[str, str], Future[Verdict]]) -> None:
    assert verdicts[id_, "good"].result() == Verdict("")


@pytest.fixture
def alone(start: Start) -> Iterator[Prover]:
    """A server for an example that it does not survive."""
    with start(False) as server:
        yield Prover(server)


@pytest.mark.parametrize("id_", ENDS)
def test_the_server_ends(id_: str, alone: Prover) -> None:
    assert alone.prove("a", PAGES[id_].bad).refusal
    if PAGES[id_].server == "ends":
        assert alone.server.wait(20) < 0


@pytest.mark.parametrize("id_", ASKED)
def test_the_server_ends_when_asked(id_: str, alone: Prover) -> None:
    pages.write(PAGES[id_].bad, alone.repository)
    alone.client.load_model("m")
    assert alone.client.is_model_ready("m")
    with pytest.raises(InferenceServerException):
        alone.client.infer("m", _requests(alone.client.get_model_metadata("m").inputs), client_timeout=20)
    assert alone.server.wait(20) < 0


HARMLESS = PAGES["CFG020"].good
KILLS = """import os
import signal
from pathlib import Path

lives = Path({lives!r})
if left := lives.read_text():
    lives.write_text(left[1:])
    os.kill(os.getppid(), signal.SIGKILL)

"""
"""Head of a model that kills its server when it is loaded, once for each letter in a file."""


def test_the_next_example_gets_its_verdict_when_the_server_has_died(start: Start) -> None:
    losses: list[str] = []
    with closing(LastingProver(partial(start, False), losses)) as prover:
        first = prover.shared
        assert prover.prove("a", HARMLESS) == Verdict("")
        assert not losses
        os.kill(first.server.pid, signal.SIGKILL)
        assert prover.prove("b", HARMLESS) == Verdict("")
        assert prover.prove("c", HARMLESS) == Verdict("")
        assert prover.shared is not first
    assert losses
    assert all("exit code -9" in loss for loss in losses)


@pytest.mark.parametrize("kills", [REPEATS, REPEATS + 1])
def test_an_example_that_always_ends_its_server_fails(kills: int, start: Start, tmp_path: Path) -> None:
    lives = tmp_path / "lives"
    lives.write_text("x" * kills)
    model = KILLS.format(lives=str(lives)) + (pages.STOCK / "model.py").read_text()
    deadly = HARMLESS | {"m/1/model.py": pages.Entry("text", model)}
    losses: list[str] = []
    with closing(LastingProver(partial(start, False), losses)) as prover:
        if kills <= REPEATS:
            assert prover.prove("deadly", deadly) == Verdict("")
        else:
            with pytest.raises(AssertionError, match=r"(?s)deadly crashes Triton.* 3 servers.*exit code -9.*\.log"):
                prover.prove("deadly", deadly)
        assert len(losses) == kills
        assert prover.prove("next", HARMLESS) == Verdict("")


def says(template: str, text: str) -> bool:
    """Does the text contain the template, in which `…` stands for anything?"""
    return re.search(".*?".join(map(re.escape, template.split("…"))), text, re.DOTALL) is not None
