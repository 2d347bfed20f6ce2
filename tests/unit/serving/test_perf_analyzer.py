"""The load generator: its input file, its report, and telling a real one from the stub."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest

from repository_builder.errors import ServerError
from repository_builder.serving import perf_analyzer
from repository_builder.serving.perf_analyzer import PerfAnalyzer, write_input_data

REPORT = """Concurrency,Inferences/Second,Server Queue,p50 latency,p90 latency,p95 latency,p99 latency
4,3150.06,387,1018,1494,2222,8045
"""


def program(folder: Path, script: str) -> Path:
    path = folder / "perf_analyzer"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_the_empty_stub_of_pip_is_not_taken_for_it(tmp_path: Path) -> None:
    assert not PerfAnalyzer(program(tmp_path, "echo 'Hello from perf-analyzer!'")).works()
    assert not PerfAnalyzer(tmp_path / "missing").works()


def test_a_real_one_on_the_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = program(tmp_path, "echo 'Perf Analyzer Version 2.59.1 (commit abc)'")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert PerfAnalyzer.find() == PerfAnalyzer(real)


def test_each_row_is_an_entry_without_its_batch_dimension(tmp_path: Path) -> None:
    texts = np.empty((2, 1), object)
    texts[:, 0] = [b"\xff\0", "ä"]
    path = tmp_path / "data.json"
    write_input_data(path, {"x": np.arange(6, dtype=np.int64).reshape(2, 3), "text": texts}, batched=True)
    first, second = json.loads(path.read_text())["data"]
    assert first["x"] == {"content": [0, 1, 2], "shape": [3]}
    assert second["x"]["content"] == [3, 4, 5]
    assert b64decode(first["text"]["content"]["b64"]) == b"\x02\0\0\0\xff\0"
    assert b64decode(second["text"]["content"]["b64"]) == b"\x02\0\0\0" + "ä".encode()
    assert first["text"]["shape"] == [1]


def test_an_unbatched_model_has_one_entry(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    write_input_data(path, {"x": np.zeros((2, 3), np.float32)}, batched=False)
    assert [entry["x"]["shape"] for entry in json.loads(path.read_text())["data"]] == [[2, 3]]


def test_the_report_is_read_by_column_names() -> None:
    result = perf_analyzer._parsed(REPORT, "m", 4, 1, "")
    assert (result.inferences_per_s, result.p50_us, result.p99_us) == (3150.06, 1018, 8045)
    assert result.columns["Server Queue"] == 387


def test_no_report_is_an_error_with_what_the_program_said(tmp_path: Path) -> None:
    analyzer = PerfAnalyzer(program(tmp_path, "echo 'error: Failed to init manager inputs: x'; exit 2"))
    with pytest.raises(ServerError, match="could not be measured") as caught:
        analyzer.measure("127.0.0.1:1", "m", concurrency=1, seconds=0.1, input_data=tmp_path / "d.json")
    assert "Failed to init manager inputs: x" in str(caught.value)


def test_windows_without_an_answer_are_made_longer(tmp_path: Path) -> None:
    script = f"""echo "$@" >> {tmp_path}/calls
while [ "$1" != -p ]; do shift; done
[ "$2" -ge 400 ] || {{ echo 'No valid requests recorded within time interval.'; exit 2; }}
printf '{REPORT.replace(chr(10), "!")}' | tr '!' '\n' > "$4" """
    analyzer = PerfAnalyzer(program(tmp_path, script))
    result = analyzer.measure("127.0.0.1:1", "m", concurrency=4, seconds=0.36, input_data=tmp_path / "d.json")
    assert result.p50_us == 1018
    assert len((tmp_path / "calls").read_text().splitlines()) == 2
