"""A user's values, checked where they come in. Each error names the parameter, its value and what is allowed."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from aiotq.errors import UsageError
from aiotq.job import PRIORITIES
from aiotq.retry import seconds

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MS = timedelta(milliseconds=1)

QUEUE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
JOB_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
NAMESPACE = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
LONGEST_TASK = 200  # characters of a task's name
TASK = re.compile(rf"[\w.:/-]{{1,{LONGEST_TASK}}}")
SIGNATURE = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,100}")
WORD = re.compile(r"[^\s\x00-\x1f\x7f]{1,255}")


def shown(value: object) -> str:
    """A value as a message shows it: its repr, cut to a line."""
    text = repr(value)
    if len(text) <= 80:
        return text
    if not isinstance(value, str):
        return text[:77] + "..."
    begun = value[:75]
    while len(repr(begun)) > 77:
        begun = begun[:-1]
    return repr(begun) + "..."  # its quotes are closed: where it ends can be told


def milliseconds(parameter: str, value: object, *, zero: bool = False) -> int:
    """A duration in whole milliseconds; one that is more than 0 never becomes 0. Raises UsageError."""
    result = seconds(value, name=parameter, exclusive=not zero)
    return max(1, round(result * 1000)) if result else 0


def instant_ms(parameter: str, value: object) -> int:
    """An aware datetime as Unix milliseconds. Raises UsageError."""
    if not isinstance(value, datetime):
        raise UsageError(
            f"{parameter}={shown(value)} is no instant; "
            "pass an aware datetime, as datetime.now(UTC) + timedelta(hours=1)"
        )
    if value.utcoffset() is None:
        raise UsageError(
            f"{parameter}={value.isoformat()} is a naive datetime, which means another instant on each machine; "
            "pass an aware one, as datetime.now(UTC) + timedelta(hours=1)"
        )
    return (value - EPOCH) // MS


def whole(parameter: str, value: object, *, least: int, most: int | None = None) -> int:
    """An int in `least..most`. Raises UsageError."""
    if isinstance(value, int) and not isinstance(value, bool) and least <= value and (most is None or value <= most):
        return value
    allowed = f"{least} or more" if most is None else f"{least} to {most}"
    raise UsageError(f"{parameter}={shown(value)} is not allowed; pass an int, {allowed}")


def priority(parameter: str, value: object) -> int:
    """A priority. Raises UsageError."""
    if isinstance(value, int) and not isinstance(value, bool) and value in PRIORITIES:
        return value
    raise UsageError(f"{parameter}={shown(value)} is not allowed; pass an int from 0 (first) to 9 (last)")


def queue(parameter: str, value: object) -> str:
    """The name of a queue. Raises UsageError."""
    if isinstance(value, str) and QUEUE.fullmatch(value):
        return value
    raise UsageError(f"{parameter}={shown(value)} is no name of a queue; pass 1 to 64 of A-Z a-z 0-9 _ . -")


def job_id(parameter: str, value: object) -> str:
    """A job's id as a caller may give it. Raises UsageError."""
    if isinstance(value, str) and JOB_ID.fullmatch(value):
        return value
    raise UsageError(f"{parameter}={shown(value)} is no id of a job; pass 1 to 128 of A-Z a-z 0-9 _ . : -")


def flag(parameter: str, value: object) -> bool:
    """A bool. Raises UsageError."""
    if isinstance(value, bool):
        return value
    raise UsageError(f"{parameter}={shown(value)} is not allowed; pass True or False")


def task(parameter: str, value: object) -> str:
    """The name of a task. Raises UsageError."""
    if isinstance(value, str) and TASK.fullmatch(value):
        return value
    raise UsageError(
        f"{parameter}={shown(value)} is no name of a task; pass 1 to {LONGEST_TASK} letters, digits, and _ . : / -"
    )


def word(parameter: str, value: object) -> str:
    """A worker's label. Raises UsageError."""
    if isinstance(value, str) and WORD.fullmatch(value):
        return value
    raise UsageError(f"{parameter}={shown(value)} is not allowed; pass 1 to 255 characters without spaces")


def signature(parameter: str, value: object) -> str:
    """Who acts, as the audit says it. Raises UsageError."""
    if isinstance(value, str) and SIGNATURE.fullmatch(value):
        return value
    raise UsageError(f"{parameter}={shown(value)} is not allowed; pass 1 to 100 printable characters, on one line")


def namespace(parameter: str, value: object) -> str:
    """The word that all keys in the store begin with. Raises UsageError."""
    if isinstance(value, str) and NAMESPACE.fullmatch(value):
        return value
    raise UsageError(f"{parameter}={shown(value)} is no namespace; pass 1 to 64 of A-Z a-z 0-9 _ . : -")
