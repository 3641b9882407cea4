"""JSON for people: as msgspec prints it, and no more of it than is shown."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotq.inspection.printing import MOST_TEXT, pretty_json

SCALARS = st.none() | st.booleans() | st.integers(-(1 << 53), 1 << 53) | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


def printed(raw: bytes) -> str:
    return msgspec.json.format(raw, indent=2).decode()


@given(VALUES)
def test_what_is_short_is_printed_whole(value: Any) -> None:
    raw = msgspec.json.encode(value)
    whole = printed(raw)
    assert pretty_json(raw) == (whole[:MOST_TEXT], len(whole) > MOST_TEXT)


@pytest.mark.parametrize(
    "raw",
    [
        b' [ 1 , { } , [ ] , "" ]\n',
        b'{"a": {"b": []}, "c": [{}]}',
        b"-1.50e+3",
        b'"\\u00e9\\""',
        b'["\\\\", "[{,:"]',
        b'[{"a,]":"[{:,"}]',
    ],
)
def test_json_of_another_hand_is_printed_alike(raw: bytes) -> None:
    assert pretty_json(raw) == (printed(raw), False)


def test_bytes_that_are_no_text_are_escaped() -> None:
    assert pretty_json(b'["\xff"]') == ('[\n  "\\xff"\n]', False)


@pytest.mark.parametrize(
    "value",
    [
        [[[]] * 300_000],
        {f"k{number:06}": 1 for number in range(70_000)},
        [0] * 450_000,
        [[[[[[[]]]]]]] * 60_000,
        "x" * 1_000_000,
        "\x01" * 170_000,
        '"\\' * 250_000,
        "\N{GRINNING FACE}" * 250_000,
        ["a, b"] * 150_000,
    ],
    ids=["lists", "keys", "numbers", "depth", "text", "escapes", "quotes", "wide", "texts"],
)
def test_what_is_long_is_cut_and_what_lies_behind_the_cut_costs_nothing(value: Any) -> None:
    raw = msgspec.json.encode(value)
    assert pretty_json(raw) == (printed(raw)[:MOST_TEXT], True)
    took: list[float] = []
    for _ in range(3):
        began = time.process_time()
        pretty_json(raw)
        took.append(time.process_time() - began)
    assert min(took) < 0.1  # to decode some of these takes twice as long
