"""Changed configurations keep what people wrote beside the fields."""

from __future__ import annotations

from pathlib import Path

from repository_builder.repository import pbtxt
from repository_builder.sweep.candidates import for_single_requests, override, setting_of, with_setting
from repository_builder.sweep.pbtxt_edit import edited
from repository_builder.sweep.sample import Setting

TEXT = """# Written by hand.
# Do not touch.

name: "m"
backend: "onnxruntime"
# as large as the
# clients send
max_batch_size: 8

dynamic_batching {
  default_queue_policy {  # bounded, "really" # so
    max_queue_size: 7
  }
}

instance_group [
  {
    kind: KIND_CPU
    count: 1  # one is enough
  }
]

parameters {
  key: "note"
  value {
    string_value: "# no comment"
  }
}
"""
CONFIG = pbtxt.parse(TEXT).config
SETTING = Setting(2, 16, 700, (), 1)


def test_an_unchanged_configuration_keeps_every_comment():
    assert edited(TEXT, Path("c"), CONFIG, {}) == TEXT


def test_changes_and_comments_stand_together():
    text = edited(TEXT, Path("c"), with_setting(CONFIG, SETTING), {"max_batch_size": "sweep", "no.such": "x"})
    assert "max_batch_size: 16  # sweep" in text
    assert "count: 2  # one is enough" in text
    assert text.startswith("# Written by hand.\n# Do not touch.\n")
    assert 'default_queue_policy {  # bounded, "really" # so' in text
    assert setting_of(pbtxt.parse(text).config) == SETTING


def test_a_setting_survives_the_configuration():
    for setting in (SETTING, Setting(1, 8), Setting(4, 32, 100, (8, 32), 3), Setting(2, 1)):
        assert setting_of(with_setting(CONFIG, setting)) == setting


def test_the_override_is_what_the_server_takes():
    from google.protobuf import json_format

    text = override(with_setting(CONFIG, SETTING))
    assert json_format.Parse(text, type(CONFIG)()) == with_setting(CONFIG, SETTING)


def test_an_ensemble_is_opened_for_single_requests_only():
    assert for_single_requests(CONFIG).max_batch_size == 1
    fixed = pbtxt.parse('name: "e" max_batch_size: 0').config
    assert for_single_requests(fixed).max_batch_size == 0
