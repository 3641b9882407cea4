"""Pieces of text on the command line."""

from __future__ import annotations

import pytest

from aiotq.cli.text import count, duration, listed, printable, reason, rows, short_id, without_passwords


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 ms"),
        (-1, "0 ms"),
        (0.0032, "3 ms"),
        (0.5021, "502 ms"),
        (0.9994, "999 ms"),
        (0.9999, "1 s"),
        (1.44, "1.4 s"),
        (2.0, "2 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 m"),
        (192, "3 m 12 s"),
        (3_599.7, "1 h"),
        (7_500, "2 h 5 m"),
        (86_400, "1 d"),
        (3 * 86_400 + 4 * 3_600 + 59, "3 d 4 h"),
    ],
)
def test_a_duration_has_at_most_two_units(seconds, shown):
    assert duration(seconds) == shown


def test_one_thing_is_no_plural():
    assert [count(number, "job") for number in (0, 1, 1_204)] == ["0 jobs", "1 job", "1,204 jobs"]


def test_a_long_list_says_how_much_is_left_out():
    assert listed(["a", "b", "c"], limit=3) == "a, b, c"
    assert listed(["a", "b", "c"], limit=2) == "a, b and 1 more"


def test_the_end_of_an_id_is_shown_as_its_beginning_is_the_clock():
    assert short_id("0193a1b2c3d47e6f8a9b0c1d2ea1f9c2") == "a1f9c2"
    assert short_id("o-1") == "o-1"
    assert short_id("order:2026-11-27:17") == "order:2026-11-27:17"
    assert short_id("a" * 100) == "a" * 24


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ünï, ▶ and 漢字", "plain, ünï, ▶ and 漢字"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("tab\tand\xa0space", "tab and space"),
        ("right\u202eto left", "right\\u202eto left"),
        ("lone \ud800", "lone \\ud800"),
    ],
)
def test_what_a_job_says_can_not_steer_the_terminal(text, shown):
    assert printable(text) == shown


def test_rows_keep_their_indentation_and_lose_their_ends():
    assert rows("a\n  b \x1b\n\n") == ["a", "  b \\x1b"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://:secret@host/0", "redis://:***@host/0"),
        ("no redis://me:sec:r@et@host:1 there", "no redis://me:***@host:1 there"),
        ("rediss://host/0?password=secret&db=1", "rediss://host/0?password=***&db=1"),
        ("redis+sentinel://h/jobs?db=1&sentinel_password=secret", "redis+sentinel://h/jobs?db=1&sentinel_password=***"),
        ("the URL 'redis://h?password=sec'ret' is odd", "the URL 'redis://h?password=***' is odd"),
        ('{"url":"redis://h","mail":"a@b"}', '{"url":"redis://h","mail":"a@b"}'),
        ("redis://host/0 and me@example.org", "redis://host/0 and me@example.org"),
        ("no url, me:you@host", "no url, me:you@host"),
    ],
)
def test_passwords_of_urls_are_never_shown(text, shown):
    assert without_passwords(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "connect: no answer from redis://localhost:1 (Error 111 connecting to h:1. No (really).); start one",
            "connection refused",
        ),
        (
            "Error -2 connecting to nosuch:6379. Name or service not known.",
            "name or service not known",
        ),
        ("Error UNKNOWN while writing to socket. Connection lost.", "connection lost"),
        ("Timeout connecting to server", "timeout connecting to server"),
        ("Multiple exceptions: [Errno 111] Connect call failed ('::1', 1), [Errno 111] ...", "connection refused"),
        ("", ""),
    ],
)
def test_the_reason_is_said_in_the_systems_own_words(text, shown):
    assert reason(text) == shown
