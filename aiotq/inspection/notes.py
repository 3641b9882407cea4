"""What jobs write, from the store: log lines and progress. Pure; what does not decode, another hand's, is left out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta, Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST = 32 << 10  # bytes of a stored line, whatever escapes its text took
LAST_MS = 253_402_300_799_000  # the last second of the year 9999, that a datetime can hold
Ms = Annotated[int, Meta(ge=0, le=LAST_MS)]
Attempt = Annotated[int, Meta(ge=0, le=1 << 53)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a job says it is."""

    done: float
    of: float | None  # of how much; None: it did not say
    note: str | None
    at: datetime
    attempt: int = 1  # that said so


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A line that a job wrote."""

    at: datetime
    level: str  # "info", "warning", ...
    text: str
    attempt: int


class _Line(Struct, frozen=True, gc=False):
    at: Ms
    text: str
    level: str = "info"
    attempt: Attempt = 1
    k: str = ""


class _Progress(Struct, frozen=True, gc=False):
    at: Ms
    done: float
    of: float | None = None
    note: str | None = None
    attempt: Attempt = 1


_lines = msgspec.json.Decoder(_Line)
_progress = msgspec.json.Decoder(_Progress)


def log_lines(stored: Sequence[bytes], *, since_ms: int) -> tuple[LogLine, ...]:
    """A job's log, the first line first. Where lines have been left out, one says how many.

    stored: as `Store.notes` gives them. since_ms: when the job was enqueued; older ones are another job's.
    """
    lines: list[LogLine] = []
    seen = 0  # how many the job had written by then
    for data in stored:
        try:
            line = _lines.decode(data) if len(data) <= LONGEST else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            line = None
        if line is None or line.at < since_ms:
            continue
        at = datetime.fromtimestamp(line.at / 1000, UTC)
        number = _number(line.k)
        if number is not None:
            if number > seen + 1:
                left = number - seen - 1
                said = f"… {left:,} line{'' if left == 1 else 's'} left out"
                lines.append(LogLine(at=at, level="info", text=said, attempt=line.attempt))
            seen = number
        lines.append(LogLine(at=at, level=line.level, text=line.text, attempt=line.attempt))
    return tuple(lines)


def _number(key: str) -> int | None:
    """Which of all its job's lines it is: the third part of `k`, as aiotq.store.notes describes it."""
    parts = key.split(":", 3)
    number = parts[2] if len(parts) == 4 else ""
    return int(number) if number.isascii() and number.isdigit() and len(number) < 17 else None


def progress(stored: bytes | None, *, since_ms: int = 0) -> Progress | None:
    """How far a job said that it was. since_ms: as `log_lines` has it."""
    if not stored or len(stored) > LONGEST:
        return None
    try:
        found = _progress.decode(stored)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if found.at < since_ms:
        return None
    at = datetime.fromtimestamp(found.at / 1000, UTC)
    return Progress(done=found.done, of=found.of, note=found.note, at=at, attempt=found.attempt)
