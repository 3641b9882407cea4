"""All that is known of one job."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aiotq import checks, shown
from aiotq.document import NO_RESULT
from aiotq.errors import InvalidRecord, JobNotFound
from aiotq.inspection.notes import log_lines, progress
from aiotq.inspection.places import Entry
from aiotq.inspection.printing import pretty_json
from aiotq.inspection.redaction import arguments
from aiotq.inspection.seen import bare, summary
from aiotq.inspection.timeline import timeline
from aiotq.inspection.values import JobDetail
from aiotq.inspection.vitals import vitals
from aiotq.inspection.whereabouts import Search, moved, whereabouts
from aiotq.job import JobStatus, lines
from aiotq.record import HEADER, STATES, WAITING, header, hidden_from_ms
from aiotq.store.inspection import Peek

if TYPE_CHECKING:
    from aiotq.inspection.desk import Desk
    from aiotq.record import Record
    from aiotq.store.contract import Place

MOST_RAW = 64 << 10  # bytes shown of a record that can't be read
TRIES = 5  # how often a job is read again that moved on between two reads


async def job(desk: Desk, job_id: str, *, values: bool = True, texts: bool = True) -> JobDetail:
    """One job, with its arguments and its result in the forms that are wanted. Raises JobNotFound."""
    job_id = checks.job_id("job_id", job_id)
    tries = 0
    while True:
        tries += 1
        data = await desk.store.read(job_id, at_most=desk.most + 1)
        if not data:
            raise JobNotFound(job_id=job_id)
        try:
            found = desk.decoded(job_id, data)
        except InvalidRecord:  # broken, of a newer version, or signed by nobody
            shown_raw = await _unreadable(desk, job_id, data)
            if shown_raw.summary.placed or tries == TRIES or not await moved(desk, job_id, data):
                return shown_raw
            continue
        place = await _place(desk, found)
        until_ms = hidden_from_ms(found)
        if until_ms is not None and place.now_ms >= until_ms:
            raise JobNotFound(job_id=job_id)
        if found.status is not None or place.status is not None or tries == TRIES:
            return await _readable(desk, found, place, values=values, texts=texts)


async def _place(desk: Desk, found: Record) -> Place:
    tickets = lines(found.doc.queue, found.doc.priority)
    return await desk.store.locate(found.job_id, generation=found.generation, lines=tickets)


async def _readable(desk: Desk, found: Record, place: Place, *, values: bool, texts: bool) -> JobDetail:
    doc = found.doc
    beside = await desk.operator.beside(found.job_id)
    started_ms = await _started(desk, found, place)
    status = found.status or place.status or JobStatus.QUEUED
    lost = doc.lost if found.status is not None else max(place.lost, beside.lost)
    entry = Entry(
        at=(),
        job_id=found.job_id,
        status=status,
        due_ms=place.due_ms,
        worker=place.worker,
        worker_id=place.worker_id,
        started_ms=started_ms,
    )
    told = arguments(desk, found, values=values, text=texts)
    result, result_cut = pretty_json(bytes(doc.result)) if texts and doc.result is not NO_RESULT else (None, False)
    info = shown.info(found, place.status, lost=lost, worker_label=place.worker, due_ms=place.due_ms, values=False)
    since_ms = found.enqueued_ms
    return JobDetail(
        summary=replace(summary(entry, found), lost=lost),
        info=replace(info, arguments=told.values, result=shown.result(doc) if values else None),
        raw=None,
        arguments=told.text,
        arguments_cut=told.cut,
        result=result,
        result_cut=result_cut,
        timeline=timeline(found, place, lost=lost, started_ms=started_ms),
        logs=log_lines(beside.notes, since_ms=since_ms),
        progress=progress(beside.progress, since_ms=since_ms),
        frames=() if info.error is None else info.error.frames,
        expires_s=None if found.status is None or beside.ttl_ms is None else beside.ttl_ms / 1000,
    )


async def _started(desk: Desk, found: Record, place: Place) -> int | None:
    """When the running attempt was begun, if its worker has said so."""
    if place.status is not JobStatus.RUNNING or place.worker_id is None:
        return None
    card = await desk.operator.card(place.worker_id)
    started = {job.id: job.started_ms for job in vitals(card).jobs} if card is not None else {}
    return started.get(found.job_id)


async def _unreadable(desk: Desk, job_id: str, data: bytes) -> JobDetail:
    beside = await desk.operator.beside(job_id)
    try:
        head = header(data)
    except InvalidRecord:
        head = None
    status = STATES.get(head[1], JobStatus.QUEUED) if head else JobStatus.QUEUED
    waits = head is None or head[1] == WAITING
    sought = await whereabouts(desk, job_id, head and head[2]) if waits else Search()
    placed = True if sought.entry is not None or not waits else None if sought.within else False
    one = bare(sought.entry or Entry(at=(), job_id=job_id, status=status), Peek(data, len(data)), header=head)
    since_ms = head[3] if head else 0
    return JobDetail(
        summary=replace(one, lost=beside.lost, placed=placed),
        info=None,
        # Of bytes that nobody can read a hook can't say what is to be hidden: then the header alone is shown.
        raw=data[:MOST_RAW] if desk.hook is None else data[:HEADER],
        arguments="",
        arguments_cut=False,
        result=None,
        result_cut=False,
        timeline=(),
        logs=log_lines(beside.notes, since_ms=since_ms),
        progress=progress(beside.progress, since_ms=since_ms),
        frames=(),
        expires_s=None if beside.ttl_ms is None else beside.ttl_ms / 1000,
        searched=sought.within,
    )
