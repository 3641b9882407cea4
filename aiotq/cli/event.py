"""A log record of aiotq as a value: what its `extra` says, typed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from aiotq.cli.text import without_passwords
from aiotq.job import ErrorInfo

# What every LogRecord has; the rest of its attributes are extras.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened, as it was logged. What its event does not have is None."""

    name: str  # "started", "stopped", ...; empty for a record that is no event
    level: int
    message: str
    logger: str = "aiotq"
    job_id: str | None = None
    task: str | None = None
    queue: str | None = None
    attempt: int | None = None
    attempts: int | None = None  # at most this many, the first one included
    waited_ms: float | None = None
    took_ms: float | None = None
    delay_ms: float | None = None
    error: ErrorInfo | str | None = None
    reason: str | None = None
    running: int | None = None  # jobs still running as the worker stops
    grace_s: float | None = None
    tally: Mapping[str, int] | None = None
    up_s: float | None = None
    url: str | None = None
    down_s: float | None = None
    trace: str | None = None  # all frames, as Python prints them


_EXTRAS = tuple(
    field.name for field in fields(Event) if field.name not in {"name", "level", "message", "logger", "trace"}
)


def event_of(record: logging.LogRecord) -> Event:
    """What a record says, without the passwords of URLs."""
    given = vars(record)
    trace = given.get("traceback") or record.exc_text
    if record.exc_info and record.exc_info[0]:
        trace = logging.Formatter().formatException(record.exc_info)
    known = {name: given[name] for name in _EXTRAS if name in given}
    match known.get("error"):
        case ErrorInfo() as error:
            known["error"] = replace(error, message=without_passwords(error.message))
        case str() as text:
            known["error"] = without_passwords(text)
        case _:
            pass
    if isinstance(known.get("url"), str):
        known["url"] = without_passwords(known["url"])
    return Event(
        name=given.get("event") or "",
        level=record.levelno,
        message=without_passwords(record.getMessage()),
        logger=record.name,
        trace=without_passwords(trace) if trace else None,
        **known,
    )


def extras(record: logging.LogRecord) -> dict[str, Any]:
    """What was passed as `extra`."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}
