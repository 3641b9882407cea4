"""From an outcome to what is stored of it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from aiotq import record as records
from aiotq import splice
from aiotq.document import LEAST_TTL_MS, outliving
from aiotq.frames import describe
from aiotq.job import Cancelled, Failed, Retried, Returned, Succeeded, ticket
from aiotq.store.contract import Ended, Postponed, PutBack

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiotq.signing import Signer
    from aiotq.store.contract import Finished
    from aiotq.worker.held import Held
    from aiotq.worker.settings import WorkerSettings


def settle(
    held: Held, *, settings: WorkerSettings, label: str, now_ms: int, random: Callable[[int], bytes]
) -> Finished:
    """What the store is told of a decided job. label: the worker's. random: gives bytes, for a generation.

    Cost: 2 µs for a success at the first attempt, 6 for others.
    """
    finished = _finished(held, settings=settings, label=label, now_ms=now_ms, random=random)
    return finished if settings.signer is None else _signed(finished, held, settings.signer)


def _finished(
    held: Held, *, settings: WorkerSettings, label: str, now_ms: int, random: Callable[[int], bytes]
) -> Finished:
    outcome = held.outcome
    if type(outcome) is Succeeded and (ended := _succeeded(held, outcome, settings, label, now_ms)) is not None:
        return ended
    if isinstance(outcome, Returned):
        return _put_back(held, records.generation(random(4)))
    if isinstance(outcome, Retried):
        return _postpone(held, outcome, generation=records.generation(random(4)), label=label, now_ms=now_ms)
    assert isinstance(outcome, Succeeded | Failed | Cancelled)
    dead = isinstance(outcome, Failed)
    ttl_ms = settings.failure_ttl_ms if dead else result_ttl_ms(held, settings)
    if held.record is not None:
        doc, ttl_ms = outliving(held.record.doc, ttl_ms)
        if doc is not held.record.doc:
            held.record = structs.replace(held.record, doc=doc)
    return Ended(
        ticket=held.ticket,
        record=_terminal(held, outcome, generation=held.generation, label=label, now_ms=now_ms),
        ttl_ms=max(ttl_ms, LEAST_TTL_MS),
        dead=dead,
    )


def _signed(finished: Finished, held: Held, signer: Signer) -> Finished:
    """The same with the signature of its record; one of a newer version, that stays as it is, keeps its own."""
    if isinstance(finished, Ended):
        return structs.replace(finished, record=signer.signed(held.job_id, finished.record))
    if isinstance(finished, Postponed) and held.record is not None:
        stored = signer.signed(held.job_id, finished.record)
        waits_as = ticket(held.line, stored[2:6].decode(), held.job_id)
        return structs.replace(finished, record=stored, new_ticket=waits_as)
    return finished


def unsettled(held: Held, error: Exception, *, settings: WorkerSettings, label: str, now_ms: int) -> Ended:
    """The dead letter of a job whose outcome can't be put into a record, by a mistake of ours or somebody's bytes."""
    stored = records.undecodable(
        held.job_id,
        held.data or b"",
        generation=held.generation,
        now_ms=now_ms,
        error=describe(error),
        queue=held.queue,
        worker=label,
    )
    if settings.signer is not None:
        stored = settings.signer.signed(held.job_id, stored)
    return Ended(ticket=held.ticket, record=stored, ttl_ms=settings.failure_ttl_ms, dead=True)


def _succeeded(held: Held, outcome: Succeeded, settings: WorkerSettings, label: str, now_ms: int) -> Ended | None:
    """The common case; None if this is not it."""
    record, data, started_ms = held.record, held.data, held.started_ms
    if record is None or not data or started_ms is None or held.lost:
        return None
    ttl_ms = result_ttl_ms(held, settings)
    if ttl_ms < LEAST_TTL_MS:
        return None
    stored = splice.succeeded(record, data, outcome.result, worker=label, started_ms=started_ms, finished_ms=now_ms)
    return None if stored is None else Ended(ticket=held.ticket, record=stored, ttl_ms=ttl_ms)


def result_ttl_ms(held: Held, settings: WorkerSettings) -> int:
    """How long a result is kept: the call's word, else the task's, else the app's."""
    if held.record is not None and held.record.doc.result_ttl_ms is not None:
        return held.record.doc.result_ttl_ms
    if held.task is not None and held.task.result_ttl_s is not None:
        return round(held.task.result_ttl_s * 1000)
    return settings.result_ttl_ms


def _put_back(held: Held, generation: str) -> PutBack:
    if held.generation.startswith(records.LARGE):
        generation = records.LARGE + generation[1:]
    return PutBack(ticket=held.ticket, new_ticket=ticket(held.line, generation, held.job_id))


def _postpone(held: Held, outcome: Retried, *, generation: str, label: str, now_ms: int) -> Postponed:
    if held.record is None:  # of a newer version: its bytes stay as they are
        stored = records.regenerated(held.data or b"", generation)
    else:
        stored = records.after(
            held.record,
            outcome,
            generation=generation,
            worker=label,
            started_ms=held.started_ms,
            finished_ms=now_ms,
            due_ms=now_ms + outcome.delay_ms,
            lost=held.lost,
        )
    written = stored[2:6].decode()
    return Postponed(
        ticket=held.ticket,
        record=stored,
        new_ticket=ticket(held.line, written, held.job_id),
        delay_ms=outcome.delay_ms,
    )


def _terminal(
    held: Held, outcome: Succeeded | Failed | Cancelled, *, generation: str, label: str, now_ms: int
) -> bytes:
    if held.record is None:
        assert isinstance(outcome, Failed)
        return records.undecodable(
            held.job_id,
            held.data or b"",
            generation=generation,
            now_ms=now_ms,
            error=outcome.error,
            queue=held.queue,
            worker=label,
            lost=held.lost,
            reason=outcome.reason,
        )
    return records.after(
        held.record,
        outcome,
        generation=generation,
        worker=label,
        started_ms=held.started_ms,
        finished_ms=now_ms,
        lost=held.lost,
    )
