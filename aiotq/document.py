"""The JSON of a job's record, after its header (record.py): what it may hold, under which short key.

It leaves out what is as usual. What the call did not set, the worker's registered task decides.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Raw, field

from aiotq.job import DEFAULT_PRIORITY, DEFAULT_QUEUE

NO_ARGS = Raw(b"[]")
NO_KWARGS = Raw(b"{}")
NO_RESULT = Raw(b"")  # `null` is a result
LEAST_TTL_MS = 60_000  # a record's, once it has ended: a late repeat of the request that enqueued the job must find it

MOST = 1 << 53  # up to that a script's double holds all whole numbers
Count = Annotated[int, Meta(ge=0, le=MOST)]


class PastAttempt(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """An attempt that has ended. Without an error type it succeeded."""

    number: Count
    started_ms: Count
    finished_ms: Count
    worker: str  # its label
    error_type: str | None = None
    error_message: str | None = None


class Line(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """A frame of a traceback."""

    file: str
    line: Count
    function: str
    code: str


class Raised(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """What the last failed attempt raised, whole."""

    type: str
    message: str
    frames: tuple[Line, ...] = ()


class Unknown(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """That no worker that took the job knew its task: how often, and since when."""

    times: Count
    since_ms: Count


class Document(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    kw_only=True,
    repr_omit_defaults=True,
    gc=False,  # it holds no cycle
):
    """The JSON of a record. Times are Unix milliseconds by Redis's clock, durations milliseconds.

    retries, timeout_ms, result_ttl_ms: only if the call gave them; None leaves them to the task.
    """

    task: str = field(name="t")
    args: Raw = field(name="a", default=NO_ARGS)  # a JSON array
    kwargs: Raw = field(name="k", default=NO_KWARGS)  # a JSON object
    headers: dict[str, str] | None = field(name="m", default=None)  # of a record of version 2 only
    queue: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}\Z")] = field(name="q", default=DEFAULT_QUEUE)
    priority: Annotated[int, Meta(ge=0, le=9)] = field(name="p", default=DEFAULT_PRIORITY)
    retries: Count | None = field(name="r", default=None)
    timeout_ms: Count | None = field(name="o", default=None)
    result_ttl_ms: Count | None = field(name="y", default=None)
    delay_ms: Count | None = field(name="d", default=None)  # `countdown`
    due_ms: Count | None = field(name="u", default=None)  # `eta`, or when the next attempt is due
    expires_ms: Count | None = field(name="x", default=None)  # from the time of enqueuing
    attempt: Count = field(name="n", default=0)  # attempts used so far; the running one is this + 1
    history: tuple[PastAttempt, ...] = field(name="h", default=())  # the last 10 attempts that have ended
    error: Raised | None = field(name="e", default=None)  # of the last attempt that failed
    unknown: Unknown | None = field(name="w", default=None)
    # Only once it has ended:
    result: Raw = field(name="v", default=NO_RESULT)
    reason: str | None = field(name="z", default=None)
    lost: Count = field(name="l", default=0)  # how often its worker vanished
    finished_ms: Count | None = field(name="f", default=None)  # only if no attempt ended it; else the history says it
    worker: str | None = field(name="b", default=None)  # ... likewise
    raw: bytes | None = field(name="g", default=None)  # of a record that does not decode: its first 64 KiB
    signature: str | None = field(name="s", default=None)  # the last member; signing.py puts it there and takes it away


def outliving(document: Document, ttl_ms: int) -> tuple[Document, int]:
    """Of a record that is about to end, its document and its TTL.

    Where it has to stay for longer than it may be shown, it says itself when it may be shown no more.
    """
    if ttl_ms >= LEAST_TTL_MS:
        return document, ttl_ms
    return msgspec.structs.replace(document, result_ttl_ms=max(1, ttl_ms)), LEAST_TTL_MS
