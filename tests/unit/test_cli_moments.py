"""Instants and lengths of time, as written and as read."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from aiotq.cli.operate.moments import Moment, ago, clock, instant, parse
from tests.unit.overviews import NOW
from tests.unit.overviews import ago as before


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("10m", 600),
        ("2h", 7200),
        ("1h30m", 5400),
        ("90s", 90),
        ("3 d", 259_200),
        ("1.5h", 5400),
        ("500ms", 0.5),
        ("1w", 604_800),
    ],
)
def test_a_length_of_time_is_so_long_before_now(said, seconds):
    assert parse(said) == Moment(before=timedelta(seconds=seconds))
    assert instant(parse(said), NOW) == before(seconds)


@pytest.mark.parametrize(
    ("said", "at"),
    [
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00+02:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ("2026-01-31T12:00", datetime(2026, 1, 31, 12).astimezone()),
        ("2026-01-31", datetime(2026, 1, 31).astimezone()),
    ],
)
def test_an_instant_is_that_of_its_zone_or_of_the_readers(said, at):
    assert parse(said).at == at
    assert instant(parse(said), NOW) == at


@pytest.mark.parametrize(
    "said",
    [
        "",
        "x",
        "10",
        "10x",
        "m",
        "-5m",
        "99999999d",
        "9999-99-99",
        "1h x",
        "\u0661h",
        "\u0662026-01-31",
        "0001-01-01",
        "\x1b[2J",
    ],
)
def test_what_is_neither_is_refused_in_words(said):
    with pytest.raises(ValueError, match="is no time, as in 10m"):
        parse(said)


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone can't be set here")
def test_an_instant_that_can_not_be_shown_here_is_refused_in_words(monkeypatch):
    with monkeypatch.context() as there:
        there.setenv("TZ", "America/New_York")
        time.tzset()
        try:
            with pytest.raises(ValueError, match="is no time, as in 10m"):
                parse("0001-01-01T00:00+00:00")
        finally:
            there.undo()
            time.tzset()


def test_how_long_ago():
    assert ago(before(180), NOW) == "3 m ago"
    assert ago(before(-12), NOW) == "in 12 s"
    assert ago(before(0.2), NOW) == "now"
    assert ago(None, NOW) == ""


def test_a_clock_has_the_date_of_another_day_only():
    assert len(clock(NOW, now=NOW)) == 8
    assert clock(before(86_400), now=NOW).startswith("2026-01-30 ")
    assert clock(NOW, now=NOW, fine=True).endswith(".000")
    assert clock(None) == "?"
