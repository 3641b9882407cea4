"""How deep lists and objects may be inside each other, and how that is told without parsing."""

from __future__ import annotations

from time import process_time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotq import plain
from aiotq.serializers import Codec
from tests.unit.carried import carried, json_values, nested, one


@pytest.mark.parametrize("of", [list, dict])
def test_64_lists_or_objects_may_be_inside_each_other(of: Any) -> None:
    value = nested(64, of=of)
    assert carried(one(Any), value) == ((value,), {})
    assert carried(one(Any), value=value) == ((), {"value": value})
    codec = Codec(one(Any))
    assert codec.decode_result(codec.encode_result(value)) == value


def test_what_is_wide_or_full_of_brackets_is_not_deep() -> None:
    value = [[[]] * 1_000, "[" * 1_000, '\\"' + "{[" * 1_000, {"[[": [{}] * 100}]
    assert carried(one(Any), value) == ((value,), {})


@given(json_values)
def test_depth_is_counted_as_a_person_would(value: Any) -> None:
    def deep(value: Any) -> int:
        if isinstance(value, dict):
            return 1 + max(map(deep, value.values()), default=0)
        return 1 + max(map(deep, value), default=0) if isinstance(value, list) else 0

    raw = msgspec.json.encode(value)
    assert not plain.is_deeper(raw, deep(value))
    assert not deep(value) or plain.is_deeper(raw, deep(value) - 1)


@pytest.mark.parametrize("length", [10, 65_530, 65_536, 65_537, 200_000])
def test_brackets_in_text_of_any_length_are_no_depth(length: int):
    raw = plain.encode([["[" * length, ['"' * length, "]" * length], "[{" * 100]])
    assert not plain.is_deeper(raw, 3)
    assert plain.is_deeper(raw, 2)


@given(st.lists(st.tuples(st.integers(1, 70), st.integers(1, 5)), min_size=1, max_size=20))
def test_the_deepest_of_many_branches_counts_wherever_it_stands(branches: list[tuple[int, int]]) -> None:
    raw = plain.encode([[nested(depth)] * times for depth, times in branches], within=10)
    most = max(depth for depth, _ in branches) + 2
    assert (plain.is_deeper(raw, most), plain.is_deeper(raw, most - 1)) == (False, True)


@pytest.mark.parametrize("raw", [b"[[]" * 20, b"[]]" * 40, b"[[]" * 21])
def test_what_is_open_at_the_end_is_deeper_than_allowed(raw: bytes) -> None:
    assert plain.is_deeper(raw, 30)


def test_the_depth_of_a_mebibyte_of_brackets_is_soon_known() -> None:
    raw = msgspec.json.encode([nested(50)] * 9_000)
    took: list[float] = []
    for _ in range(3):
        began = process_time()
        assert not plain.is_deeper(raw, 64)
        took.append(process_time() - began)
    assert min(took) < 0.1  # with one pass for each of fifty levels it took 0.2 s
