"""What `parse` says about every kind of mistake, and where."""

import time

import pytest

from repository_builder.repository import pbtxt, proto

MISTAKES = {
    # text → line, column, field, words of the message
    "unknown field": ("max_batch_size: 1\ninptu { }", 2, 1, "inptu", "did you mean `input`"),
    "unknown field inside": ('input {\n  name: "x"\n  shape: [ 1 ]\n}', 3, 3, "input[0].shape", "no field `shape`"),
    "misspelt enum": ("input { data_type: TYPE_FLOAT32 }", 1, 20, "input[0].data_type", "TYPE_FP32"),
    "enum as a string": ('input { data_type: "TYPE_FP32" }', 1, 20, "input[0].data_type", "quoted"),
    "field twice": ('name: "a"\nname: "b"', 2, 1, "name", "twice"),
    "message twice": ("dynamic_batching { }\ndynamic_batching { }", 2, 1, "dynamic_batching", "twice"),
    "two of a oneof": ("dynamic_batching { }\nsequence_batching { }", 2, 1, "sequence_batching", "dynamic_batching"),
    "unquoted number": ("instance_group { profile: [ 0 ] }", 1, 29, "instance_group[0].profile", "not quoted"),
    "unquoted word": ("name: net", 1, 7, "name", "not quoted"),
    "float for int": ("input { dims: [ 4.0 ] }", 1, 17, "input[0].dims", "whole number"),
    "quoted int": ('max_batch_size: "8"', 1, 17, "max_batch_size", "whole number"),
    "trailing comma": ("input { dims: [ 1, 2, ] }", 1, 21, "input[0].dims", "comma after the last"),
    "missing comma": ("input [ { }\n{ } ]", 2, 1, "input", "no comma"),
    "slashes": ("// a net\nmax_batch_size: 1", 1, 1, "", "comment"),
    "byte order mark": ("\ufeffmax_batch_size: 1", 1, 1, "", "byte order mark"),
    "shouted boolean": (
        "dynamic_batching { preserve_ordering: TRUE }",
        1,
        39,
        "dynamic_batching.preserve_ordering",
        "TRUE",
    ),
    "too large": ("max_batch_size: 2147483648", 1, 17, "max_batch_size", "does not fit"),
    "negative unsigned": (
        "dynamic_batching { max_queue_delay_microseconds: -1 }",
        1,
        50,
        "dynamic_batching.max_queue_delay_microseconds",
        "negative",
    ),
    "equals sign": ("max_batch_size = 8", 1, 16, "max_batch_size", "="),
    "no colon": ("max_batch_size 8", 1, 16, "max_batch_size", "no `:`"),
    "json": ('"max_batch_size": 8', 1, 1, "", "quoted"),
    "unclosed message": ("input {\n", 2, 1, "input[0]", "the file ends"),
    "unclosed list": ("input [ { }", 1, 12, "input", "expected `,` or `]`"),
    "unclosed string": ('name: "net\nmax_batch_size: 1', 1, 7, "name", "not closed"),
    "stray bracket": ("max_batch_size: 1 }", 1, 19, "", "expected a field name"),
    "no-break space": ("max_batch_size:\u00a01", 1, 16, "max_batch_size", "U+00A0"),
    "no value": ("max_batch_size: }", 1, 17, "max_batch_size", "no value"),
    "list for one value": ("max_batch_size: [ 1 ]", 1, 17, "max_batch_size", "not a list"),
    "octal by accident": ("max_batch_size: 08", 1, 17, "max_batch_size", "whole number"),
    "bad escape": (r'name: "C:\models"', 1, 7, "name", "escape"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_has_its_place_and_its_field(case):
    text, line, column, field, words = MISTAKES[case]
    with pytest.raises(pbtxt.PbtxtError) as caught:
        pbtxt.parse(text, "m/config.pbtxt")
    (flaw,) = caught.value.flaws
    assert (flaw.line, flaw.column, flaw.path) == (line, column, field)
    assert words in flaw.message
    assert f"m/config.pbtxt:{line}:{column}" in str(caught.value)


def test_all_mistakes_are_reported_at_once():
    text = 'name: net\nmax_batch_size = 8\ninptu { a: [ { b: "}" } ] }\ninput { dims: [ 1.5, 2, ] data_type: FP32 }\n'
    with pytest.raises(pbtxt.PbtxtError) as caught:
        pbtxt.parse(text)
    assert [flaw.line for flaw in caught.value.flaws] == [1, 2, 3, 4, 4, 4]


def test_fields_of_a_newer_triton_are_kept_apart():
    parsed = pbtxt.parse('name: "n"\nteleport { to: "mars" }\nmax_batch_size: 3', unknown="keep")
    assert parsed.config == proto.new_config(name="n", max_batch_size=3)
    assert [(flaw.line, flaw.path) for flaw in parsed.unknown] == [(2, "teleport")]


def test_the_place_of_every_kind_of_field():
    text = """name: "net"
input [
  { name: "a" },
  { name: "b" dims: [ 1,
      2 ] }
]
parameters { key: "k" value { string_value: "v" } }
parameters: { key: "l" value: { string_value: "w" } }
cc_model_filenames [ { key: "7.5" value: "a.plan" } ]
dynamic_batching { }
"""
    parsed = pbtxt.parse(text)
    lines = {
        "name": 1,
        "input": 3,
        "input[1].name": 4,
        "input[1].dims": 4,
        "input[1].dims[1]": 5,
        'parameters["l"]': 8,
        'parameters["l"].string_value': 8,
        'cc_model_filenames["7.5"]': 9,
        "dynamic_batching.preserve_ordering": 10,
        "max_batch_size": 1,
    }
    assert {path: parsed.line(path) for path in lines} == lines
    assert parsed.has("dynamic_batching")
    assert not parsed.has("max_batch_size")
    assert not parsed.has("dynamic_batching.preserve_ordering")


def test_windows_lines_and_semicolons_are_fine():
    assert pbtxt.parse('name: "n";\r\nmax_batch_size: 2,\r\n').config == proto.new_config(name="n", max_batch_size=2)


def test_bytes_that_are_no_text_matter_in_strings_only():
    assert pbtxt.parse(b'# caf\xe9\nname: "n"').config.name == "n"
    with pytest.raises(pbtxt.PbtxtError, match="UTF-8"):
        pbtxt.parse(b'name: "caf\xe9"')


def test_zeros_that_matter_are_written():
    config = proto.new_config(name="pipe")
    config.ensemble_scheduling.step.add(model_name="a")
    text = pbtxt.emit(config, comments={"max_batch_size": "no batching", "ensemble_scheduling.step[0]": "two\nlines"})
    assert "max_batch_size: 0  # no batching\n" in text
    assert "model_version: 0\n" in text
    assert "# two\n    # lines\n" in text
    assert pbtxt.parse(text).config == config


def test_a_comment_for_a_field_that_is_not_there_is_a_mistake_of_ours():
    with pytest.raises(ValueError, match="input"):
        pbtxt.emit(proto.new_config(), comments={"input[0]": "the image"})


def test_deep_nesting_does_not_exhaust_the_stack():
    (flaw,) = pbtxt.scan("x " + "{ a " * 200_000).reading.flaws[1:]
    assert "the file ends" in flaw.message
    assert pbtxt.scan("x " + "[{" * 100_000 + "}]" * 100_000).unknown


@pytest.mark.slow
def test_ten_megabytes_are_read_in_reasonable_time():
    one = 'input { name: "some_input" data_type: TYPE_FP32 dims: [ 3, 224, 224 ] } # and a comment\n'
    text = one * (10_000_000 // len(one))
    start = time.process_time()
    parsed = pbtxt.parse(text)
    assert time.process_time() - start < 30
    assert parsed.line(f"input[{len(parsed.config.input) - 1}]") == 10_000_000 // len(one)
