"""Instants and lengths of time as a person writes and reads them: "10m", "2026-01-31T12:00", "3 m ago"."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from aiotq.cli.text import duration

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|min|m|h|d|w)", re.IGNORECASE)
_LONGEST_S = 100 * 366 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """An instant, or so long ago: one of them is None."""

    at: datetime | None = None
    before: timedelta | None = None
    text: str = field(default="", compare=False)  # as it was given


def parse(text: str) -> Moment:
    """A length of time ("90s", "1h30m", "2 d") before now, or an instant in ISO 8601; one without a zone is local.

    Raises ValueError that says what is allowed.
    """
    text = text.strip()
    parts = _PART.findall(text)
    if parts and not _PART.sub("", text).strip():
        seconds = sum(float(number) * _UNITS[unit.lower()] for number, unit in parts)
        if seconds <= _LONGEST_S:
            return Moment(before=timedelta(seconds=seconds), text=text)
    else:
        try:
            if text.isascii():  # digits of other scripts are digits to Python
                at = datetime.fromisoformat(text).astimezone(UTC)
                at.astimezone()  # as it is shown: at either end of time there is none
                return Moment(at=at, text=text)
        except (ValueError, OverflowError, OSError):
            pass
    raise ValueError(f"{text[:60]!r} is no time, as in 10m, 2h30m, 3d, 2026-01-31 or 2026-01-31T12:00")


def instant(moment: Moment | None, now: datetime) -> datetime | None:
    """The instant that is meant."""
    if moment is None:
        return None
    return moment.at if moment.before is None else now - moment.before


def ago(at: datetime | None, now: datetime) -> str:
    """How long ago it was, or how soon it will be: "3 m ago", "in 12 s", "now"."""
    if at is None:
        return ""
    seconds = (now - at).total_seconds()
    if abs(seconds) < 0.5:
        return "now"
    return f"{duration(round(seconds))} ago" if seconds > 0 else f"in {duration(round(-seconds))}"


def clock(at: datetime | None, *, now: datetime | None = None, fine: bool = False) -> str:
    """An instant on the clock of whoever reads it; with the date if that is not today's. fine: to the millisecond."""
    if at is None:
        return "?"
    local = at.astimezone()
    shown = f"{local:%H:%M:%S}" + (f".{local.microsecond // 1000:03d}" if fine else "")
    return shown if now is not None and now.astimezone().date() == local.date() else f"{local:%Y-%m-%d} {shown}"
