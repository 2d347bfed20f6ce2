"""Options of pre- and post-processors: what is inferred from the core, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from repository_builder.errors import SpecError
from repository_builder.spec.processors import (
    POSTPROCESSORS,
    PREPROCESSORS,
    EmbeddingPool,
    ImageDecode,
    Processor,
    TextTokenize,
    TopK,
)
from repository_builder.tensor import Interface, Tensor


def core(*inputs: Tensor, outputs: tuple[Tensor, ...] = ()) -> Interface:
    return Interface(inputs, outputs)


def vision(*shape: int | str, dtype: str = "FP32") -> Interface:
    return core(Tensor("pixels", dtype, shape), outputs=(Tensor("logits", "FP32", (shape[0], 10)),))


def bert(dtype: str = "INT64", length: int | str = "sequence") -> Interface:
    names = ("input_ids", "attention_mask", "token_type_ids")
    hidden = Tensor("last_hidden_state", "FP32", ("batch", length, 384))
    return core(*(Tensor(name, dtype, ("batch", length)) for name in names), outputs=(hidden,))


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    path = tmp_path / "some.json"
    path.write_text(json.dumps({"truncation": {"max_length": 128}}))
    return path


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "names.txt"
    path.write_text("\n".join(f"digit {number}" for number in range(10)) + "\n")
    return path


def refused(processor: Processor, interface: Interface) -> str:
    with pytest.raises(SpecError) as caught:
        processor.ports(interface)
    return str(caught.value)


@pytest.mark.parametrize(
    ("shape", "layout", "mode", "size"),
    [
        (("batch", 1, 8, 8), "NCHW", "L", [8, 8]),
        (("batch", 3, 224, 320), "NCHW", "RGB", [224, 320]),
        (("n", 32, 16, 3), "NHWC", "RGB", [32, 16]),
        ((1, 1, 28, 28), "NCHW", "L", [28, 28]),
    ],
)
def test_an_image_core_says_everything(shape: tuple[int | str, ...], layout: str, mode: str, size: list[int]) -> None:
    parameters = {name: json.loads(value) for name, value in ImageDecode().parameters(vision(*shape)).items()}
    assert parameters["layout"] == layout
    assert parameters["mode"] == mode
    assert parameters["size"] == size
    assert parameters["input"] == "pixels"
    assert parameters["dtype"] == "FP32"
    ports = ImageDecode().ports(vision(*shape))
    assert ports.inputs == (Tensor("image", "STRING", (shape[0], 1)),)
    assert ports.outputs == (Tensor("pixels", "FP32", shape),)


def test_dynamic_height_and_width_become_the_size_of_the_spec() -> None:
    ports = ImageDecode(size=(32, 64)).ports(vision("batch", 3, "height", "width"))
    assert ports.outputs[0].shape == ("batch", 3, 32, 64)


@pytest.mark.parametrize(
    ("options", "shape", "text"),
    [
        (ImageDecode(), ("batch", 3, "h", "w"), "set `size: [height, width]`"),
        (ImageDecode(), ("batch", "c", 8, 8), "set `layout: NCHW`"),
        (ImageDecode(layout="NCHW"), ("batch", "c", 8, 8), "set `mode: L`"),
        (ImageDecode(layout="NCHW"), ("batch", 4, 8, 8), "image_decode gives 1 (L) or 3 (RGB) channels"),
        (ImageDecode(), ("batch", 3, 8, 3), "two axes of 1 or 3 channels"),
        (ImageDecode(size=(8, 9)), ("batch", 1, 8, 8), "size is [8, 9] (height, width)"),
        (ImageDecode(mode="RGB"), ("batch", 1, 8, 8), "RGB has 3 channel(s)"),
        (ImageDecode(mean=(1, 2, 3)), ("batch", 1, 8, 8), "three numbers for one channel"),
        (ImageDecode(), ("batch", 8, 8), "the core has 0 x input of rank 4"),
        (ImageDecode(input="pixel"), ("batch", 1, 8, 8), "candidates: `pixels: FP32[batch, 1, 8, 8]`"),
    ],
)
def test_an_image_core_that_does_not_fit_is_refused(
    options: ImageDecode, shape: tuple[int | str, ...], text: str
) -> None:
    message = refused(options, vision(*shape))
    assert text in message
    assert "preprocess.image_decode." in message


def test_two_image_inputs_ask_for_a_choice() -> None:
    two = core(Tensor("left", "FP32", ("b", 3, 8, 8)), Tensor("right", "FP32", ("b", 3, 8, 8)))
    assert "`left: FP32[b, 3, 8, 8]`, `right: FP32[b, 3, 8, 8]`" in refused(ImageDecode(), two)
    assert ImageDecode(input="right").ports(two).outputs[0].name == "right"


def test_uint8_cores_take_pixels_as_they_are() -> None:
    interface = vision("batch", 8, 8, 3, dtype="UINT8")
    assert ImageDecode().parameters(interface)["scale"] == "1.0"
    assert "UINT8 cannot be normalised" in refused(ImageDecode(scale=0.5), interface)
    assert "the data type disagrees" in refused(ImageDecode(), vision("batch", 8, 8, 3, dtype="INT8"))


def test_all_problems_come_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        ImageDecode(size=(4, 4), mode="RGB").ports(vision("batch", 1, 8, 8))
    assert len(caught.value.problems) == 2


def test_tokens_feed_every_input_that_exists(tokenizer: Path) -> None:
    options = TextTokenize(tokenizer=tokenizer)
    ports = options.ports(bert())
    assert ports.inputs == (Tensor("text", "STRING", ("batch", 1)),)
    assert ports.outputs == bert().inputs
    parameters = options.parameters(bert())
    assert parameters["tokenizer"] == '"tokenizer.json"'
    assert parameters["max_length"] == "128", "the tokenizer file's own limit"
    assert options.files() == {"tokenizer.json": tokenizer}


def test_a_lone_integer_input_takes_the_tokens(tokenizer: Path) -> None:
    lone = core(Tensor("tokens", "INT32", ("n", "t")))
    parameters = TextTokenize(tokenizer=tokenizer).parameters(lone)
    assert (parameters["input_ids"], parameters["attention_mask"], parameters["dtype"]) == (
        '"tokens"',
        "null",
        '"INT32"',
    )


def test_a_fixed_length_pads_to_it(tokenizer: Path) -> None:
    options = TextTokenize(tokenizer=tokenizer)
    parameters = options.parameters(bert(length=64))
    assert (parameters["pad_to"], parameters["max_length"]) == ("64", "64")
    assert "max_length is 65, and the core takes 64" in refused(
        TextTokenize(tokenizer=tokenizer, max_length=65), bert(length=64)
    )
    assert "pad_to is 32, and the core takes 64" in refused(
        TextTokenize(tokenizer=tokenizer, pad_to=32), bert(length=64)
    )


def test_token_inputs_that_do_not_fit_are_refused(tokenizer: Path, tmp_path: Path) -> None:
    mixed = core(Tensor("input_ids", "INT64", ("b", "s")), Tensor("attention_mask", "FP32", ("b", "s")))
    assert "all INT64 or all INT32" in refused(TextTokenize(tokenizer=tokenizer), mixed)
    assert "has 0 x integer input of rank 2" in refused(TextTokenize(tokenizer=tokenizer), vision("b", 3, 8, 8))
    assert "there is no file" in refused(TextTokenize(tokenizer=tmp_path / "absent.json"), bert())
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    assert "is not a tokenizer file" in refused(TextTokenize(tokenizer=broken), bert())


def test_top_k_names_the_public_outputs(labels: Path) -> None:
    ports = TopK(k=3, labels=labels).ports(vision("batch", 1, 8, 8))
    assert [str(tensor) for tensor in ports.outputs] == [
        "label: STRING[batch, 3]",
        "score: FP32[batch, 3]",
        "class_id: INT32[batch, 3]",
    ]
    assert [tensor.name for tensor in ports.inputs] == ["logits"]


def test_labels_and_k_are_counted(labels: Path, tmp_path: Path) -> None:
    interface = vision("batch", 1, 8, 8)
    labels.write_text("one\ntwo\n")
    message = refused(TopK(k=11, labels=labels), interface)
    assert "has 2 labels" in message
    assert "10 classes" in message
    assert "k is 11" in message
    assert "there is no file" in refused(TopK(labels=tmp_path / "absent.txt"), interface)
    labels.write_bytes(b"\xff\n" * 10)
    assert "is not UTF-8 text" in refused(TopK(labels=labels), interface)


def test_pooling_takes_the_mask_from_the_core_inputs() -> None:
    ports = EmbeddingPool().ports(bert())
    assert [tensor.name for tensor in ports.inputs] == ["last_hidden_state", "attention_mask"]
    assert str(ports.outputs[0]) == "embedding: FP32[batch, 384]"
    assert [tensor.name for tensor in EmbeddingPool(pooling="cls").ports(bert()).inputs] == ["last_hidden_state"]
    assert "has no input called `mask`" in refused(EmbeddingPool(attention_mask="mask"), bert())


def test_integer_scores_are_refused() -> None:
    interface = core(outputs=(Tensor("classes", "INT64", ("b", 10)),))
    assert "is not one of FP16, FP32, FP64" in refused(TopK(), interface)


@pytest.mark.parametrize("model", [*PREPROCESSORS.values(), *POSTPROCESSORS.values()])
def test_every_option_is_described_and_unknown_ones_are_refused(model: type[Processor]) -> None:
    assert all(field.description for field in model.model_fields.values())
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        model(tokenizer="x", colour="red")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "value", [{"std": 0}, {"scale": float("nan")}, {"size": (0, 8)}, {"pad_value": 256}, {"fit": "fill"}]
)
def test_values_outside_their_range_are_refused(value: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ImageDecode(**value)  # type: ignore[arg-type]


def test_a_file_may_lie_in_an_installed_package(tmp_path: Path) -> None:
    from repository_builder.spec.files import context
    from repository_builder.spec.model import GoldenSpec

    found = GoldenSpec.model_validate({"inputs": "package:pydantic/py.typed"}, context=context(tmp_path)).inputs
    assert found is not None
    assert found.is_absolute()
    assert found.name == "py.typed"
    with pytest.raises(ValidationError, match="no package `no_such_package` is installed"):
        GoldenSpec.model_validate({"inputs": "package:no_such_package/x"}, context=context(tmp_path))
    with pytest.raises(ValidationError, match="does not exist"):
        GoldenSpec.model_validate({"inputs": "package:pydantic/absent"}, context=context(tmp_path))
