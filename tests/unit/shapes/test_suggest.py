"""Profiles chosen from recorded requests."""

from __future__ import annotations

import json

import pytest

from repository_builder.errors import SpecError
from repository_builder.shapes.coverage import faults
from repository_builder.shapes.suggest import read_traffic, suggest
from repository_builder.tensor import Tensor

IMAGE = Tensor("image", "FP32", ("batch", 1, 8, 8))
IDS = Tensor("ids", "INT64", ("batch", "tokens"))
MASK = Tensor("mask", "INT64", ("batch", "tokens"))


def recorded(tmp_path, records):
    path = tmp_path / "requests.jsonl"
    path.write_text("\n".join(map(json.dumps, records)))
    return path


def test_two_bursts_of_batches_give_two_profiles_without_waste(tmp_path):
    path = recorded(tmp_path, [{"image": [1, 1, 8, 8]}] * 90 + [{"image": [32, 1, 8, 8]}] * 10)
    traffic = read_traffic(path, [IMAGE])
    one, two = suggest(traffic, 1), suggest(traffic, 2)
    assert one.waste == pytest.approx(1 - (90 + 320) / 3200)
    assert two.waste == 0
    assert [(p.batch("min"), p.batch("opt"), p.batch("max")) for p in two.profiles] == [(1, 1, 1), (2, 32, 32)]
    assert faults(two.profiles, [IMAGE]) == []


def test_texts_are_split_by_length_where_that_saves_more(tmp_path):
    shapes = [{"ids": [4, length], "mask": [4, length]} for length in (8, 8, 8, 9, 120, 128)]
    traffic = read_traffic(recorded(tmp_path, shapes), [IDS, MASK])
    found = suggest(traffic, 2)
    assert found.axis == "tokens"
    assert [p.shapes["ids"].max for p in found.profiles] == [(4, 9), (4, 128)]
    assert found.requests == (4, 2)
    assert faults(found.profiles, [IDS, MASK]) == []


def test_more_profiles_than_sizes_are_not_invented(tmp_path):
    traffic = read_traffic(recorded(tmp_path, [{"image": [2, 1, 8, 8]}]), [IMAGE])
    assert len(suggest(traffic, 5).profiles) == 1


def test_counts_are_weights(tmp_path):
    path = recorded(tmp_path, [{"shapes": {"image": [3, 1, 8, 8]}, "count": 7}, {"image": [1, 1, 8, 8]}])
    assert read_traffic(path, [IMAGE]).counts == {(3,): 7, (1,): 1}


def test_every_unusable_line_is_reported_with_its_number(tmp_path):
    path = tmp_path / "requests.jsonl"
    path.write_text('{"image": [1, 1, 8, 9]}\nnot json\n{"image": [1, 1]}\n[]\n{"shapes": {}, "count": 0}\n')
    with pytest.raises(SpecError) as caught:
        read_traffic(path, [IMAGE])
    assert [p.where.rpartition(":")[2] for p in caught.value.problems] == ["1", "2", "3", "4", "5"]
    assert "dimension 3 of `image` is 9, expected 8" in caught.value.problems[0].why


def test_nothing_recorded_and_nothing_dynamic_are_refused(tmp_path):
    with pytest.raises(SpecError, match="no request is recorded"):
        read_traffic(recorded(tmp_path, []), [IMAGE])
    with pytest.raises(SpecError, match="no dynamic dimension"):
        read_traffic(recorded(tmp_path, []), [Tensor("a", "FP32", (1, 2))])
    with pytest.raises(SpecError, match="cannot read"):
        read_traffic(tmp_path / "absent", [IMAGE])
