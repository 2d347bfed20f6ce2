"""Our reader of config.pbtxt against the C++ parser inside Triton, where Python's parser is no witness."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from repository_builder.repository import pbtxt
from repository_builder.serving.server import Server, serve
from tests.unit.repository.test_pbtxt import MISTAKES

pytestmark = pytest.mark.server

TEXTS = {
    **{name: case[0] for name, case in MISTAKES.items()},
    "blank after minus": "input { dims: [ - 1 ] }",
    "plus": "max_batch_size: +1",
    "underscore in number": "max_batch_size: 1_000",
    "word after number": "max_batch_size: 1name: 'n'",
    "hexadecimal": "max_batch_size: 0x10",
    "octal": "max_batch_size: 010",
    "zero, then a value": "max_batch_size: 0 max_batch_size: 2",
    "a value, then zero": "max_batch_size: 2 max_batch_size: 0",
    "small f": "sequence_batching { direct { minimum_slot_utilization: 1f } }",
    "point first": "sequence_batching { direct { minimum_slot_utilization: .5 } }",
    "infinite": "sequence_batching { direct { minimum_slot_utilization: -Infinity } }",
    "semicolons": 'name: "n"; max_batch_size: 1;',
    "commas": 'name: "n", max_batch_size: 1,',
    "two commas": 'name: "n",, max_batch_size: 1',
    "angle brackets": 'input < name: "x" >',
    "adjacent strings": "name: \"a\" 'b'",
    "escapes": r'name: "\x41\101\u0041\n"',
    "escape without meaning": r'name: "\q"',
    "empty list": "input [ ]",
    "list of lists": "input [ [ ] ]",
    "colon before message": "dynamic_batching: { }",
    "colon before list": "input: [ { } ]",
    "windows lines": 'name: "n"\r\nmax_batch_size: 1\r\n',
    "form feed": 'name: "n"\fmax_batch_size: 1',
    "number for an enum": "input { data_type: 11 }",
    "unknown number for an enum": "input { data_type: 77 }",
    "short true": "response_cache { enable: t }",
    "one": "response_cache { enable: 1 }",
    "two": "response_cache { enable: 2 }",
    "no text at all": "",
    "Latin-1 in a comment": b"# caf\xe9\nmax_batch_size: 1",
    "extension": "[a.b.c]: 1",
    "message as scalar": "dynamic_batching: 1",
    "scalar as message": "max_batch_size { }",
    "brace and angle": "dynamic_batching { >",
    "key only": 'parameters { key: "a" }',
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("texts") / "repository"
    for number, text in enumerate(TEXTS.values()):
        model = folder / f"m{number}"
        model.mkdir(parents=True)
        (model / "config.pbtxt").write_bytes(text if isinstance(text, bytes) else text.encode())
    with serve(folder, control="explicit", graceful=False) as server:
        yield server


@pytest.mark.parametrize("name", TEXTS)
def test_triton_reads_exactly_what_we_read(name: str, server: Server) -> None:
    model = f"m{list(TEXTS).index(name)}"
    with triton.InferenceServerClient(server.grpc) as client, pytest.raises(InferenceServerException):
        client.load_model(model)  # none is a whole model: the log says how far it came
    lines = [line for line in Path(server.log).read_text(errors="replace").splitlines() if f"'{model}'" in line]
    assert lines
    refused = any("failed to read text proto" in line for line in lines)
    assert refused == bool(pbtxt.scan(TEXTS[name]).reading.flaws), lines
