"""Values as a person reads them on a page. All that comes out is escaped, or is text that the template escapes."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from markupsafe import Markup, escape

from aiotq.job import JobStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SHORT_ID = 6  # the first digits of a UUIDv7 are the clock, the last are random
_is_uuid = re.compile(r"[0-9a-f]{32}").fullmatch
_STEPS = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s"))
SYMBOLS: Mapping[JobStatus, str] = {
    JobStatus.SCHEDULED: "◷",
    JobStatus.QUEUED: "≡",
    JobStatus.RUNNING: "▶",
    JobStatus.SUCCEEDED: "✔",
    JobStatus.FAILED: "✖",
    JobStatus.CANCELLED: "⊘",
}


def duration(seconds: float | None) -> str:
    """In at most two units: "3 ms", "1.4 s", "3 m 12 s"; "–" where it is not known."""
    if seconds is None:
        return "–"
    if seconds < 0.9995:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    for size, unit, part_size, part in _STEPS:
        if whole >= size:
            rest = whole % size // part_size
            return f"{whole // size} {unit} {rest} {part}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def bytes_(number: int | None) -> str:
    """As in "1.4 MiB"; "–" where it is not known."""
    if number is None:
        return "–"
    size, unit = float(number), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if size >= 100 or unit == "B" else f"{size:.1f} {unit}"


def number(value: float | None) -> str:
    """As in "1,204" or "0.4"; "–" where it is not known."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 10 else f"{value:,.1f}"


def short(job_id: str) -> str:
    """The part of an id that tells a job from its neighbours; what a person has chosen, longer."""
    return job_id[-SHORT_ID:] if _is_uuid(job_id) else job_id if len(job_id) <= 24 else f"…{job_id[-22:]}"


def instant(at: datetime | None, *, ms: bool = False) -> Markup:
    """A time in UTC; a script adds the local one to its title."""
    if at is None:
        return Markup("–")
    utc = at.astimezone(UTC)
    iso = utc.isoformat(timespec="milliseconds")  # 2026-11-27T15:04:05.678+00:00
    day, clock = iso[:10], iso[11 : 23 if ms else 19]
    # Nothing in it is anybody's text, and a page has hundreds of them: so no Markup.format.
    text = f'<time datetime="{iso}" title="{day} {iso[11:19]} UTC"><span class="date">{day}</span> {clock}</time>'
    return Markup(text)  # noqa: S704


def ago(at: datetime | None, now: datetime) -> str:
    """As in "12 s ago" or "in 3 m"."""
    if at is None:
        return "–"
    passed = (now - at).total_seconds()
    return f"in {duration(-passed)}" if passed < 0 else f"{duration(passed)} ago"


@lru_cache(maxsize=1024)
def badge(status: JobStatus, reason: str | None = None) -> Markup:
    """A state, in its colour and with its symbol, so that the colour says nothing alone."""
    why = Markup(' <span class="reason">{}</span>').format(reason) if reason and reason not in (status, "error") else ""
    return Markup('<span class="badge is-{0}"><span aria-hidden="true">{1}</span> {0}</span>{2}').format(
        status.value, SYMBOLS[status], why
    )


def query(**fields: Any) -> str:
    """A query string of what is not None or empty, with its "?"."""
    given = {name: value for name, value in fields.items() if value not in (None, "")}
    return f"?{urlencode(given)}" if given else ""


def jsonable(value: Any) -> str:
    """JSON for a data attribute, which the template escapes."""
    return json.dumps(value, separators=(",", ":"))


@lru_cache(maxsize=1024)
def wrapped(text: str) -> Markup:
    """A dotted name that may break after its dots and colons."""
    escaped = re.sub(r"([.:/_])", r"\1<wbr>", str(escape(text)))
    return Markup(escaped)  # noqa: S704  it was escaped before the breaks came in


def priorities(by_priority: Mapping[int, int]) -> Sequence[tuple[int, int]]:
    """The priorities that are not empty, the first one first."""
    return sorted(by_priority.items())
