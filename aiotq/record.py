"""What the store holds of one job: 19 bytes of header that scripts read, then a JSON document that they don't.

    1w3Fa_1795439224123{"t":"shop.tasks:send","a":["s-17",40]}
    │││   └ enqueued at: Unix milliseconds by Redis's clock, 13 digits, put in by the script that enqueues
    ││└ generation: a random stamp; the ticket carries the same one. "!" first: the record is larger than LARGE_RECORD
    │└ state: w waiting (scheduled, queued or running), s succeeded, f failed, c cancelled
    └ version of this format

Everything here is pure: a record is read, and the bytes of the one that shall stand after it are returned.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from aiotq.document import MOST, NO_ARGS, NO_KWARGS, NO_RESULT, Document, Line, PastAttempt, Raised, Unknown
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
LEAST_TTL_MS = 60_000  # a record's, once it has ended: a late repeat of the request that enqueued the job must find it
MAX_RAW = 64 << 10  # bytes kept of a record that does not decode

WAITING = "w"
STATES: Mapping[str, JobStatus] = {"s": JobStatus.SUCCEEDED, "f": JobStatus.FAILED, "c": JobStatus.CANCELLED}

CANCELLED = "JobCancelled"  # stands in the history for the error of an attempt that was cancelled


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
_OURS = re.compile(rb"1([wsfc])([!A-Za-z0-9_-][A-Za-z0-9_-]{3})([0-9]{13})")  # of this version
_STAMPS = (GENERATION_CHARS * 4).encode()  # a character for each byte
_decoder = msgspec.json.Decoder(Document)
_encoder = msgspec.json.Encoder()


# --- making -----------------------------------------------------------------------------------------------------


def generation(random: bytes) -> str:
    """A generation from 4 random bytes, of a record that is not large."""
    return random.translate(_STAMPS).decode()


def sized(generation: str, size: int) -> str:
    """That generation, marked if a record of `size` bytes is too large to come with a claim."""
    return LARGE + generation[1:] if size > LARGE_RECORD else generation


def new(document: Document, *, generation: str) -> tuple[bytes, bytes, str]:
    """A job's first record: what comes before the time of enqueuing, what comes after it, and the generation.

    That is the one passed, marked if the record is large; the ticket has to carry it.
    """
    body = _encoder.encode(_lean(document))
    generation = sized(generation, HEADER + len(body))
    return b"1w" + generation.encode(), body, generation


def _lean(document: Document) -> Document:
    """What is as usual is left out only if it is the default itself: msgspec compares by identity."""
    usual: dict[str, Any] = {}
    if document.args is not NO_ARGS and len(memoryview(document.args)) == len("[]"):
        usual["args"] = NO_ARGS
    if document.kwargs is not NO_KWARGS and len(memoryview(document.kwargs)) == len("{}"):
        usual["kwargs"] = NO_KWARGS
    if document.queue is not DEFAULT_QUEUE and document.queue == DEFAULT_QUEUE:
        usual["queue"] = DEFAULT_QUEUE
    return msgspec.structs.replace(document, **usual) if usual else document


def _bytes(document: Document, *, state: str, generation: str, enqueued_ms: int) -> bytes:
    if document.signature is not None:  # it was of the record as it had been
        document = msgspec.structs.replace(document, signature=None)
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
    found = _OURS.match(data)
    if found is None:
        version, _, stamp, enqueued_ms = header(data)
        raise NewerRecord(
            f"the record of job {job_id} is of version {version}, and this aiotq reads version {VERSION}; "
            "upgrade this process, or leave the job to a newer worker",
            enqueued_ms=enqueued_ms,
            generation=stamp,
        )
    state, generation, enqueued = found.groups()
    try:
        doc = _decoder.decode(data[HEADER:])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidRecord(
            f"the record of job {job_id} does not decode: {error}; expected what this version of aiotq writes",
            enqueued_ms=int(enqueued),
            generation=generation.decode(),
        ) from error
    return Record(job_id, generation.decode(), state.decode(), int(enqueued), len(data), doc)


def hidden_from_ms(record: Record) -> int | None:
    """From when on an ended job is as good as gone, its record kept only for late repeats; None: never."""
    doc = record.doc
    if record.state not in "sc" or doc.result_ttl_ms is None or doc.result_ttl_ms >= LEAST_TTL_MS:
        return None
    finished_ms = doc.finished_ms if doc.finished_ms is not None or not doc.history else doc.history[-1].finished_ms
    return (finished_ms or 0) + doc.result_ttl_ms


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

    generation: a fresh one for a job that waits again. worker: the label. started_ms: None if it was decided without
    an attempt (expired, unknown, cancelled before its start): then none is used up, and the history says nothing.
    due_ms: for Retried.
    lost: how often its worker vanished, for an outcome that ends the job. Arguments stay: a person may retry it.
    """
    if isinstance(outcome, Retried) and not outcome.counts:
        return postponed(record, generation=generation, now_ms=finished_ms, due_ms=due_ms)
    doc = record.doc
    state, error, changes = _come_to(outcome, due_ms=due_ms, lost=lost)
    if doc.unknown is not None:
        changes["unknown"] = None
    if started_ms is None:
        changes |= {"finished_ms": finished_ms, "worker": worker}
    else:
        changes["attempt"] = number = min(doc.attempt + 1, MOST)
        past = _past(number, started_ms, finished_ms, worker, error)
        changes["history"] = (*doc.history, past)[-MAX_ATTEMPTS_KEPT:] if doc.history else (past,)
    # `replace` of a few fields: a Document made anew from all of them would take four times as long.
    document = msgspec.structs.replace(doc, **changes)
    return _bytes(document, state=state, generation=generation, enqueued_ms=record.enqueued_ms)


def _come_to(
    outcome: Succeeded | Failed | Retried | Cancelled, *, due_ms: int | None, lost: int
) -> tuple[str, ErrorInfo | None, dict[str, Any]]:
    """The state that follows, what the history says of the attempt (None: it succeeded), and the fields that change."""
    match outcome:
        case Succeeded():
            result = NO_RESULT if outcome.result is None else Raw(outcome.result)
            return "s", None, {"lost": lost, "result": result}
        case Retried():
            return WAITING, outcome.error, {"error": _raised(outcome.error), "due_ms": due_ms}
        case Failed():
            return "f", outcome.error, {"error": _raised(outcome.error), "reason": outcome.reason, "lost": lost}
        case _:
            said = ErrorInfo(type=CANCELLED, message=outcome.reason)
            return "c", said, {"reason": outcome.reason, "lost": lost}


def cancelled(record: Record, *, reason: str, generation: str, finished_ms: int, lost: int = 0) -> bytes:
    """The record of a job that was cancelled while no worker held it."""
    doc = msgspec.structs.replace(record.doc, reason=reason, finished_ms=finished_ms, lost=lost, unknown=None)
    return _bytes(doc, state="c", generation=generation, enqueued_ms=record.enqueued_ms)


def postponed(record: Record, *, generation: str, now_ms: int, due_ms: int | None) -> bytes:
    """The record of a job that is put back since this worker does not know its task: counted, no attempt used."""
    past = record.doc.unknown
    unknown = Unknown(1, now_ms) if past is None else Unknown(min(past.times + 1, MOST), past.since_ms)
    doc = msgspec.structs.replace(record.doc, unknown=unknown, due_ms=due_ms)
    return _bytes(doc, state=WAITING, generation=generation, enqueued_ms=record.enqueued_ms)


def outliving(record: Record, ttl_ms: int) -> tuple[Record, int]:
    """A record that is about to end, and its TTL: where it has to stay longer than it may be shown, it says itself when
    it may be shown no more.
    """
    if ttl_ms >= LEAST_TTL_MS:
        return record, ttl_ms
    doc = msgspec.structs.replace(record.doc, result_ttl_ms=max(1, ttl_ms))
    return msgspec.structs.replace(record, doc=doc), LEAST_TTL_MS


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
    error: ErrorInfo | None = None,
    queue: str = DEFAULT_QUEUE,
    priority: int = DEFAULT_PRIORITY,
    worker: str | None = None,
    lost: int = 0,
    reason: str = "invalid record",
) -> bytes:
    """The dead letter of bytes that do not decode: it keeps them, up to 64 KiB.

    queue, priority: what the ticket says. error: what reading it raised. Enqueued at: what the header says if it can
    be read, else now.
    """
    if error is None:
        error = ErrorInfo(type="InvalidRecord", message=f"the record of job {job_id} does not decode")
    try:
        enqueued_ms = header(data)[3]
    except InvalidRecord:
        enqueued_ms = now_ms
    doc = Document(
        task="(unreadable)",
        queue=queue,
        priority=priority,
        error=_raised(error),
        reason=reason,
        finished_ms=now_ms,
        worker=worker,
        lost=lost,
        raw=data[:MAX_RAW],
    )
    return _bytes(doc, state="f", generation=generation, enqueued_ms=enqueued_ms)


def _raised(error: ErrorInfo) -> Raised:
    return Raised(error.type, error.message, tuple(Line(f.file, f.line, f.function, f.code) for f in error.frames))


def _past(number: int, started_ms: int, finished_ms: int, worker: str, error: ErrorInfo | None) -> PastAttempt:
    if error is None:
        return PastAttempt(number, started_ms, finished_ms, worker)
    return PastAttempt(number, started_ms, finished_ms, worker, error.type, error.message[:MAX_PAST_MESSAGE])


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
        attempts=_attempts(record, last),
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


def _attempts(record: Record, last: ErrorInfo | None) -> tuple[AttemptInfo, ...]:
    """The history. The last attempt's error with its frames, if the record's error is that one's."""
    shown: list[AttemptInfo] = []
    for index, past in enumerate(record.doc.history, 1):
        error = None if past.error_type is None else ErrorInfo(type=past.error_type, message=past.error_message or "")
        if error is not None and index == len(record.doc.history) and last is not None and last.type == error.type:
            error = last if last.message.startswith(error.message) else error
        shown.append(
            AttemptInfo(
                number=past.number,
                started_at=instant(past.started_ms),
                finished_at=instant(past.finished_ms),
                worker=past.worker,
                error=error,
            )
        )
    return tuple(shown)


def _plain(raw: Raw, otherwise: Any) -> Any:
    """JSON as plain values; a person who looks at a broken job shall see the rest of it."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return otherwise
