"""The Python models in the real embedded server: merging, errors of single items, requested outputs."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from tritonclient.utils import InferenceServerException

from repository_builder.repository import pbtxt
from repository_builder.repository.model_config import Queue, python_model
from repository_builder.repository.python_model import deployed_files
from repository_builder.serving.server import Server, serve
from repository_builder.spec.processors import EmbeddingPool, ImageDecode, Processor, TextTokenize, TopK
from repository_builder.tensor import Interface, Tensor
from tests.server.kit import executions, infer, infer_all, strings

pytestmark = pytest.mark.server

VISION = Interface((Tensor("pixels", "FP32", ("batch", 1, 4, 4)),), (Tensor("logits", "FP32", ("batch", 3)),))
BERT = Interface(
    (Tensor("input_ids", "INT64", ("batch", "tokens")), Tensor("attention_mask", "INT64", ("batch", "tokens"))),
    (Tensor("hidden", "FP32", ("batch", "tokens", 2)),),
)
WAIT = Queue(max_queue_delay_us=300_000)


def png(grey: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (4, 4), grey).save(stream, "PNG")
    return stream.getvalue()


def add(repository: Path, name: str, options: Processor, core: Interface, max_batch_size: int) -> None:
    ports = options.ports(core)
    config = python_model(
        name,
        Interface(ports.inputs, ports.outputs),
        max_batch_size=max_batch_size,
        count=1,
        parameters=options.parameters(core),
        queue=WAIT,
    )
    version = repository / name / "1"
    version.mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(pbtxt.emit(config.message))
    for deployed, source in (deployed_files(options.entry) | options.files()).items():
        shutil.copyfile(source, version / deployed)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("python")
    repository = folder / "repository"
    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "cat": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "t.json"))
    add(repository, "decode", ImageDecode(scale=1.0), VISION, 16)
    add(repository, "decode_unbatched", ImageDecode(scale=1.0), VISION, 0)
    add(repository, "tokenize", TextTokenize(tokenizer=folder / "t.json"), BERT, 16)
    add(repository, "best", TopK(k=2), VISION, 16)
    add(repository, "pool", EmbeddingPool(normalize=False), BERT, 16)
    add(repository, "wrong", TopK(k=2), VISION, 0)
    config = repository / "wrong" / "config.pbtxt"
    config.write_text(config.read_text().replace('"softmax"', '"soft_max"'))
    names = ("decode", "decode_unbatched", "tokenize", "best", "pool")
    wanted = [f"--load-model={name}" for name in names]
    with serve(repository, control="explicit", graceful=False, extra_args=wanted) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> triton.InferenceServerClient:
    return triton.InferenceServerClient(server.grpc)


def test_a_broken_image_among_eight_requests_fails_alone(server: Server, client: triton.InferenceServerClient) -> None:
    before = executions(client, "decode")
    images = [png(10 * number) for number in range(8)]
    images[3] = b"\x89PNG\r\n\x1a\n broken"
    answers = infer_all(server.grpc, "decode", [{"image": strings(image)} for image in images])
    for number, answer in enumerate(answers):
        if number == 3:
            assert isinstance(answer, str)
            assert "image[0]: " in answer
        else:
            assert isinstance(answer, dict), answer
            np.testing.assert_array_equal(answer["pixels"], np.full((1, 1, 4, 4), 10 * number, np.float32))
    assert executions(client, "decode")[1] - before[1] <= 2, "eight waiting requests are one execution, or two"


def test_the_error_names_the_item_of_its_request(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException) as error:
        infer(client, "decode", {"image": strings(png(1), b"", png(2), b"GIF89a")})
    assert error.value.message() == (
        "image[1]: the image is empty (0 bytes); image[3]: not a PNG, JPEG, WEBP image (6 bytes)"
    )


def test_without_batching_the_first_axis_is_still_the_batch(client: triton.InferenceServerClient) -> None:
    pixels = infer(client, "decode_unbatched", {"image": strings(png(7), png(9))})["pixels"]
    assert pixels.shape == (2, 1, 4, 4)
    np.testing.assert_array_equal(pixels[:, 0, 0, 0], [7, 9])
    with pytest.raises(InferenceServerException, match=r"image\[1\]: the image is empty"):
        infer(client, "decode_unbatched", {"image": strings(png(7), b"")})


def test_an_empty_text_among_eight_requests_fails_alone(server: Server, client: triton.InferenceServerClient) -> None:
    before = executions(client, "tokenize")
    texts = ["cat " * (number + 1) for number in range(8)]
    texts[5] = "  "
    answers = infer_all(server.grpc, "tokenize", [{"text": strings(text)} for text in texts])
    assert answers[5] == "text[0]: the text is empty"
    for number, answer in enumerate(answers):
        if number != 5:
            assert isinstance(answer, dict), answer
            assert answer["attention_mask"].sum() == number + 1
            assert answer["input_ids"].dtype == np.int64
            np.testing.assert_array_equal(answer["input_ids"], 2 * answer["attention_mask"])
    assert executions(client, "tokenize")[1] - before[1] <= 2


def test_classes_and_vectors(client: triton.InferenceServerClient) -> None:
    scores = np.array([[0.1, 0.7, 0.2], [3, 1, 2]], np.float32)
    answer = infer(client, "best", {"logits": scores})
    assert answer["label"].tolist() == [[b"1", b"2"], [b"0", b"2"]]
    np.testing.assert_array_equal(answer["class_id"], [[1, 2], [0, 2]])
    np.testing.assert_array_equal(answer["score"], np.array([[0.7, 0.2], [3, 2]], np.float32))
    hidden = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    pooled = infer(client, "pool", {"hidden": hidden, "attention_mask": np.array([[1, 1], [0, 1]])})
    np.testing.assert_array_equal(pooled["embedding"], [[1, 2], [6, 7]])


def test_only_requested_outputs_are_answered(client: triton.InferenceServerClient) -> None:
    assert list(infer(client, "best", {"logits": np.ones((1, 3), np.float32)}, ["score"])) == ["score"]


def test_a_misspelt_parameter_is_refused_when_loading(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException) as refusal:
        client.load_model("wrong")
    assert "unknown parameter `soft_max`; missing parameter `softmax`" in str(refusal.value)
