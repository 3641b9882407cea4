"""One act on one job: read, decide, store if nothing has changed meanwhile, and keep it in the audit."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from aiotq import record as records
from aiotq.errors import AiotqError, InvalidRecord, JobNotFound, StoreError, StoreUnavailable
from aiotq.inspection import acts, audit
from aiotq.inspection.acts import Act, Nothing, Stop, Wish
from aiotq.inspection.desk import kept_ms
from aiotq.inspection.values import Came
from aiotq.inspection.whereabouts import Search, moved, whereabouts
from aiotq.job import lines
from aiotq.record import ENQUEUED_AT
from aiotq.store.contract import Place, Replaced, Replacement

if TYPE_CHECKING:
    from aiotq.inspection.acts import Decision
    from aiotq.inspection.desk import Desk
    from aiotq.record import Record

BRIEFLY_S = 0.25  # for so long the audit is tried after an act that got no answer
TRIES = 20  # how often a job is looked at again that changed between two looks


DONE = Came(done=True, what="done")
TOLD = Came(done=True, what="its worker was told")


async def act(desk: Desk, kind: Act, job_id: str, *, queue: str | None = None) -> Came:
    """One act, with its entry in the audit, also if nothing came of it.

    Raises JobNotFound, InvalidRecord (a record that can't be read), UsageError (signed, and no keys), StoreError.
    """
    kept = Kept(desk, kind, job_id if queue is None else f"{job_id} to {queue}")
    try:
        came = await act_on(desk, kind, job_id, queue=queue, kept=kept)
    except AiotqError as error:
        first = await kept.failed(error, f"failed: {error}")
        if first or not isinstance(error, JobNotFound):  # no script has left another entry
            raise
    else:
        if came in (DONE, TOLD) or await kept.keep(came.what):  # of what is done the act's own script keeps an entry
            return came
    return TOLD if kind is Act.CANCEL else DONE  # with an answer that was lost; it has moved on since, or is gone


class Kept:
    """What the audit shall say of one act: one entry, whatever is repeated, and the first that comes."""

    def __init__(self, desk: Desk, action: str, subject: str) -> None:
        self._desk, self._action, self._subject = desk, action, subject
        self._stamp = os.urandom(6).hex()
        self._begun = b""  # the entry that says so

    def entry(self, came_to: str) -> bytes:
        """For a script that keeps it."""
        by = self._desk.signature
        return audit.entry(by=by, action=self._action, subject=self._subject, came_to=came_to, stamp=self._stamp)

    async def begin(self) -> None:
        """Leave in the audit that it has begun, until it is kept what it came to: who acts may be killed before."""
        operator, entry = self._desk.operator, self.entry(audit.BEGUN)
        now_ms = await operator.now_ms()
        self._begun = audit.whole(entry, now_ms)
        await operator.keep(entry, now_ms=now_ms)

    async def failed(self, error: AiotqError, came_to: str) -> bool:
        """Leave in the audit that it failed, if the server takes that. False as of `keep`."""
        # Who asks a server that is silent shall not wait twice; of one of many the audit has to say how far it came.
        briefly = isinstance(error, StoreUnavailable) and not self._begun
        try:
            return await self._desk.operator.keep(
                self.entry(came_to), begun=self._begun, within_s=BRIEFLY_S if briefly else None
            )
        except StoreError:
            return True

    async def keep(self, came_to: str) -> bool:
        """Leave it in the audit. False: a script has left another one."""
        return await self._desk.operator.keep(self.entry(came_to), begun=self._begun)


async def act_on(
    desk: Desk,
    kind: Act,
    job_id: str,
    *,
    queue: str | None = None,
    kept: Kept | None = None,
    only: bytes | None = None,
    generation: str = "",
) -> Came:
    """The act itself. kept: the entry in the audit that its script keeps; None: it is one of many, without.

    only: state and generation of the record that is meant; None: whichever is there. generation: of the one that shall
    stand; none: a new one.
    """
    for _ in range(TRIES):
        data = await desk.store.read(job_id, at_most=desk.most + 1)
        if not data:
            raise JobNotFound(job_id=job_id)
        if only is not None and data[1:ENQUEUED_AT] != only:
            return Came(done=False, what="it has moved on")
        decision = await _decide(desk, kind, job_id, data, queue, generation or _random())
        if isinstance(decision, Nothing):
            return Came(done=decision.done, what=decision.why)
        came = None if decision is None else await _store(desk, job_id, decision, kept)
        if came is not None:
            return came
    return Came(done=False, what="it changed whenever it was looked at")  # it runs, and fast, again and again


async def act_as_seen(
    desk: Desk, kind: Act, found: Record, place: Place, *, queue: str | None = None, generation: str
) -> Came | None:
    """The act on a job as it was seen just now, without an entry in the audit. None: look again, it has moved.

    generation: of the record that shall stand.
    """
    wish = _wish(desk, kind, generation, place.now_ms, found=found, queue=queue)
    decision = acts.decide(wish, found, place)
    if isinstance(decision, Nothing):
        return Came(done=decision.done, what=decision.why)
    return await _store(desk, found.job_id, decision, None)


def _random() -> str:
    return records.generation(os.urandom(4))


async def _decide(
    desk: Desk, kind: Act, job_id: str, data: bytes, queue: str | None, generation: str
) -> Decision | None:
    """None: it is between two places, and has to be read again. Raises JobNotFound, InvalidRecord, UsageError."""
    try:
        found = desk.decoded(job_id, data)
    except InvalidRecord:
        if kind is not Act.DISCARD:
            raise
        unread = _wish(desk, kind, generation, await desk.operator.now_ms())
        sought = await _sought(desk, job_id, data)
        if sought.entry is None and await moved(desk, job_id, data):
            return None
        return acts.discard_unread(unread, job_id, data, sought.entry, within=sought.within)
    if found.status is None:
        place = await desk.store.locate(
            job_id, generation=found.generation, lines=lines(found.doc.queue, found.doc.priority)
        )
        if place.status is None:
            return None
    else:
        place = Place(status=None, now_ms=await desk.operator.now_ms())
    wish = _wish(desk, kind, generation, place.now_ms, found=found, queue=queue)
    decision = acts.decide(wish, found, place)
    hidden_ms = records.hidden_from_ms(found)
    if hidden_ms is not None and hidden_ms <= place.now_ms and not (isinstance(decision, Nothing) and decision.done):
        raise JobNotFound(job_id=job_id)
    return decision


async def _sought(desk: Desk, job_id: str, data: bytes) -> Search:
    """Of a record that can't be read: where its job waits, or runs. One that has ended is not looked for."""
    try:
        _, state, generation, _ = records.header(data)
    except InvalidRecord:
        return Search()
    return await whereabouts(desk, job_id, generation) if state == records.WAITING else Search()


def _wish(
    desk: Desk, kind: Act, generation: str, now_ms: int, *, found: Record | None = None, queue: str | None = None
) -> Wish:
    return Wish(
        act=kind,
        generation=generation,
        now_ms=now_ms,
        signer=desk.core.signer,
        queue=queue,
        ttl_ms=0 if found is None else kept_ms(desk.core, found),
    )


async def _store(desk: Desk, job_id: str, decision: Decision, kept: Kept | None) -> Came | None:
    """None: it is another one now, or elsewhere."""

    def entry(came: Came) -> bytes:
        return b"" if kept is None else kept.entry(came.what)

    match decision:
        case Replacement():
            done = await desk.store.replace(decision, audit=entry(DONE)) is Replaced.DONE
            return DONE if done else None
        case Stop():
            told = await desk.store.cancel(
                job_id, generation=decision.generation, lines=decision.lines, audit=entry(TOLD)
            )
            return TOLD if told else None
        case Nothing():
            return None
        case _:
            return DONE if await desk.operator.discard(decision, audit=entry(DONE)) else None
