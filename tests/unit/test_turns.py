"""Quick turns are for as long as somebody asks for them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from aiotq.worker.turns import SHORT_S, Turns

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def usual_s() -> Iterator[float]:
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(0.005)
    yield 0.005
    sys.setswitchinterval(before_s)


def test_the_interval_is_short_until_the_last_one_is_done(usual_s: float) -> None:
    one, other = Turns(), Turns()
    one.quick()
    one.quick()
    other.quick()
    assert sys.getswitchinterval() == pytest.approx(SHORT_S)
    one.usual()
    assert sys.getswitchinterval() == pytest.approx(SHORT_S)
    other.usual()
    other.usual()
    assert sys.getswitchinterval() == pytest.approx(usual_s)


def test_a_shorter_one_of_the_users_stays() -> None:
    sys.setswitchinterval(0.0001)
    turns = Turns()
    turns.quick()
    assert sys.getswitchinterval() == pytest.approx(0.0001)
    turns.usual()
    assert sys.getswitchinterval() == pytest.approx(0.0001)


def test_what_a_user_sets_meanwhile_stays() -> None:
    turns = Turns()
    turns.quick()
    sys.setswitchinterval(0.003)
    turns.usual()
    assert sys.getswitchinterval() == pytest.approx(0.003)
