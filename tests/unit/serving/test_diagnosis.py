"""Reading Triton's log. The lines are real (Triton 2.51); that they appear at all is proven in tests/server."""

from __future__ import annotations

from pathlib import Path

import pytest

from repository_builder.serving import diagnosis

REPOSITORY = Path("/models")
NOISE = [
    'W1120 11:01:59.512512 8005 pinned_memory_manager.cc:273] "Unable to allocate pinned system memory, CUDA driver"',
    'E1120 11:01:59.512658 8005 server.cc:241] "CudaDriverHelper has not been initialized."',
    "Error: Failed to initialize NVML",
]


def line(text: str, level: str = "E", source: str = "model_lifecycle.cc:642") -> str:
    return f'{level}1120 11:07:03.454343 11311 {source}] "{text}"'


def state(*lines: str) -> diagnosis.LoadState:
    result = diagnosis.LoadState()
    for each in lines:
        result.read(each)
    return result


def test_loading_is_followed_per_model() -> None:
    seen = state(
        line("loading: a:1", "I"), line("loading: b:2", "I"), line("successfully loaded 'a'", "I"), line("noise", "I")
    )
    assert seen.loaded == {"a:1"}
    assert str(seen) == "1 of 2 models loaded, loading b:2"
    seen.read(line("failed to load 'b' version 2: Internal: x"))
    assert str(seen) == "1 of 2 models loaded"


def test_endpoints_are_counted() -> None:
    lines = (
        "Started GRPCInferenceService at 127.0.0.1:1",
        "Started HTTPService at 127.0.0.1:2",
        "Started Metrics Service at x",
    )
    assert state(*(line(text, "I") for text in lines)).listening == 3


@pytest.mark.parametrize(
    "text",
    [
        " Failed to preinitialize Python stub: Python model file not found in '/models/m/1/model.py'",
        "  what():  stol",
    ],
)
def test_a_hang_is_known(text: str) -> None:
    assert state(text).hopeless
    assert not state("anything else").hopeless


def test_each_failed_model_is_one_problem() -> None:
    why = r"Internal: ValueError: no labels\n\nAt:\n  /models/a/1/model.py(5): initialize\n"
    no_gpu = "Invalid argument: instance group b_0 of model b has kind KIND_GPU but no GPUs are available"
    failures = (("a", 1, why), ("a", 2, "later"), ("b", 1, no_gpu))
    lines = [line(f"failed to load '{model}' version {version}: {reason}") for model, version, reason in failures]
    found = diagnosis.problems([*NOISE, *lines], REPOSITORY)
    assert [problem.what for problem in found] == ["model `a` did not load", "model `b` did not load"]
    assert found[0].why == "ValueError: no labels\nAt:\n  /models/a/1/model.py(5): initialize"
    assert found[0].where == "/models/a"
    assert "--rehearse" in found[1].fix


def test_protobufs_own_words_are_kept() -> None:
    found = diagnosis.problems(
        [
            "[libprotobuf ERROR /x/text_format.cc:337] Error parsing text-format inference.ModelConfig: 3:10: "
            'Message type "inference.ModelConfig" has no field named "max_batch".',
            line("Poll failed for model directory 'm': failed to read text proto from /models/m/config.pbtxt"),
        ],
        REPOSITORY,
    )
    assert '3:10: Message type "inference.ModelConfig" has no field named "max_batch".' in found[0].why
    assert "triton-repo check" in found[0].fix


def test_an_unknown_end_shows_the_errors_without_the_noise() -> None:
    found = diagnosis.problems(
        [*NOISE, line("something new", source="x.cc:1"), "error: creating server: Internal"], REPOSITORY
    )
    assert found[0].why.splitlines() == [line("something new", source="x.cc:1"), "error: creating server: Internal"]


def test_a_silent_end_shows_the_last_lines() -> None:
    assert diagnosis.problems(["a", "", "b"], REPOSITORY)[0].why == "a\nb"
    assert diagnosis.problems([], REPOSITORY)[0].why == "it wrote no log"


def test_every_cause_names_a_fix_and_formats() -> None:
    for cause in diagnosis.CAUSES:
        groups = dict.fromkeys(cause.pattern.groupindex, "x")
        assert cause.fix
        assert "{" not in cause.why.format(**groups)
