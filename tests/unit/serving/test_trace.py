"""Timelines out of Triton's traces."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from repository_builder.errors import ServerError
from repository_builder.serving.trace import timeline, timeline_file, write_timeline


def stamps(number: int, **times: int) -> list[dict[str, object]]:
    return [{"id": number, "timestamps": [{"name": name, "ns": ns}]} for name, ns in times.items()]


TRACE = [
    {"id": 2, "model_name": "core", "parent_id": 1},
    *stamps(2, REQUEST_START=10_000, QUEUE_START=11_000, COMPUTE_START=15_000, COMPUTE_INPUT_END=16_000),
    *stamps(2, COMPUTE_OUTPUT_START=36_000, COMPUTE_END=37_000, REQUEST_END=38_000),
    {"id": 1, "model_name": "all", "model_version": 1},
    *stamps(1, REQUEST_START=5_000, REQUEST_END=40_000),
]


def test_spans_of_an_ensemble_stand_in_the_row_of_its_request():
    events = {(event["cat"], event["name"]): event for event in timeline(TRACE)}
    assert (events["core", "queue"]["ts"], events["core", "queue"]["dur"]) == (11.0, 4.0)
    assert events["core", "compute"]["dur"] == 20.0
    assert events["all", "all"]["dur"] == 35.0
    assert {event["tid"] for event in events.values()} == {1}


def test_files(tmp_path: Path):
    file = tmp_path / "trace.json"
    file.write_text(json.dumps(TRACE))
    target = write_timeline(file)
    assert target == timeline_file(file) == tmp_path / "trace.timeline.json"
    assert len(json.loads(target.read_text())["traceEvents"]) == 6
    file.write_text("")
    assert json.loads(write_timeline(file).read_text())["traceEvents"] == []
    file.write_text("[{")
    with pytest.raises(ServerError, match="cannot read the trace"):
        write_timeline(file)
