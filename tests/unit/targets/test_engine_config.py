"""The config that follows from an engine: derived, explained and proven."""

from __future__ import annotations

import pytest

from repository_builder.errors import StageFailed
from repository_builder.repository.pbtxt import emit, parse
from repository_builder.shapes.profile import Profile, Range
from repository_builder.spec.model import ModelSpec
from repository_builder.stages.engine_facts import EngineFacts
from repository_builder.stages.graph import GraphFacts
from repository_builder.targets.engine_config import config
from repository_builder.tensor import Interface, Tensor

IDS = Tensor("ids", "INT64", ("batch", "tokens"))
OUT = Tensor("hidden", "FP32", ("batch", "tokens", 16))


def profile(name: str, batch: tuple[int, int, int], tokens: tuple[int, int, int] = (1, 32, 128)) -> Profile:
    return Profile(name, {"ids": Range(*zip(batch, tokens, strict=True))})


SMALL, LARGE = profile("small", (1, 4, 8)), profile("large", (9, 32, 64))


def derived(profiles=(SMALL, LARGE), *, batched=True, shape_tensors=(), dtype="FP32", capabilities=("8.9",), **spec):
    interface = Interface((IDS,), (OUT,))
    facts = GraphFacts(interface, batched, "by name", 18, 10, {})
    built = EngineFacts(
        "tensorrt", "11.1.0.106", Interface((IDS,), (Tensor("hidden", dtype, OUT.shape),)), frozenset(shape_tensors),
        tuple(profiles), "engine", tuple(capabilities), (), (), {},
    )  # fmt: skip
    wanted = ModelSpec.model_validate({"source": {"onnx": "net.onnx"}, **spec})
    made = config("net", wanted, facts, built, backend="tensorrt", platform="tensorrt_plan")
    text = emit(made.message, comments=made.comments)
    assert parse(text, "config.pbtxt").config == made.message
    return made.message, text


def test_everything_is_derived_from_the_profiles():
    message, text = derived()
    assert (message.backend, message.platform, message.default_model_filename) == (
        "tensorrt", "tensorrt_plan", "model.plan",
    )  # fmt: skip
    assert message.max_batch_size == 64
    assert "max_batch_size: 64  # max of profile large" in text
    (group,) = message.instance_group
    assert list(group.profile) == ["0", "1"]
    assert group.Kind.Name(group.kind) == "KIND_GPU"
    assert list(message.dynamic_batching.preferred_batch_size) == [4, 32, 64]
    assert dict(message.cc_model_filenames) == {"8.9": "model.plan"}
    assert [(w.name, w.batch_size, list(w.inputs["ids"].dims)) for w in message.model_warmup] == [
        ("profile small", 4, [32]),
        ("profile large", 32, [32]),
    ]
    assert message.model_warmup[0].inputs["ids"].zero_data


def test_one_profile_needs_no_preferred_batches():
    message, _ = derived([profile("only", (1, 8, 16))])
    assert not message.dynamic_batching.preferred_batch_size
    assert list(message.instance_group[0].profile) == ["0"]


def test_data_types_are_those_of_the_engine():
    message, _ = derived(dtype="FP16")
    assert message.output[0].data_type == 10


def test_spec_may_cap_the_batch_and_preferred_batches_follow():
    message, text = derived(max_batch_size=16)
    assert message.max_batch_size == 16
    assert list(message.dynamic_batching.preferred_batch_size) == [4, 16]
    assert "max_batch_size of the spec; profile large reaches 64" in text


def test_cuda_graphs_have_exactly_the_corners_at_the_usual_length():
    message, _ = derived(tensorrt={"cuda_graphs": True})
    assert message.optimization.cuda.graphs
    assert [(g.batch_size, list(g.input["ids"].dim)) for g in message.optimization.cuda.graph_spec] == [
        (batch, [32]) for batch in (1, 4, 8, 9, 32, 64)
    ]


def test_no_cuda_graphs_without_batching_or_with_shape_tensors():
    for more in ({"batched": False}, {"shape_tensors": ["ids"]}):
        message, _ = derived(tensorrt={"cuda_graphs": True}, **more)
        assert not message.optimization.HasField("cuda")


def test_without_batching_dims_are_full_shapes():
    message, _ = derived([profile("only", (1, 4, 8))], batched=False)
    assert message.max_batch_size == 0
    assert list(message.input[0].dims) == [-1, -1]
    assert list(message.model_warmup[0].inputs["ids"].dims) == [4, 32]
    assert not message.HasField("dynamic_batching")


def test_shape_tensors_are_marked():
    message, _ = derived(shape_tensors=["ids"])
    assert message.input[0].is_shape_tensor
    assert not message.output[0].is_shape_tensor


def test_context_memory_is_a_parameter_only_when_asked_for():
    assert not derived()[0].parameters
    message, _ = derived(tensorrt={"context_memory": "ON_PROFILE_CHANGE"})
    assert message.parameters["execution_context_allocation_strategy"].string_value == "ON_PROFILE_CHANGE"


@pytest.mark.parametrize(
    ("profiles", "words"),
    [
        ([SMALL, profile("late", (11, 32, 64))], r"no optimization profile fits ids \[9, 1\]"),
        ([SMALL, profile("early", (8, 32, 64))], r"overlap at ids \[8, 1\]"),
        ([SMALL, profile("short", (9, 32, 64), (1, 32, 64))], r"no optimization profile fits ids \[9, 65\]"),
    ],
)
def test_config_that_does_not_agree_with_the_engine_is_never_written(profiles, words):
    with pytest.raises(StageFailed, match=words):
        derived(profiles)
