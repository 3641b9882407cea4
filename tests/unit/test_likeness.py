"""Which names look like another one: as difflib says, of which little is asked."""

from __future__ import annotations

from difflib import SequenceMatcher, get_close_matches
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotq import likeness
from aiotq.likeness import COMPARED, LONGEST, MOST, closest

if TYPE_CHECKING:
    from collections.abc import Sequence

# Few letters, so that many look alike; and some of more than a byte, and one that nothing can encode.
NAMES = st.text("abc:é日\udc80\N{GRINNING FACE}", min_size=1, max_size=12)
MAIL = [f"shop.tasks.module{number}:send_some_mail_{number}" for number in range(50)]


@given(name=NAMES, names=st.lists(NAMES, max_size=COMPARED, unique=True), cutoff=st.sampled_from([0.6, 0.8]))
def test_of_few_names_those_are_found_that_difflib_finds(name: str, names: list[str], cutoff: float) -> None:
    assert closest(name, names, cutoff=cutoff) == get_close_matches(name, names, n=COMPARED, cutoff=cutoff)


@given(name=NAMES, names=st.lists(NAMES, min_size=COMPARED + 1, max_size=20, unique=True))
def test_of_many_names_none_is_found_that_does_not_look_like_it_to_difflib(name: str, names: list[str]) -> None:
    alike = get_close_matches(name, names, n=len(names), cutoff=0.6)
    found = closest(name, names, cutoff=0.6)
    assert set(found) <= set(alike)
    assert found == sorted(found, key=lambda one: -SequenceMatcher(None, one, name).ratio())


@given(name=NAMES, names=st.lists(NAMES, max_size=20, unique=True))
def test_a_name_looks_like_itself_before_all_others(name: str, names: list[str]) -> None:
    assert closest(name, dict.fromkeys([*names, name]))[0] == name


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("shop.tasks.module7:send_smoe_mail_7", "shop.tasks.module7:send_some_mail_7"),
        ("shop.task.module33:send_some_mail_33", "shop.tasks.module33:send_some_mail_33"),
        ("shop.tasks.module49:send_some_mial_49", "shop.tasks.module49:send_some_mail_49"),
    ],
)
def test_among_many_that_look_alike_the_one_that_was_meant_comes_first(name: str, meant: str) -> None:
    assert closest(name, MAIL)[0] == meant


@pytest.mark.parametrize("name", ["shop.tasks.module7:send_smoe_mails_7", "x" * LONGEST, MAIL[0][::-1], "日" * 40])
def test_whatever_the_name_few_are_compared_in_full(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []

    def counted(word: str, possibilities: Sequence[str], **options: float) -> list[str]:
        compared.extend(possibilities)
        return get_close_matches(word, possibilities, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(likeness, "get_close_matches", counted)
    closest(name, MAIL)
    assert len(compared) <= COMPARED


def test_what_is_very_long_looks_like_nothing_and_nothing_like_it() -> None:
    assert closest("a" * (LONGEST + 1), ["a" * LONGEST]) == []
    assert closest("a" * LONGEST, ["a" * (LONGEST + 1)]) == []
    assert closest("a" * LONGEST, ["a" * LONGEST]) == ["a" * LONGEST]
    assert closest("a", []) == []


def test_of_very_many_names_the_first_are_looked_at() -> None:
    names = [f"t{number}" for number in range(MOST)]
    assert closest("a_name", [*names, "a_name"]) == []
    assert closest("a_name", [*names[1:], "a_name"]) == ["a_name"]
