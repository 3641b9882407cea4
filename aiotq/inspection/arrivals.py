"""What has come to where it lies since a moment, as far as that can be told: by a record, and by a place in a line."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import Struct

from aiotq import checks
from aiotq.inspection.places import ticket_of
from aiotq.inspection.seen import ready_ms
from aiotq.job import FRONT, JobStatus
from aiotq.shown import instant

if TYPE_CHECKING:
    from collections.abc import Collection

    from aiotq.document import Document
    from aiotq.inspection.seen import Seen
    from aiotq.record import Record
    from aiotq.store.inspection import Line, Operator

AHEAD_MS = 1_000  # by so much a worker may take Redis's clock to be ahead of what it is
LOOKED = 10_000  # tickets at the end of a line, among which one is looked for
MOST_ENDS = 100  # lines of a moment
TRIES = 20  # tickets at the end of a line, of which one at least is ours


class Moment(Struct, frozen=True, kw_only=True):
    """An instant by Redis's clock, and where lines ended then: what came to their backs since lies behind that.

    For `as_of` of an act on many: `app.inspect.moment()` gives one.
    """

    at: datetime
    queue: str | None = None  # whose lines; None: those of all
    ends: tuple[str, ...] | None = None  # the last ticket of each that was not empty; None: nobody can tell

    @property
    def at_ms(self) -> int:
        """Unix milliseconds."""
        return checks.instant_ms("as_of", self.at)

    def end_of(self, line: Line) -> str | None:
        """Of one line; "" if it was empty, None if it is not known."""
        if self.ends is None or self.queue not in (None, line.queue):
            return None
        return next((text for text in self.ends if _lies_in(text, line)), "")


async def moment(operator: Operator, queue: str | None) -> Moment:
    """This one. queue: of whose lines; None: of all, if there are no more than MOST_ENDS."""
    at = instant(await operator.now_ms())
    lines = await operator.lines(await operator.queue_names() if queue is None else [queue])
    if len(lines) > MOST_ENDS:
        return Moment(at=at, queue=queue)
    ends = list[str]()
    for line in lines:
        last = await operator.line(line.queue, line.place, -TRIES, -1)
        ends += [text for text in last if _lies_in(text, line)][-1:]
    return Moment(at=at, queue=queue, ends=tuple(ends) if len(ends) == len(lines) else None)


def _lies_in(text: str, line: Line) -> bool:
    """Whether a ticket is one of that line."""
    ticket = ticket_of(text)
    if ticket is None or ticket.queue != line.queue:
        return False
    return line.place == (str(FRONT.index(ticket.place)) if ticket.place in FRONT else ticket.place)


class Times(Struct, frozen=True):
    """From one to another, in Unix milliseconds. No range: whether None is in that takes as long as it is."""

    first: int
    end: int  # the first one that is not of them

    def __contains__(self, at_ms: int | None) -> bool:
        return at_ms is not None and self.first <= at_ms < self.end


def after(began_ms: int, now_ms: int) -> Times:
    """The times after a moment. What is later than now is older: the clock stepped back since."""
    return Times(began_ms + 1, now_ms + AHEAD_MS + 1)


def to_line(found: Record, times: Times) -> bool:
    """Whether a job that waits in a line came to it then, by its record: enqueued, retried, promoted or come due."""
    return found.enqueued_ms in times or ready_ms(found) in times


def came(one: Seen, times: Times, *, among: Collection[JobStatus], behind: bool = False) -> bool:
    """Whether a job came then to the places of these statuses; from one of them to another is no coming.

    Of one that has begun to run: where only what runs is meant, and its worker has said so since. behind: it lies
    behind what had been the end of its line: it came, be it from the schedule, which is one of these places.
    """
    if one.header is not None and one.header[3] in times:
        return True
    found, entry = one.record or one.partial, one.entry
    if found is not None and (_ended(found.doc, times) or (_retried(found.doc) and found.doc.due_ms in times)):
        return True
    if behind:
        return found is None or ready_ms(found) not in times
    match entry.status:
        case JobStatus.SCHEDULED if found is not None and JobStatus.QUEUED not in among:
            return found.doc.unknown is not None and found.doc.unknown.since_ms in times
        case JobStatus.QUEUED | JobStatus.RUNNING if JobStatus.SCHEDULED not in among:
            begun = entry.started_ms in times and JobStatus.QUEUED not in among
            return begun or (found is not None and ready_ms(found) in times)
        case _:
            return False


def _ended(doc: Document, times: Times) -> bool:
    """Whether an attempt did, or all of it."""
    return doc.finished_ms in times or (bool(doc.history) and doc.history[-1].finished_ms in times)


def _retried(doc: Document) -> bool:
    """Whether it is the first attempt after a person's retry: of itself a job has an error and no attempt never."""
    return doc.error is not None and doc.attempt == 0


class Back:
    """The ticket that was a line's last one at some moment: what came to its back since lies behind it."""

    def __init__(self, operator: Operator, line: Line, ticket: str) -> None:
        """ticket: "" if it was empty."""
        self._operator, self._line, self.ticket = operator, line, ticket

    @classmethod
    async def of(cls, operator: Operator, line: Line) -> Back:
        """Of a line as it is now."""
        last = await operator.line(line.queue, line.place, -1, -1)
        return cls(operator, line, last[0] if last else "")

    async def is_there(self) -> bool | None:
        """Whether it is in the line. False: and so nothing of what was before it. None: that can't be told.

        As somebody else wrote it, or so much came since that it is not looked for as far as that.
        """
        if not self.ticket:
            return False
        if ticket_of(self.ticket) is None:  # its bytes may be others than its text
            return None
        if await self._operator.line_index(self._line.queue, self._line.place, self.ticket) is not None:
            return True
        return None if await self._operator.line(self._line.queue, self._line.place, LOOKED, LOOKED) else False
