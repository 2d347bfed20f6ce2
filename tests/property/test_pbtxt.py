"""`emit` and `parse` against each other and against protobuf's own parser."""

import re

from google.protobuf import text_format
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from repository_builder.repository import pbtxt, proto
from tests.property.configs import broken_texts, configs

_RELAXED = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)


@_RELAXED
@given(configs())
def test_the_text_of_a_config_parses_back_to_it(config):
    text = pbtxt.emit(config, header="made by a test")
    by_protobuf = proto.new_config()
    text_format.Parse(text, by_protobuf)
    assert pbtxt.parse(text).config == config == by_protobuf
    assert pbtxt.emit(config, header="made by a test") == text


@_RELAXED
@given(configs(), st.data())
def test_comments_do_not_change_the_message(config, data):
    paths = [name for field, value in config.ListFields() for name in [field.name]]
    comments = data.draw(st.dictionaries(st.sampled_from(paths), st.text(max_size=20), max_size=3)) if paths else {}
    maps = {"parameters", "cc_model_filenames", "metric_tags"}
    comments = {path: words for path, words in comments.items() if path not in maps}
    assert pbtxt.parse(pbtxt.emit(config, comments=comments)).config == config


# What the two parsers of protobuf judge differently; there Triton's (C++) decides: tests/server/test_pbtxt.py
_PYTHON_DIFFERS = re.compile(
    r"\d[\w.]*_|\d+[A-Za-z_]|\w-|-\s|[+-][^0-9.]|-$|[^\S \t\r\n\v\f]|\\[^\n]?|\d\.\d*\.|[\x00-\x08\x0e-\x1f\x7f]|\.[^0-9]|-\."
)


@_RELAXED
@given(broken_texts())
@example("max_batch_size: 0 max_batch_size: 8")
@example("max_batch_size: 8 max_batch_size: 0")
@example("dynamic_batching {} sequence_batching {}")
@example('name: "a" "b"')
@example("input [] output: [{}, <>] dims")
@example("max_batch_size: 0x10; platform: 'x',")
def test_protobuf_accepts_exactly_what_we_accept(text):
    ours = pbtxt.scan(text)
    theirs = proto.new_config()
    try:
        text_format.Parse(text, theirs)
    except (text_format.ParseError, ValueError):  # ValueError: a bug of protobuf's, for "\\U00110000" and the like
        accepted = False
    else:
        accepted = True
    if not _PYTHON_DIFFERS.search(text):
        assert accepted == (not ours.reading.flaws), ours.reading.flaws
    if accepted and not ours.reading.flaws:
        assert theirs == ours.config


@_RELAXED
@given(st.text() | st.binary().map(pbtxt.decode) | st.text("{}[]<>:,;-#\"'\\ \nan1.0e/=xT_", max_size=60))
def test_no_text_makes_the_reader_raise(text):
    parsed = pbtxt.scan(text)
    for flaw in parsed.reading.flaws:
        assert 1 <= flaw.line <= text.count("\n") + 1
        assert flaw.column >= 1
