"""What a worker holds, from the claim to the acknowledged outcome."""

from __future__ import annotations

from itertools import count
from time import monotonic
from typing import TYPE_CHECKING

from aiotq.job import SUSPECT
from aiotq.worker.held import Held, claimed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from aiotq.store.contract import Exchanged
    from aiotq.worker.scribe import Scribe


class Hands:
    """The jobs in hand, by their tickets."""

    def __init__(self, scribe: Scribe) -> None:
        self.held: dict[str, Held] = {}
        self._scribe = scribe
        scribe.held = self.held
        self._suspects: set[str] = set()  # of the tickets held; one at most, but for what a doubt brings
        self._stops: set[str] = set()  # ids of jobs that shall stop and are not in hand: perhaps on their way
        self._numbers = count()
        self._epoch: int | None = None  # of the connection by which the last answer came

    def take(self, reply: Exchanged) -> Iterator[Held]:
        """Take in hand what was claimed. Cost: 1 µs a job."""
        now_s, held, stops = monotonic(), self.held, self._stops
        for claim in reply.claimed:
            if claim.ticket in held:  # it stood in its line twice, by somebody's hand
                continue
            taken = held[claim.ticket] = claimed(claim, number=next(self._numbers), fence=reply.fence, now_s=now_s)
            if stops:
                taken.cancelled |= taken.job_id in stops
            if taken.place == SUSPECT:
                self._suspects.add(taken.ticket)
            yield taken

    def came_anew(self, reply: Exchanged) -> bool:
        """Whether it is the first answer over another connection: who answers there may have lost its last moments."""
        before, self._epoch = self._epoch, reply.epoch
        return before not in (None, reply.epoch)

    def let_go(self, ticket: str) -> Held | None:
        """Its outcome is acknowledged, or it is another worker's now."""
        if self._suspects:
            self._suspects.discard(ticket)
        if self._scribe.pages:
            self._scribe.forget(ticket)
        return self.held.pop(ticket, None)

    def may_take_suspect(self, leaving: Collection[str]) -> bool:
        """Whether no suspect will be in hand once those tickets have gone."""
        return not self._suspects or self._suspects.issubset(leaving)

    def stop(self, job_id: str) -> list[Held]:
        """The jobs of an id that a person wants stopped, marked; one that comes later is marked then."""
        found = [held for held in self.held.values() if held.job_id == job_id]
        if not found:
            self._stops.add(job_id)
        for held in found:
            held.cancelled = True
        return found

    def forget_stops(self) -> None:
        """What was on its way has come."""
        self._stops.clear()
