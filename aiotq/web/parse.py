"""From what stands in a URL or a form to values, checked. What can't be right is a BadInput that says what is."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from aiotq import checks
from aiotq.inspection.values import JobFilter
from aiotq.job import JobStatus
from aiotq.web.errors import BadInput

LIMITS = (25, 50, 100)
DEFAULT_LIMIT = 50
HOURS = {1: "the last hour", 24: "24 hours", 168: "7 days"}
LONGEST = 200  # characters of a field
LONGEST_CURSOR = 1024
LONGEST_QUERY = 4096
OF_HTMX = "org.htmx."  # what it may add to a URL of its own
LONGEST_PATH = LONGEST_QUERY + 512  # with what can stand before it
_PAST = re.compile(r"([0-9]{1,5}) ?([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Which part of which list."""

    filter: JobFilter
    cursor: str | None
    limit: int
    words: Mapping[str, str]  # the filter as it was given, to be shown and passed on


def once(given: Iterable[tuple[str, str]], names: Collection[str], *, many: Collection[str] = ()) -> dict[str, str]:
    """From pairs to values by name. Raises BadInput for a name that is none of these, or that is given twice.

    many: names that may be given more than once; of these the last one is returned.
    """
    found: dict[str, str] = {}
    for name, text in given:
        if name.startswith(OF_HTMX):
            continue
        if name not in names:
            taken = ", ".join(sorted(names)) or "none"
            raise BadInput(f"{checks.shown(name)} is nothing that is taken here", f"there are {taken}")
        if name in found and name not in many:
            raise BadInput(f"{name}= was given twice, and one was expected", "leave one of them out")
        found[name] = text
    return found


def listing(given: Mapping[str, str], now: datetime) -> Listing:
    """From a query, or the hidden fields of a form. Raises BadInput."""
    words = {field.name: _text(field.name, given[field.name]) for field in fields(JobFilter) if given.get(field.name)}
    return Listing(
        filter=job_filter(words, now),
        cursor=_text("cursor", given["cursor"], LONGEST_CURSOR) if given.get("cursor") else None,
        limit=limit(given.get("limit")),
        words=words,
    )


def job_filter(words: Mapping[str, str], now: datetime) -> JobFilter:
    """From words as in `status=failed`. Raises BadInput."""
    found: dict[str, Any] = {}
    for name, text in words.items():
        match name:
            case "status":
                found[name] = status(text)
            case "queue":
                found[name] = checks.queue("queue", text)
            case "since" | "until":
                found[name] = instant(name, text, now)
            case _:
                found[name] = text
    which = JobFilter(**found)
    if which.since is not None and which.until is not None and which.since > which.until:
        raise BadInput(
            f"since={checks.shown(words['since'])} is after until={checks.shown(words['until'])}: "
            "nothing is between them",
            "since is the earlier one, as in since=2h and until=1h",
        )
    return which


def status(text: str) -> JobStatus:
    """A state. Raises BadInput."""
    try:
        return JobStatus(text)
    except ValueError:
        raise BadInput(f"status={checks.shown(text)} is no state", f"there are {', '.join(JobStatus)}") from None


def instant(name: str, text: str, now: datetime) -> datetime:
    """A time as in "2026-11-27T15:04", in UTC unless it says another, or how long ago, as "15m". Raises BadInput."""
    past = _PAST.fullmatch(text.strip())
    try:
        if past:
            return now - timedelta(**{_UNITS[past[2]]: int(past[1])})
        if not text.isascii():  # digits of other scripts are digits to Python
            raise ValueError(text)
        at = datetime.fromisoformat(text.strip())
        return at.replace(tzinfo=UTC) if at.utcoffset() is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadInput(
            f"{name}={checks.shown(text)} is no time", "2026-11-27T15:04 in UTC, or how long ago, as in 15m, 2h or 1d"
        ) from None


def limit(text: str | None) -> int:
    """How many rows. Raises BadInput."""
    if text is None or text == "":
        return DEFAULT_LIMIT
    if text.isascii() and text.isdecimal() and len(text) < 4 and 1 <= int(text) <= LIMITS[-1]:
        return int(text)
    raise BadInput(f"limit={checks.shown(text)} is no number of rows", f"1 to {LIMITS[-1]} were expected")


def hours(text: str | None) -> int:
    """Over how many hours. Raises BadInput."""
    if text is None or text == "":
        return 1
    if text in {str(known) for known in HOURS}:
        return int(text)
    raise BadInput(f"hours={checks.shown(text)} is not offered", f"there are {', '.join(map(str, HOURS))}")


def next_path(text: str | None, base: str) -> str:
    """Where to go afterwards: a path of this dashboard, and nowhere else. It begins with a slash.

    What can't be one leads to the overview.
    """
    text = text or "/"
    plain = text.isascii() and text.isprintable() and "\\" not in text and len(text) <= LONGEST_PATH
    if not plain or not text.startswith("/") or text.startswith("//"):
        text = "/"
    return base + text


def _text(name: str, text: str, longest: int = LONGEST) -> str:
    if len(text) > longest or not text.isprintable():
        raise BadInput(
            f"{name}={checks.shown(text)} is not allowed", f"up to {longest} printable characters were expected"
        )
    return text
