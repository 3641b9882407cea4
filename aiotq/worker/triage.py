"""What becomes of a claimed job before it is run: whether it is run at all. Pure but for the bytes that it decodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotq import record as records
from aiotq import splice
from aiotq.errors import BadSignature, InvalidRecord, NewerRecord, PayloadTooLarge
from aiotq.frames import describe
from aiotq.job import Cancelled, ErrorInfo, Failed, Retried
from aiotq.limits import SMALL, refuse_hostile

if TYPE_CHECKING:
    from aiotq.job import Outcome
    from aiotq.record import Record
    from aiotq.registry import Registry
    from aiotq.worker.held import Held
    from aiotq.worker.settings import WorkerSettings

BAD_SIGNATURE, NEWER = "bad signature", "newer record"
UNKNOWN_WAITS_S = (1, 2, 4, 8, 16, 32, 60)  # an unknown task's job is put back for so long; the last repeats


def triage(  # noqa: PLR0911  a list of reasons, each with its own end
    held: Held, *, registry: Registry, settings: WorkerSettings, now_ms: int
) -> Outcome | None:
    """Decode and look at a claimed job. None: run it, `held.record` and `held.task` are set. Cost: 2 µs."""
    data = held.data or b""
    try:
        if held.record is None and (len(data) > SMALL or settings.signer is not None):  # else it has been opened
            data = held.data = _opened(held, data, settings)
        held.record = record = splice.claimed(held.job_id, held.generation, data)
    except InvalidRecord as error:
        return _unreadable(error, settings=settings, now_ms=now_ms)
    held.attempt = record.attempt
    doc = record.doc
    if settings.signer is not None and doc.queue != held.queue:
        why = f"is signed for the queue {doc.queue!r} and lay in {held.queue!r}"
        return Failed(error=describe(BadSignature(job_id=held.job_id, why=why)), reason=BAD_SIGNATURE)
    if held.cancelled:
        return Cancelled()
    if held.lost > settings.max_lost:
        return Failed(error=_lost(held.lost), reason="lost")
    expires_ms = None if doc.expires_ms is None else records.expires_at_ms(record)
    if expires_ms is not None and expires_ms <= now_ms:
        return Cancelled(reason="expired")
    held.task = task = registry.get(doc.task)
    if task is None:
        return _unknown(record, registry, settings=settings, now_ms=now_ms)
    if record.size > settings.max_payload:  # else the arguments, a part of it, can't be
        size = len(memoryview(doc.args)) + len(memoryview(doc.kwargs))
        if size > settings.max_payload:
            return Failed(error=describe(PayloadTooLarge(task=task.name, size=size, limit=settings.max_payload)))
    held.pooled, held.threaded = task.process, not (task.is_async or task.process)
    return None


def _opened(held: Held, data: bytes, settings: WorkerSettings) -> bytes:
    """A record that may be parsed: neither hostile nor, where there are keys, of somebody without one."""
    refuse_hostile(held.job_id, data, at_most=settings.max_record)
    return data if settings.signer is None else settings.signer.opened(held.job_id, data)


def _unreadable(error: InvalidRecord, *, settings: WorkerSettings, now_ms: int) -> Failed | Retried:
    if not isinstance(error, NewerRecord):
        reason = BAD_SIGNATURE if isinstance(error, BadSignature) else "invalid record"
        return Failed(error=describe(error), reason=reason)
    since_ms = now_ms if error.enqueued_ms is None else error.enqueued_ms
    if since_ms > now_ms + settings.unknown_for_s * 1000:  # no clock has said so: it would be put back for ever
        return Failed(error=describe(error), reason=NEWER)
    return _put_back(error, times=0, since_ms=since_ms, settings=settings, now_ms=now_ms, waited_from=since_ms)


def _unknown(record: Record, registry: Registry, *, settings: WorkerSettings, now_ms: int) -> Failed | Retried:
    """Of a task that this worker does not know. Its name is looked for among those it knows; nothing is imported."""
    seen = record.doc.unknown
    return _put_back(
        registry.unknown(record.doc.task),
        times=0 if seen is None else seen.times,
        since_ms=now_ms if seen is None else seen.since_ms,
        settings=settings,
        now_ms=now_ms,
    )


def _put_back(
    error: Exception,
    *,
    times: int,
    since_ms: int,
    settings: WorkerSettings,
    now_ms: int,
    waited_from: int | None = None,
) -> Failed | Retried:
    told = describe(error)
    reason = NEWER if isinstance(error, NewerRecord) else "unknown task"
    if now_ms - since_ms >= settings.unknown_for_s * 1000:
        return Failed(error=told, reason=reason)
    if waited_from is not None:  # nothing is counted in a newer record: wait half as long again as it has waited
        wait_s = min(UNKNOWN_WAITS_S[-1], max(1, (now_ms - waited_from) / 1000))
    else:
        wait_s = UNKNOWN_WAITS_S[min(times, len(UNKNOWN_WAITS_S) - 1)]
    return Retried(delay_ms=round(wait_s * 1000), error=told, counts=False)


def _lost(times: int) -> ErrorInfo:
    return ErrorInfo(
        type="WorkerVanished",
        message=f"its worker vanished {times} times while it ran (killed, crashed, or out of memory); "
        "it is not run again by itself; look at what it does, then retry or discard it",
    )
