"""What a rehearsal changes in a config, and what it leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from repository_builder.errors import RepositoryError
from repository_builder.repository import pbtxt
from repository_builder.serving import rehearsal

TENSORRT = """
name: "net"
backend: "tensorrt"
platform: "tensorrt_plan"
max_batch_size: 8
instance_group [ { kind: KIND_GPU count: 2 gpus: [ 0, 1 ] profile: [ "0", "1" ] } ]
dynamic_batching { max_queue_delay_microseconds: 500 }
optimization { priority: PRIORITY_MAX cuda { graphs: true } }
"""


def test_gpu_settings_go_and_the_rest_stays() -> None:
    text, changes = rehearsal.for_cpu(TENSORRT, Path("config.pbtxt"))
    before, after = pbtxt.parse(TENSORRT).config, pbtxt.parse(text).config
    group = after.instance_group[0]
    assert (group.kind, group.count, list(group.gpus), list(group.profile)) == (group.KIND_CPU, 2, [], [])
    assert not after.optimization.HasField("cuda")
    assert after.optimization.priority == before.optimization.priority
    assert after.dynamic_batching == before.dynamic_batching
    assert (after.backend, after.platform) == ("tensorrt", "tensorrt_plan")
    assert changes == [
        "instance_group[0]: KIND_GPU, gpus [0, 1], profile ['0', '1'] → KIND_CPU",
        "optimization.cuda (CUDA graphs) left out",
    ]


@pytest.mark.parametrize("kind", ["KIND_CPU", "KIND_AUTO", "KIND_MODEL"])
def test_a_config_for_the_cpu_keeps_its_text(kind: str) -> None:
    text = f'backend: "python"  # a comment\ninstance_group {{ kind: {kind} }}\n'
    assert rehearsal.for_cpu(text, Path("config.pbtxt")) == (text, [])


def test_a_copy_leaves_the_repository_alone(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    (repository / "net" / "1").mkdir(parents=True)
    (repository / "net" / "1" / "model.onnx").write_bytes(b"graph")
    (repository / "net" / "config.pbtxt").write_text(TENSORRT)
    (repository / "manifest.json").write_text("{}")
    said: list[str] = []
    copy = rehearsal.mount(repository, tmp_path / "copy", said.append)
    assert (repository / "net" / "config.pbtxt").read_text() == TENSORRT
    assert "KIND_CPU" in (copy / "net" / "config.pbtxt").read_text()
    assert (copy / "net" / "1" / "model.onnx").read_bytes() == b"graph"
    assert said[0] == rehearsal.ANNOUNCEMENT
    assert any(line.startswith("REHEARSAL: net: instance_group[0]") for line in said)


def test_an_unreadable_config_is_an_error_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError) as caught:
        rehearsal.for_cpu("max_batch: 3", tmp_path / "config.pbtxt")
    assert f"{tmp_path / 'config.pbtxt'}:1" in str(caught.value)
