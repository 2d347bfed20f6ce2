"""The examples, built and measured through the running ensembles."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton

from repository_builder.serving.server import Server, serve
from tests.server.kit import executions, infer, infer_all, strings

pytestmark = [pytest.mark.server, pytest.mark.slow]

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Both examples in one repository, built by the command."""
    repository = tmp_path_factory.mktemp("examples") / "model_repository"
    for name in ("digits", "sentence_embedding"):
        command = ["build", str(EXAMPLES / name / "deploy.yaml"), "--output", str(repository)]
        done = subprocess.run(
            [sys.executable, "-m", "repository_builder", *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    with serve(repository, graceful=False) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> triton.InferenceServerClient:
    return triton.InferenceServerClient(server.grpc)


def module(path: Path) -> ModuleType:
    """A script of an example, imported."""
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    assert spec
    assert spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_digits_held_out_accuracy(client: triton.InferenceServerClient) -> None:
    """Held-out digits as PNG files, in requests of one to 64 images, twelve clients at once."""
    heldout = module(EXAMPLES / "digits" / "heldout.py")
    _, (images, labels) = heldout.digits()
    files = [heldout.png(image) for image in images]
    sizes = [1, 5, 64, 3, 17, 2, 33, 1, 8, 40, 6, 50, 64, 20, 7, 9, 30, 60, 30]
    ends = [end for end in np.cumsum(sizes).tolist() if end < len(files)] + [len(files)]
    batches = [files[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def best(batch: list[bytes]) -> list[int]:
        answer = infer(client, "digits", {"image": strings(*batch)})
        assert np.all(np.diff(answer["score"], axis=1) <= 0)
        return [int(label) for label in answer["label"][:, 0]]

    with ThreadPoolExecutor(12) as pool:
        guesses = np.array([guess for answers in pool.map(best, batches) for guess in answers])
    assert len(guesses) == len(labels)
    accuracy = float(np.mean(guesses == labels))
    assert accuracy >= 0.98, accuracy


def test_digits_samples_are_named_by_their_label(client: triton.InferenceServerClient) -> None:
    samples = sorted((EXAMPLES / "digits" / "samples").glob("*.png"))
    answer = infer(client, "digits", {"image": strings(*(path.read_bytes() for path in samples))})
    assert [label.decode() for label in answer["label"][:, 0]] == [path.name[0] for path in samples]


def test_a_broken_image_in_an_ensemble_fails_alone(server: Server) -> None:
    good = (EXAMPLES / "digits" / "samples" / "7_0.png").read_bytes()
    answers = infer_all(server.grpc, "digits", [{"image": strings(good if n != 4 else good[:60])} for n in range(8)])
    assert isinstance(answers[4], str)
    assert "image[0]: broken PNG image" in answers[4]
    assert all(isinstance(answer, dict) and answer["label"][0, 0] == b"7" for n, answer in enumerate(answers) if n != 4)


def sentences() -> tuple[list[str], Any]:
    folder = EXAMPLES / "sentence_embedding"
    with np.load(folder / "reference.npz") as stored:
        return (folder / "sentences.txt").read_text(encoding="utf-8").splitlines(), stored["embeddings"]


def cosine(left: Any, right: Any) -> Any:
    return (left * right).sum(-1) / np.linalg.norm(left, axis=-1) / np.linalg.norm(right, axis=-1)


def test_sentences_in_one_batch_equal_the_packages_own_pipeline(client: triton.InferenceServerClient) -> None:
    """More than 200 sentences of 1 to 256 tokens in one request; all are padded to the longest."""
    texts, reference = sentences()
    assert len(texts) >= 200
    before = executions(client, "sentence_embedding_core")
    batch = {"text": strings(*(text.encode() for text in texts))}
    # A trillion operations: half a minute on two idle cores, more where others work too.
    embedding = infer(client, "sentence_embedding", batch, timeout_s=400)["embedding"]
    items, runs = executions(client, "sentence_embedding_core")
    assert (items - before[0], runs - before[1]) == (len(texts), 1)
    assert embedding.shape == (len(texts), 384)
    assert embedding.dtype == np.float32
    closeness = cosine(embedding, reference)
    assert closeness.min() >= 0.9999, (closeness.min(), texts[closeness.argmin()])


def test_padding_does_not_change_a_vector(client: triton.InferenceServerClient) -> None:
    texts, reference = sentences()
    for index in (0, 40, 90):
        alone = infer(client, "sentence_embedding", {"text": strings(texts[index].encode())})["embedding"][0]
        assert cosine(alone, reference[index]) >= 0.9999


def test_an_empty_text_in_an_ensemble_fails_alone(server: Server) -> None:
    answers = infer_all(
        server.grpc, "sentence_embedding", [{"text": strings(text)} for text in ("a cat", "", "a dog", "rain")]
    )
    assert isinstance(answers[1], str)
    assert "text[0]: the text is empty" in answers[1]
    assert all(isinstance(answers[index], dict) for index in (0, 2, 3))
