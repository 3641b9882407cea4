"""What is kept of an act."""

from __future__ import annotations

import json

import pytest

from aiotq.inspection import audit


def kept(entry: bytes, at: str = "1795439224123") -> bytes:
    """As the script keeps it."""
    return b'{"at":' + at.encode() + b"," + entry


def test_an_entry_says_when_who_what_and_what_came_of_it() -> None:
    found = audit.parse(kept(audit.entry(by="ada@host", action="retry", subject="j1", came_to="done", stamp="a1b2")))

    assert found is not None
    assert (found.by, found.action, found.subject, found.came_to) == ("ada@host", "retry", "j1", "done")
    assert found.at.isoformat() == "2026-11-23T13:07:04.123000+00:00"


@pytest.mark.parametrize("text", ["x" * 9_000, '"' * 9_000, "\0" * 9_000, "é" * 9_000, "🙂" * 9_000, "\\" * 500, ""])
def test_an_entry_takes_no_more_than_a_kibibyte_whatever_is_in_it(text: str) -> None:
    entry = kept(audit.entry(by=text, action=text, subject=text, came_to=text, stamp="a1b2"))

    assert len(entry) <= 1_024
    found = audit.parse(entry)
    assert found is not None
    assert len(found.by) <= 100
    assert all(part.isprintable() for part in (found.by, found.action, found.subject, found.came_to))


def test_what_can_not_be_seen_is_escaped() -> None:
    entry = audit.entry(by="a\nb\x1b[31m", action="x", subject="\u202e", came_to="Zoë", stamp="a1b2")

    found = json.loads(b"{" + entry)
    assert list(found.values()) == ["a\\nb\\x1b[31m", "x", "\\u202e", "Zoë", "a1b2"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"[]",
        b"{}",
        b'{"at":"x"}',
        b'{"at":1e400}',
        b'{"at":1,"by":7}',
        b'{"at":-1e300}',
        b"\xff",
        b"[" * 9_999,
    ],
)
def test_what_is_no_entry_is_none(data: bytes) -> None:
    assert audit.parse(data) is None
