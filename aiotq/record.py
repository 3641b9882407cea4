"""What the store holds of one job: 19 bytes of header that scripts read, then a JSON document that they don't.

    1w3Fa_1795439224123{"t":"shop.tasks:send","a":["s-17",40]}
    │││   └ enqueued at: Unix milliseconds by Redis's clock, 13 digits, put in by the script that enqueues
    ││└ generation: a random stamp; the ticket carries the same one. "!" first: the record is larger than LARGE_RECORD
    │└ state: w waiting (scheduled, queued or running), s succeeded, f failed, c cancelled
    └ version of this format: 2 if the job has headers, which version 1 did not know; else 1

Everything here is pure: a record is read, and the bytes of the one that shall stand after it are returned.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from aiotq.document import (
    LEAST_TTL_MS,
    MOST,
    NO_ARGS,
    NO_KWARGS,
    NO_RESULT,
    Document,
    Line,
    PastAttempt,
    Raised,
    Unknown,
)
from aiotq.errors import InvalidRecord, NewerRecord
from aiotq.job import (
    DEFAULT_PRIORITY,
    DEFAULT_QUEUE,
    GENERATION_CHARS,
    LARGE,
    LARGE_RECORD,
    Cancelled,
    ErrorInfo,
    Failed,
    JobStatus,
    Retried,
    Succeeded,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 2
HEADER = 19  # bytes
ENQUEUED_AT = 6  # where the time of enqueuing begins
MAX_ATTEMPTS_KEPT = 10
MAX_PAST_MESSAGE = 500  # characters of an error's text in the history; the last error is kept whole besides
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
_OURS = re.compile(rb"[12]([wsfc])([!A-Za-z0-9_-][A-Za-z0-9_-]{3})([0-9]{13})")  # that this version reads
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
    return version(document) + b"w" + generation.encode(), body, generation


def version(document: Document) -> bytes:
    """The version of the record: the lowest that knows all of it, so that older workers run what they understand."""
    return b"1" if document.headers is None else b"2"


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
    stamp = sized(generation, HEADER + len(body)).encode()
    return b"%b%b%b%013d%b" % (version(document), state.encode(), stamp, enqueued_ms, body)


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


def with_document(record: Record, document: Document) -> Record:
    """The same record, with another document."""
    return record if document is record.doc else msgspec.structs.replace(record, doc=document)


def again(record: Record, *, generation: str, due_ms: int | None, queue: str | None = None, afresh: bool) -> bytes:
    """The record of a job that a person puts in a line: at once, whenever it would have been due, and known or not.

    due_ms: now, for one that was delayed or begins to wait anew. queue: another one. afresh: it has failed, and its
    attempts begin again; what they came to so far stays in its history, and its last error to be seen.
    """
    changes: dict[str, Any] = {"due_ms": due_ms, "delay_ms": None, "unknown": None}
    if queue is not None:
        changes["queue"] = queue
    if afresh:  # an expiry counts from the time of enqueuing: it would end it at once
        changes |= {"attempt": 0, "expires_ms": None, "reason": None, "finished_ms": None, "worker": None, "lost": 0}
    doc = _lean(msgspec.structs.replace(record.doc, **changes))
    return _bytes(doc, state=WAITING, generation=generation, enqueued_ms=record.enqueued_ms)


def shortest(
    task: str, queue: str, priority: int, *, generation: str, enqueued_ms: int, reason: str, now_ms: int, ttl_ms: int
) -> bytes:
    """All that is kept of a job that a person has thrown away: for late repeats of the request that enqueued it.

    ttl_ms: how long it may be shown; below a minute the record outlives that (see `hidden_from_ms`).
    """
    doc = Document(
        task=task, queue=queue, priority=priority, reason=reason, finished_ms=now_ms, result_ttl_ms=max(1, ttl_ms)
    )
    return _bytes(_lean(doc), state="c", generation=generation, enqueued_ms=enqueued_ms)


def postponed(record: Record, *, generation: str, now_ms: int, due_ms: int | None) -> bytes:
    """The record of a job that is put back since this worker does not know its task: counted, no attempt used."""
    past = record.doc.unknown
    unknown = Unknown(1, now_ms) if past is None else Unknown(min(past.times + 1, MOST), past.since_ms)
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
