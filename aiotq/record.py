"""What the store holds of one job: 19 bytes of header that scripts read, then a JSON document that they never look into.

    1w3Fa_1795439224123{"t":"shop.tasks:send","a":["s-17",40]}
    │││   └ enqueued at: Unix milliseconds by Redis's clock, 13 digits, put in by the script that enqueues
    ││└ generation: a random stamp; the ticket carries the same one. "!" first: the record is larger than LARGE_RECORD
    │└ state: w waiting (scheduled, queued or running), s succeeded, f failed, c cancelled
    └ version of this format

The document leaves out what is as usual; what the call did not set, the worker's registered task decides. Everything
here is pure: a record is read, and the bytes of the one that shall stand after it are returned.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Raw, field

from aiotq.errors import Frame, InvalidRecord, NewerRecord
from aiotq.job import (
    DEFAULT_PRIORITY,
    DEFAULT_QUEUE,
    GENERATION_CHARS,
    LARGE,
    LARGE_RECORD,
    AttemptInfo,
    Cancelled,
    ErrorInfo,
    Failed,
    JobInfo,
    JobStatus,
    Retried,
    Succeeded,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 1
HEADER = 19  # bytes
ENQUEUED_AT = 6  # where the time of enqueuing begins
MAX_ATTEMPTS_KEPT = 10
MAX_PAST_MESSAGE = 500  # characters of an error's text in the history; the last error is kept whole besides
MAX_RAW = 64 << 10  # bytes kept of a record that does not decode

WAITING = "w"
STATES: Mapping[str, JobStatus] = {"s": JobStatus.SUCCEEDED, "f": JobStatus.FAILED, "c": JobStatus.CANCELLED}

NO_ARGS = Raw(b"[]")
NO_KWARGS = Raw(b"{}")
NO_RESULT = Raw(b"")  # `null` is a result

Count = Annotated[int, Meta(ge=0, le=1 << 53)]  # whole numbers that a script's double can hold


class PastAttempt(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An attempt that has ended. Without an error type it succeeded."""

    number: Count
    started_ms: Count
    finished_ms: Count
    worker: str  # its label
    error_type: str | None = None
    error_message: str | None = None


class Line(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A frame of a traceback."""

    file: str
    line: Count
    function: str
    code: str


class Raised(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What the last failed attempt raised, whole."""

    type: str
    message: str
    frames: tuple[Line, ...] = ()


class Unknown(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """That no worker that took the job knew its task: how often, and since when."""

    times: Count
    since_ms: Count


class Document(
    msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True, repr_omit_defaults=True
):
    """The JSON of a record. Times are Unix milliseconds by Redis's clock, durations milliseconds.

    retries, timeout_ms, result_ttl_ms: only if the call gave them; None leaves them to the task.
    """

    task: str = field(name="t")
    args: Raw = field(name="a", default=NO_ARGS)  # a JSON array
    kwargs: Raw = field(name="k", default=NO_KWARGS)  # a JSON object
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


class Record(msgspec.Struct, frozen=True, gc=False):
    """A job's record, decoded."""

    job_id: str
    generation: str
    state: str  # one character of the header
    enqueued_ms: int
    size: int  # bytes, header included
    doc: Document

    @property
    def status(self) -> JobStatus | None:
        """How it ended; None while it waits or runs: only the store knows where."""
        return STATES.get(self.state)

    @property
    def attempt(self) -> int:
        """The number of the attempt that is running, or would run next; 1 is the first."""
        return self.doc.attempt + 1


_HEADER = re.compile(rb"([1-9])([wsfc])([!A-Za-z0-9_-][A-Za-z0-9_-]{3})([0-9]{13})")
_decoder = msgspec.json.Decoder(Document)
_encoder = msgspec.json.Encoder()


# --- making -----------------------------------------------------------------------------------------------------


def generation(random: bytes) -> str:
    """A generation from 4 random bytes, of a record that is not large."""
    return "".join([GENERATION_CHARS[byte & 63] for byte in random])


def sized(generation: str, size: int) -> str:
    """That generation, marked if a record of `size` bytes is too large to come with a claim."""
    return LARGE + generation[1:] if size > LARGE_RECORD else generation


def new(document: Document, *, generation: str) -> tuple[bytes, bytes, str]:
    """A job's first record: what comes before the time of enqueuing, what comes after it, and the generation.

    That is the one passed, marked if the record is large; the ticket has to carry it.
    """
    body = _encoder.encode(document)
    generation = sized(generation, HEADER + len(body))
    return b"1w" + generation.encode(), body, generation


def _bytes(document: Document, *, state: str, generation: str, enqueued_ms: int) -> bytes:
    body = _encoder.encode(document)
    return b"1%b%b%013d%b" % (state.encode(), sized(generation, HEADER + len(body)).encode(), enqueued_ms, body)


# --- reading ----------------------------------------------------------------------------------------------------


def header(data: bytes) -> tuple[int, str, str, int]:
    """Version, state, generation and time of enqueuing (Unix ms) of a record of any version. Raises InvalidRecord."""
    found = _HEADER.match(data)
    if found is None:
        raise InvalidRecord(f"the record begins with {data[:HEADER]!r}; expected 19 bytes as record.py draws them")
    version, state, stamp, enqueued = found.groups()
    return int(version), state.decode(), stamp.decode(), int(enqueued)


def decode(job_id: str, data: bytes) -> Record:
    """Read a record. Raises NewerRecord or InvalidRecord, with what the header says."""
    version, state, stamp, enqueued_ms = header(data)
    if version != VERSION:
        raise NewerRecord(
            f"the record of job {job_id} is of version {version}, and this aiotq reads version {VERSION}; "
            "upgrade this process, or leave the job to a newer worker",
            enqueued_ms=enqueued_ms,
            generation=stamp,
        )
    try:
        doc = _decoder.decode(memoryview(data)[HEADER:])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidRecord(
            f"the record of job {job_id} does not decode: {error}", enqueued_ms=enqueued_ms, generation=stamp
        ) from error
    return Record(job_id, stamp, state, enqueued_ms, len(data), doc)


def expires_at_ms(record: Record) -> int | None:
    """From when on the job must not start; None if it may at any time, as one that has been tried once may."""
    expires_ms = record.doc.expires_ms
    return None if expires_ms is None or record.doc.attempt else record.enqueued_ms + expires_ms


# --- what stands after an outcome -------------------------------------------------------------------------------


def after(
    record: Record,
    outcome: Succeeded | Failed | Retried | Cancelled,
    *,
    generation: str,
    worker: str,
    started_ms: int | None,
    finished_ms: int,
    due_ms: int | None = None,
    lost: int = 0,
) -> bytes:
    """The record that stands after `outcome`. Its bytes 2 to 6 are the generation, marked if it has become large.

    generation: a fresh one. worker: the label. started_ms: None if the job was decided without an attempt (expired,
    unknown, cancelled before its start): then none is used up, and the history says nothing. due_ms: for Retried.
    lost: how often its worker vanished, for an outcome that ends the job. The arguments stay: a person may retry a dead letter.
    """
    doc = record.doc
    if type(outcome) is Retried and not outcome.counts:
        return postponed(record, generation=generation, now_ms=finished_ms, due_ms=due_ms)
    state, result, reason, raw, attempt, history, error = "s", NO_RESULT, None, None, doc.attempt, doc.history, doc.error
    raised: ErrorInfo | None = None
    match outcome:
        case Succeeded():
            result = NO_RESULT if outcome.result is None else Raw(outcome.result)
        case Failed():
            state, raised, reason, raw = "f", outcome.error, outcome.reason, outcome.raw
        case Retried():
            state, raised, lost = WAITING, outcome.error, 0
        case Cancelled():
            state, reason = "c", outcome.reason
    if raised is not None:
        error = _raised(raised)
    if started_ms is not None:
        attempt += 1
        history = _longer(history, _past(attempt, started_ms, finished_ms, worker, raised, reason))
    document = Document(
        task=doc.task,
        args=doc.args,
        kwargs=doc.kwargs,
        queue=doc.queue,
        priority=doc.priority,
        retries=doc.retries,
        timeout_ms=doc.timeout_ms,
        result_ttl_ms=doc.result_ttl_ms,
        delay_ms=doc.delay_ms,
        due_ms=doc.due_ms if due_ms is None else due_ms,
        expires_ms=doc.expires_ms,
        attempt=attempt,
        history=history,
        error=error,
        result=result,
        reason=reason,
        lost=lost,
        finished_ms=finished_ms if started_ms is None else None,
        worker=worker if started_ms is None else None,
        raw=raw if raw is None else raw[:MAX_RAW],
    )
    return _bytes(document, state=state, generation=generation, enqueued_ms=record.enqueued_ms)


def cancelled(record: Record, *, reason: str, generation: str, finished_ms: int, lost: int = 0) -> bytes:
    """The record of a job that was cancelled while no worker held it."""
    doc = msgspec.structs.replace(record.doc, reason=reason, finished_ms=finished_ms, lost=lost, unknown=None)
    return _bytes(doc, state="c", generation=generation, enqueued_ms=record.enqueued_ms)


def postponed(record: Record, *, generation: str, now_ms: int, due_ms: int | None) -> bytes:
    """The record of a job that is put back since this worker does not know its task: counted, no attempt used."""
    past = record.doc.unknown
    unknown = Unknown(1, now_ms) if past is None else Unknown(past.times + 1, past.since_ms)
    doc = msgspec.structs.replace(record.doc, unknown=unknown, due_ms=due_ms)
    return _bytes(doc, state=WAITING, generation=generation, enqueued_ms=record.enqueued_ms)


def regenerated(data: bytes, generation: str) -> bytes:
    """A record of any version as it is, but for the generation in its header (marked if it is large).

    For a record of a newer version, whose document this process must not touch. It has no place to count in: since
    when nobody could read it, its time of enqueuing says (`NewerRecord.enqueued_ms`).
    """
    return data[:2] + sized(generation, len(data)).encode() + data[ENQUEUED_AT:]


def undecodable(
    job_id: str,
    data: bytes,
    *,
    generation: str,
    now_ms: int,
    error: ErrorInfo,
    queue: str = DEFAULT_QUEUE,
    priority: int = DEFAULT_PRIORITY,
    worker: str | None = None,
    lost: int = 0,
) -> bytes:
    """The dead letter of bytes that do not decode: it keeps them, up to 64 KiB.

    queue, priority: what the ticket says. error: what reading it raised. Enqueued at: what the header says if it can
    be read, else now.
    """
    try:
        enqueued_ms = header(data)[3]
    except InvalidRecord:
        enqueued_ms = now_ms
    doc = Document(
        task="(unreadable)",
        queue=queue,
        priority=priority,
        error=_raised(error),
        reason="invalid record",
        finished_ms=now_ms,
        worker=worker,
        lost=lost,
        raw=data[:MAX_RAW],
    )
    return _bytes(doc, state="f", generation=generation, enqueued_ms=enqueued_ms)


def _raised(error: ErrorInfo) -> Raised:
    return Raised(error.type, error.message, tuple(Line(f.file, f.line, f.function, f.code) for f in error.frames))


def _longer(history: tuple[PastAttempt, ...], past: PastAttempt) -> tuple[PastAttempt, ...]:
    return (*history, past)[-MAX_ATTEMPTS_KEPT:] if history else (past,)


def _past(
    number: int, started_ms: int, finished_ms: int, worker: str, raised: ErrorInfo | None, reason: str | None
) -> PastAttempt:
    if raised is not None:
        return PastAttempt(number, started_ms, finished_ms, worker, raised.type, raised.message[:MAX_PAST_MESSAGE])
    if reason is not None:
        return PastAttempt(number, started_ms, finished_ms, worker, "aiotq.errors:JobCancelled", reason)
    return PastAttempt(number, started_ms, finished_ms, worker)


# --- what a person is shown -------------------------------------------------------------------------------------


def info(
    record: Record,
    place_status: JobStatus | None,
    *,
    lost: int = 0,
    worker_label: str | None = None,
    due_ms: int | None = None,
) -> JobInfo:
    """All that is known of a job.

    place_status, lost, worker_label, due_ms: what the store says of where it is (`Place`); they count only for one
    that has not ended. A place of None is then shown as queued: between two places it will be there next.
    """
    doc = record.doc
    status = record.status
    ended = status is not None
    if status is None:
        status = place_status or JobStatus.QUEUED
        finished_ms, worker = None, worker_label
    elif doc.finished_ms is None and doc.history:
        finished_ms, worker = doc.history[-1].finished_ms, doc.history[-1].worker
    else:
        finished_ms, worker = doc.finished_ms, doc.worker
    last = None if doc.error is None else _error(doc.error)
    return JobInfo(
        id=record.job_id,
        task=doc.task,
        queue=doc.queue,
        priority=doc.priority,
        status=status,
        reason=doc.reason,
        arguments={"args": _plain(doc.args, []), "kwargs": _plain(doc.kwargs, {})},
        result=None if doc.result is NO_RESULT else _plain(doc.result, None),
        error=last,
        attempt=doc.attempt + (status is JobStatus.RUNNING),
        attempts=tuple(_attempt(past) for past in doc.history),
        lost=doc.lost if ended else lost,
        enqueued_at=instant(record.enqueued_ms),
        due_at=_due_at(record, None if ended else due_ms),
        started_at=instant(doc.history[-1].started_ms) if doc.history else None,
        finished_at=None if finished_ms is None else instant(finished_ms),
        worker=worker,
    )


def instant(unix_ms: int) -> datetime:
    """Unix milliseconds as an aware datetime in UTC, without a rounding error; one past year 9999 is year 9999."""
    try:
        return _EPOCH + timedelta(milliseconds=unix_ms)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _due_at(record: Record, due_ms: int | None) -> datetime | None:
    doc = record.doc
    if due_ms is not None:
        return instant(due_ms)
    if doc.due_ms is not None:
        return instant(doc.due_ms)
    return None if doc.delay_ms is None else instant(record.enqueued_ms + doc.delay_ms)


def _error(raised: Raised) -> ErrorInfo:
    frames = tuple(Frame(line.file, line.line, line.function, line.code) for line in raised.frames)
    return ErrorInfo(type=raised.type, message=raised.message, frames=frames)


def _attempt(past: PastAttempt) -> AttemptInfo:
    error = None if past.error_type is None else ErrorInfo(type=past.error_type, message=past.error_message or "")
    return AttemptInfo(
        number=past.number,
        started_at=instant(past.started_ms),
        finished_at=instant(past.finished_ms),
        worker=past.worker,
        error=error,
    )


def _plain(raw: Raw, otherwise: Any) -> Any:
    """JSON as plain values; a person who looks at a broken job shall see the rest of it."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return otherwise
