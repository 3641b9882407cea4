"""Small pieces of text, as a person reads them: durations, counts, ids; and other people's text made harmless."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aiotq.ids import short
from aiotq.store import cause

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST_ID = 24  # characters that are shown of an id which a caller has given

_UNITS = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s"))
_PASSWORDS = (
    # No quotes in them, so that a match stays within one string of a line of JSON.
    (re.compile(r"(\w://[^\s:/@\"]*):[^\s/\"]*@"), r"\1:***@"),
    (re.compile(r"([?&]\w*passw\w*=)(?:[^\s&\"']|'(?=\w))*"), r"\1***"),
)


def duration(seconds: float) -> str:
    """A length of time in at most two units: "3 ms", "1.4 s", "32 s", "3 m 12 s", "2 h 5 m", "3 d 4 h"."""
    if seconds < 0.9995:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    for size, unit, part_size, part in _UNITS:
        if whole >= size:
            rest = whole % size // part_size
            return f"{whole // size} {unit} {rest} {part}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def count(number: int, noun: str) -> str:
    """A number with its noun: "1 job", "1,204 jobs"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(words: Sequence[str], limit: int = 12) -> str:
    """The first words, and how many are left out: "a, b and 3 more"."""
    if len(words) <= limit:
        return ", ".join(words)
    return f"{', '.join(words[:limit])} and {len(words) - limit:,} more"


def short_id(job_id: str) -> str:
    """By what a person tells a job from its neighbours, and the commands find it; of a long given id its end.

    That end begins with no "-", if it can be helped: a command would take it for an option.
    """
    shown = short(job_id)
    return printable(shown if len(shown) <= LONGEST_ID else shown[-LONGEST_ID:].lstrip("-") or shown)


def printable(text: str) -> str:
    """Other people's text on one line, with what could steer a terminal shown as its escape."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    if char in "\t\xa0":
        return " "
    if "\udc80" <= char <= "\udcff":  # a byte of the command line that is no text
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")


def rows(text: str) -> list[str]:
    """The lines of other people's text, each one harmless, without empty ones at the end."""
    return [printable(row.rstrip()) for row in text.rstrip().splitlines()]


def without_passwords(text: str) -> str:
    """The same text with *** for the password in every URL."""
    if "://" in text:
        for pattern, shown in _PASSWORDS:
            text = pattern.sub(shown, text)
    return text


_CAUSE = re.compile(r"no answer from \S+ \((.*?)\); ")


def reason(text: str) -> str:
    """Why a server can't be reached, in the system's own words: "connection refused"."""
    found = _CAUSE.search(text)
    return printable(cause(found[1] if found else text))
