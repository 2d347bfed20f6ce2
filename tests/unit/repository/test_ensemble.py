"""Who feeds whom: core only, pre only, post only, both, spare ends, and what cannot be wired."""

from __future__ import annotations

from typing import Any

import pytest

from repository_builder.errors import SpecError
from repository_builder.repository.ensemble import Pipeline, ensemble
from repository_builder.repository.model_config import Queue, dims, model_config, python_model
from repository_builder.tensor import Interface, Tensor

IMAGE = Tensor("image", "STRING", ("batch", 1))
PIXELS = Tensor("image", "FP32", ("batch", 1, 8, 8))
LOGITS = Tensor("logits", "FP32", ("batch", 10))
LABEL = Tensor("label", "STRING", ("batch", 3))
MASK = Tensor("mask", "INT64", ("batch", "sequence"))
CORE = Interface((PIXELS,), (LOGITS,))
BEFORE = Interface((IMAGE,), (PIXELS,))
AFTER = Interface((LOGITS,), (LABEL,))
MODELS = {"preprocess": "m_preprocess", "core": "m_core", "postprocess": "m_postprocess"}


def steps(pipeline: Pipeline) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
    config = ensemble("m", pipeline, MODELS, 8).message
    return {s.model_name: (dict(s.input_map), dict(s.output_map)) for s in config.ensemble_scheduling.step}


def names(interface: Interface) -> tuple[list[str], list[str]]:
    return [t.name for t in interface.inputs], [t.name for t in interface.outputs]


def test_both_ends() -> None:
    pipeline = Pipeline(CORE, BEFORE, AFTER)
    assert pipeline.public == Interface((IMAGE,), (LABEL,))
    assert steps(pipeline) == {
        "m_preprocess": ({"image": "image"}, {"image": "preprocess_image"}),
        "m_core": ({"image": "preprocess_image"}, {"logits": "core_logits"}),
        "m_postprocess": ({"logits": "core_logits"}, {"label": "label"}),
    }


def test_pre_only_and_post_only() -> None:
    assert Pipeline(CORE, BEFORE).public == Interface((IMAGE,), (LOGITS,))
    assert steps(Pipeline(CORE, BEFORE))["m_core"] == ({"image": "preprocess_image"}, {"logits": "logits"})
    assert Pipeline(CORE, None, AFTER).public == Interface((PIXELS,), (LABEL,))
    assert steps(Pipeline(CORE, None, AFTER))["m_core"] == ({"image": "image"}, {"logits": "core_logits"})


def test_spare_inputs_and_outputs_pass_through() -> None:
    core = Interface((PIXELS, MASK), (LOGITS, Tensor("features", "FP32", ("batch", 64))))
    pipeline = Pipeline(core, BEFORE, AFTER)
    assert names(pipeline.public) == (["image", "mask"], ["label", "features"])
    assert steps(pipeline)["m_core"] == (
        {"image": "preprocess_image", "mask": "mask"},
        {"logits": "core_logits", "features": "features"},
    )


def test_the_postprocessor_may_read_what_the_preprocessor_made_or_the_client_sent() -> None:
    core = Interface((PIXELS, MASK), (LOGITS,))
    after = Interface((LOGITS, MASK), (LABEL,))
    sent = steps(Pipeline(core, BEFORE, after))["m_postprocess"]
    assert sent == ({"logits": "core_logits", "mask": "mask"}, {"label": "label"})
    made = steps(Pipeline(core, Interface((IMAGE,), (PIXELS, MASK)), after))["m_postprocess"]
    assert made == ({"logits": "core_logits", "mask": "preprocess_mask"}, {"label": "label"})


def test_what_nobody_reads_is_not_mapped() -> None:
    before = Interface((IMAGE,), (PIXELS, Tensor("size", "INT32", ("batch", 2))))
    assert steps(Pipeline(CORE, before))["m_preprocess"][1] == {"image": "preprocess_image"}


def test_internal_names_never_meet_public_ones() -> None:
    core = Interface((PIXELS, Tensor("preprocess_image", "FP32", ("batch", 1))), (LOGITS,))
    tensors = Pipeline(core, BEFORE).tensors
    assert tensors["preprocess", "image"] == "preprocess_image_"
    assert len(set(tensors.values())) == len(tensors)


def test_missing_and_doubled_tensors_are_explained() -> None:
    with pytest.raises(SpecError, match="nothing produces `probabilities`"):
        steps(Pipeline(CORE, None, Interface((Tensor("probabilities", "FP32", ("batch", 10)),), (LABEL,))))
    core = Interface((PIXELS,), (LOGITS, LABEL))
    with pytest.raises(SpecError, match="two outputs called `label`"):
        _ = Pipeline(core, None, AFTER).public


@pytest.mark.parametrize(
    ("shape", "batched", "expected"),
    [
        (("batch", 3, "h"), True, [3, -1]),
        (("batch", 3, "h"), False, [-1, 3, -1]),
        ((4, 3), False, [4, 3]),
        (("batch",), True, []),
    ],
)
def test_the_batch_dimension_is_decided_here(shape: Any, batched: bool, expected: list[int]) -> None:
    assert dims(Tensor("x", "FP32", shape), batched=batched) == expected


def test_a_tensor_of_nothing_but_the_batch_gets_a_reshape() -> None:
    config = model_config("m", Interface((Tensor("x", "FP32", ("batch",)),), ()), max_batch_size=4)
    assert list(config.input[0].dims) == [1]
    assert config.input[0].HasField("reshape")
    assert not config.input[0].reshape.shape


def test_limits_of_the_queue_are_the_users_and_unbatched_models_have_no_batcher() -> None:
    queue = Queue(max_queue_delay_us=500, max_queue_size=7, timeout_us=9)
    config = python_model("m", BEFORE, max_batch_size=8, count=2, parameters={}, queue=queue).message
    assert config.dynamic_batching.max_queue_delay_microseconds == 500
    assert config.dynamic_batching.default_queue_policy.max_queue_size == 7
    assert config.dynamic_batching.default_queue_policy.default_timeout_microseconds == 9
    free = python_model("m", BEFORE, max_batch_size=8, count=2, parameters={}, queue=Queue()).message
    assert free.HasField("dynamic_batching")
    assert not free.dynamic_batching.HasField("default_queue_policy"), (
        "any policy makes Triton's batcher stall (BAT008)"
    )
    alone = python_model("m", BEFORE, max_batch_size=0, count=1, parameters={}, queue=queue).message
    assert not alone.HasField("dynamic_batching")
