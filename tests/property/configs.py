"""Hypothesis strategies over the official `ModelConfig`: any message of the type, and texts that are nearly right."""

from __future__ import annotations

import re
from functools import cache

from hypothesis import strategies as st

from repository_builder.repository import proto

_LIMITS = {3: (-(2**63), 2**63 - 1), 4: (0, 2**64 - 1), 5: (-(2**31), 2**31 - 1), 13: (0, 2**32 - 1)}
_NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=6)


def configs():
    """Any `ModelConfig` (nonsense values included: this is about syntax)."""
    return _message(proto.messages().ModelConfig.DESCRIPTOR)


@cache
def _message(descriptor):
    def fill(values):
        message = descriptor._concrete_class()
        for name, value in values.items():
            _set(message, descriptor.fields_by_name[name], value)
        return message

    fields = {each.name: _value(each) for each in descriptor.fields}
    names = st.lists(st.sampled_from(sorted(fields)), max_size=3, unique=True) if fields else st.just([])
    return names.flatmap(lambda chosen: st.fixed_dictionaries({name: fields[name] for name in chosen})).map(fill)


def _value(field):
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        entry = field.message_type.fields_by_name
        return st.dictionaries(_one(entry["key"]), _one(entry["value"]), max_size=2)
    one = _one(field)
    repeated = field.is_repeated if hasattr(field, "is_repeated") else field.label == 3
    return st.lists(one, max_size=3) if repeated else one


def _one(field):
    if field.message_type is not None:
        return st.deferred(lambda: _message(field.message_type))
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    if field.cpp_type == field.CPPTYPE_STRING:
        return _NAMES
    if field.cpp_type == field.CPPTYPE_BOOL:
        return st.booleans()
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return st.floats(allow_nan=False, width=32 if field.cpp_type == field.CPPTYPE_FLOAT else 64)
    return st.integers(*_LIMITS[field.type])


def _set(message, field, value):
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        target = getattr(message, field.name)
        for key, item in value.items():
            if field.message_type.fields_by_name["value"].message_type is not None:
                target[key].CopyFrom(item)
            else:
                target[key] = item
    elif isinstance(value, list):
        getattr(message, field.name).extend(value)
    elif field.message_type is not None:
        getattr(message, field.name).CopyFrom(value)
        getattr(message, field.name).SetInParent()
    else:
        setattr(message, field.name, value)


_PIECE = re.compile(r'\s+|"(?:[^"\\]|\\.)*"|\w+|.', re.DOTALL)
_WORDS = r"""
{ } < > [ ] : , ; - # ' " = / . // true TRUE T 1 0 00 08 0x1F 1.5 1e3 1.5f -1 .5 99999999999999999999 inf nan TYPE_FP32
"x" 'y' "\n" "\400" "\xff" "\u12" "\q"
name dims input max_batch_size dynamic_batching sequence_batching parameters kind key
"""


@st.composite
def broken_texts(draw):
    """A text that `emit` gave, with a few pieces removed, doubled, replaced or inserted."""
    from repository_builder.repository import pbtxt

    pieces = _PIECE.findall(pbtxt.emit(draw(configs())))
    words = st.sampled_from([" ", "\n", *_WORDS.split()])
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(pieces)))
        how = draw(st.sampled_from(["cut", "double", "replace", "insert"]))
        if how == "insert":
            pieces.insert(at, draw(words))
        elif at < len(pieces):
            pieces[at : at + 1] = {"cut": [], "double": [pieces[at]] * 2, "replace": [draw(words)]}[how]
    return "".join(pieces)
