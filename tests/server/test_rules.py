"""The checker's word against the real server's.

Two servers in explicit control (with and without auto-completion) load the examples of all pages; the message of a refused one
comes back from the call, or stands in the log. Backends that are not part of the embedded server (tensorrt, onnxruntime, …) are
stood in for by copies of the Python backend, so that Triton's core runs all of its own checks on such models; what the real
backends check is not shown here.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
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
def verdicts(
    tmp_path_factory: pytest.TempPathFactory, backends: Path
) -> Iterator[dict[tuple[str, str], Future[Verdict]]]:
    """(page, bad or good) → what the server says. Equal examples are tried once."""
    with ExitStack() as stack:
        provers = {}
        for completes in (False, True):
            folder = tmp_path_factory.mktemp("proof") / "repository"
            (folder / "nothing").mkdir(parents=True)
            server = serve(
                folder, control="explicit", auto_complete=completes, extra_args=arguments(backends), graceful=False
            )
            provers[completes] = Prover(stack.enter_context(server))
            (folder / "nothing").rmdir()
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
def alone(tmp_path: Path, backends: Path) -> Iterator[Prover]:
    """A server for an example that it does not survive."""
    folder = tmp_path / "repository"
    (folder / "nothing").mkdir(parents=True)
    with serve(folder, control="explicit", extra_args=arguments(backends), graceful=False) as server:
        (folder / "nothing").rmdir()
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


def says(template: str, text: str) -> bool:
    """Does the text contain the template, in which `…` stands for anything?"""
    return re.search(".*?".join(map(re.escape, template.split("…"))), text, re.DOTALL) is not None
