"""What a person may do to a job, decided: from its record and its place to what the store is told, or why not. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from aiotq import record as records
from aiotq.document import LEAST_TTL_MS, outliving
from aiotq.errors import InvalidRecord
from aiotq.job import DEFAULT_PRIORITY, DEFAULT_QUEUE, SUSPECT, SUSPECT_FROM, JobStatus, line, lines
from aiotq.signing import Signer, looks_signed, unsigned
from aiotq.store.contract import Replacement
from aiotq.store.inspection import Discarding

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiotq.inspection.places import Entry
    from aiotq.record import Record
    from aiotq.store.contract import Place

DISCARDED, PURGED, UNREADABLE = "discarded", "purged", "(unreadable)"
_TASK = re.compile(rb'\A\{"t":"([^"\\]{1,200})"')


class Act(StrEnum):
    """What a person does to one job."""

    RETRY = "retry"
    CANCEL = "cancel"
    DISCARD = "discard"
    PROMOTE = "promote"
    REQUEUE = "requeue"


# In which states jobs are that it can be done to.
STATES: Mapping[Act, tuple[JobStatus, ...]] = {
    Act.RETRY: (JobStatus.FAILED,),
    Act.CANCEL: (JobStatus.SCHEDULED, JobStatus.QUEUED, JobStatus.RUNNING),
    Act.DISCARD: (JobStatus.FAILED, JobStatus.SUCCEEDED, JobStatus.CANCELLED),
    Act.PROMOTE: (JobStatus.SCHEDULED,),
    Act.REQUEUE: (JobStatus.QUEUED, JobStatus.SCHEDULED),
}
# ... and of these those that a person means who says "all" and names no state, if it is not all of them.
USUAL: Mapping[Act, tuple[JobStatus, ...]] = {Act.DISCARD: (JobStatus.FAILED,)}


def states_meant(act: Act, status: JobStatus | None) -> tuple[JobStatus, ...]:
    """In which states the jobs are that an act on all that match is for. status: that was named.

    Empty: it can't be done to a job of that one.
    """
    if status is None:
        return USUAL.get(act, STATES[act])
    return (status,) if status in STATES[act] else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Its worker shall be told to stop it."""

    generation: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """Nothing is to be done. done: since it is as it shall be; else `why` says what forbids it."""

    done: bool
    why: str


Decision: TypeAlias = Replacement | Discarding | Stop | Nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """An act, and what it takes besides the job."""

    act: Act
    generation: str  # of the record that shall stand: a fresh one
    now_ms: int  # Redis's clock
    signer: Signer | None = None
    queue: str | None = None  # of a requeue to another one
    ttl_ms: int = LEAST_TTL_MS  # for how long a cancelled job is kept


def decide(wish: Wish, found: Record, place: Place) -> Decision:
    """What the store is told so that the job of this record, at this place, becomes what a person wants.

    place: of a job that has ended, any. Raises UsageError for a record that is signed, where there are no keys.
    """
    _refuse_unsigned(wish, found)
    match wish.act:
        case Act.RETRY:
            return _retry(wish, found)
        case Act.CANCEL:
            return _cancel(wish, found, place)
        case Act.DISCARD:
            return _discard(wish, found)
        case Act.PROMOTE | Act.REQUEUE:
            return _put(wish, found, place)


def _refuse_unsigned(wish: Wish, found: Record) -> None:
    if wish.signer is None and found.doc.signature is not None:  # where there are keys, it has lost it as it was read
        raise unsigned(found.job_id)


# --- one job ----------------------------------------------------------------------------------------------------------


def _retry(wish: Wish, found: Record) -> Decision:
    doc = found.doc
    if found.state == records.WAITING:
        # Of itself a job has an error and no attempt never: one that failed was put back by a person.
        if doc.error is not None and doc.attempt == 0:
            return Nothing(done=True, why="retried already")
        return Nothing(done=False, why="it has not failed")
    if found.state != "f":
        return Nothing(done=False, why=f"it has {_ended(found)}, and only one that has failed is retried")
    if doc.raw is None:
        stored = records.again(found, generation=wish.generation, due_ms=wish.now_ms, afresh=True)
        return _waiting(found, _signed(found.job_id, stored, wish.signer), queue=doc.queue)
    if len(doc.raw) >= records.MAX_RAW or not _is_waiting(doc.raw):
        return Nothing(done=False, why="its record could not be read, and there is not enough of it left")
    # Its bytes as they were: with the signature that they had, and none of ours.
    return _waiting(found, records.regenerated(doc.raw, wish.generation), queue=doc.queue)


def _is_waiting(raw: bytes) -> bool:
    try:
        return records.header(raw)[1] == records.WAITING
    except InvalidRecord:
        return False


def _cancel(wish: Wish, found: Record, place: Place) -> Decision:
    if found.status is not None:
        if found.doc.reason == "cancelled":
            return Nothing(done=True, why="cancelled already")
        return Nothing(done=False, why=f"it has {_ended(found)}")
    if place.status is JobStatus.RUNNING:
        return Stop(generation=found.generation, lines=_lines(found))
    return cancellation(wish, found, lost=place.lost)


def cancellation(wish: Wish, found: Record, *, lost: int) -> Replacement:
    """The record of a job as cancelled, in the place of one that no worker holds. lost: how often its worker vanished.

    Raises as `decide`.
    """
    _refuse_unsigned(wish, found)
    doc, ttl_ms = outliving(found.doc, wish.ttl_ms)
    stored = records.cancelled(
        records.with_document(found, doc),
        reason="cancelled",
        generation=wish.generation,
        finished_ms=wish.now_ms,
        lost=lost,
    )
    stored = _signed(found.job_id, stored, wish.signer)
    return Replacement(
        job_id=found.job_id,
        generation=found.generation,
        lines=_lines(found),
        record=stored,
        new_generation=records.header(stored)[2],
        ttl_ms=ttl_ms,
    )


def _discard(wish: Wish, found: Record) -> Decision:
    doc = found.doc
    if found.status is None:
        return Nothing(done=False, why="it has not ended; cancel it first")
    if found.state == "c" and doc.reason == DISCARDED:
        return Nothing(done=True, why="discarded already")
    return _discarding(
        wish, found.job_id, found.state + found.generation, found.enqueued_ms, doc.task, doc.queue, doc.priority
    )


def discard_unread(
    wish: Wish, job_id: str, data: bytes, entry: Entry | None = None, *, within: str | None = None
) -> Decision:
    """... of a record that can't be read: newer, broken, or of a stranger. Its header tells whether it has ended.

    entry: where its ticket is, if it waits; None: not found. within: then, where it was looked for; None: everywhere.
    """
    try:
        _, state, generation, enqueued_ms = records.header(data)
    except InvalidRecord:
        return Nothing(done=False, why="it is no record of a job")
    if state == records.WAITING and (entry is None or entry.queue is None or entry.place is None):
        if within is None:
            return Nothing(done=False, why="it has not ended, can't be read, and was found in no queue")
        why = f"it has not ended, can't be read, and was not found in {within}"
        return Nothing(done=False, why=f"{why}; start a worker of the version that wrote it, or purge its queue")
    if entry is not None and entry.status is JobStatus.RUNNING:
        return Nothing(done=False, why=f"it is running on {entry.worker}; let it end, or end that worker")
    if wish.signer is None and looks_signed(data):
        raise unsigned(job_id)
    queue = DEFAULT_QUEUE if entry is None or entry.queue is None else entry.queue
    put = _discarding(wish, job_id, state + generation, enqueued_ms, task_of(data), queue, DEFAULT_PRIORITY)
    if state != records.WAITING or entry is None:
        return put
    # No worker holds it only if none has the ticket in hand: as it lies there, or as that of a suspect.
    return Replacement(
        job_id=job_id,
        generation=generation,
        lines=(f"{queue}:{entry.place}", f"{queue}:{SUSPECT}"),
        record=put.record,
        new_generation=put.new_generation,
        ttl_ms=put.ttl_ms,
    )


def _discarding(
    wish: Wish, job_id: str, was: str, enqueued_ms: int, task: str, queue: str, priority: int
) -> Discarding:
    stored = records.shortest(
        task,
        queue,
        priority,
        generation=wish.generation,
        enqueued_ms=enqueued_ms,
        reason=DISCARDED,
        now_ms=wish.now_ms - 1,  # so that it is not shown from now on
        ttl_ms=1,
    )
    return Discarding(
        job_id=job_id,
        was=was,
        record=_signed(job_id, stored, wish.signer),
        new_generation=wish.generation,
        ttl_ms=LEAST_TTL_MS,
    )


def _put(wish: Wish, found: Record, place: Place) -> Decision:
    """Promote, requeue."""
    doc, requeue = found.doc, wish.act is Act.REQUEUE
    if found.status is not None:
        return Nothing(done=False, why=f"it has {_ended(found)}" + ("; retry it" if found.state == "f" else ""))
    if place.status is JobStatus.RUNNING:
        return Nothing(done=False, why=f"it is running on {place.worker}; cancel it, or let it end")
    if place.status is not JobStatus.SCHEDULED and not requeue:
        return Nothing(done=True, why="it is queued already")
    queue = wish.queue or doc.queue
    if requeue:
        where = line(queue, doc.priority)
    else:
        where = place.line or line(queue, doc.priority)
        if place.lost >= SUSPECT_FROM:
            where = f"{queue}:{SUSPECT}"
    due_ms = wish.now_ms if place.status is JobStatus.SCHEDULED else doc.due_ms
    if doc.due_ms is None and doc.delay_ms is not None and place.status is not JobStatus.SCHEDULED:
        due_ms = found.enqueued_ms + doc.delay_ms
    stored = records.again(found, generation=wish.generation, due_ms=due_ms, queue=queue, afresh=False)
    return _waiting(found, _signed(found.job_id, stored, wish.signer), queue=queue, where=where, forgets=requeue)


def _waiting(
    found: Record, stored: bytes, *, queue: str, where: str | None = None, forgets: bool = True
) -> Replacement:
    return Replacement(
        job_id=found.job_id,
        state=found.state,
        generation=found.generation,
        lines=_lines(found),
        record=stored,
        new_generation=records.header(stored)[2],
        line=where or line(queue, found.doc.priority),
        forgets=forgets,
    )


def _signed(job_id: str, stored: bytes, signer: Signer | None) -> bytes:
    return stored if signer is None else signer.signed(job_id, stored)


def _lines(found: Record) -> tuple[str, str, str]:
    return lines(found.doc.queue, found.doc.priority)


def _ended(found: Record) -> str:
    return {"s": "succeeded", "f": "failed", "c": "been cancelled"}.get(found.state, "ended")


# --- a queue ----------------------------------------------------------------------------------------------------------


def task_of(data: bytes) -> str:
    """The task's name out of a record's first bytes, of whichever version, if it is to be seen there."""
    found = _TASK.match(data[records.HEADER :])
    return found[1].decode(errors="backslashreplace") if found else UNREADABLE


def purged(job_id: str, beginning: bytes, *, queue: str, priority: int, wish: Wish) -> bytes:
    """The record of a job that is purged, kept for `wish.ttl_ms`; by the first bytes of the one that it had, unparsed.

    Short, and without its arguments: there may be a million, and the memory full.
    """
    try:
        enqueued_ms = records.header(beginning)[3]
    except InvalidRecord:
        enqueued_ms = wish.now_ms
    stored = records.shortest(
        task_of(beginning),
        queue,
        priority,
        generation=wish.generation,
        enqueued_ms=enqueued_ms,
        reason=PURGED,
        now_ms=wish.now_ms,
        ttl_ms=wish.ttl_ms,
    )
    return _signed(job_id, stored, wish.signer)
