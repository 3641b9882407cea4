"""The values of the hot path as the scripts take and give them: new jobs, outcomes, the reply of an exchange."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from msgspec import json, structs

from aiotq.store.contract import Claimed, Ended, Exchanged, Postponed
from aiotq.store.notes import MOST_BYTES, MOST_LINES, Notes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotq.store.contract import Finished, NewJob
    from aiotq.store.notes import Noted
    from aiotq.store.tallies import Tally

_ENQUEUED = re.compile(rb"......([0-9]{13})", re.DOTALL)  # the header of a record, as record.py has it
MOST = (1 << 53) - 1  # as in lib.lua: what is larger may have been rounded; a record's own limit is one more


def jobs(new: Sequence[NewJob]) -> list[str | bytes]:
    """Four arguments a job."""
    argv: list[str | bytes] = []
    for job in new:
        where = job.line if job.delay_ms is None and job.due_ms is None and job.max_len is None else _where(job)
        argv += (job.job_id, where, job.head, job.body)
    return argv


def _where(job: NewJob) -> str:
    """Its line, and when, as enqueue.lua takes it."""
    if job.due_ms is not None:
        return f"{job.line}@{job.due_ms}"
    return f"{job.line}<{job.max_len}" if job.delay_ms is None else f"{job.line}+{job.delay_ms}"


def outcomes(finished: Sequence[Finished]) -> tuple[int, list[str | bytes | int], list[int] | None]:
    """As exchange.lua takes them, those that ended first: how many these are, the arguments, and the place of each in
    that order (None: as given).
    """
    argv: list[str | bytes | int] = []
    others: list[str | bytes | int] = []
    first: list[int] = []
    rest: list[int] = []
    for index, outcome in enumerate(finished):
        if type(outcome) is Ended and not outcome.dead:
            argv += (outcome.ticket, outcome.record, outcome.ttl_ms)
            first.append(index)
            continue
        rest.append(index)
        if type(outcome) is Ended:
            others += (outcome.ticket, "d", outcome.record, outcome.ttl_ms, "")
        elif type(outcome) is Postponed:
            others += (outcome.ticket, "l", outcome.record, outcome.delay_ms, outcome.new_ticket)
        else:
            others += (outcome.ticket, "b", b"", 0, cast("Any", outcome).new_ticket)
    return len(first), argv + others if others else argv, first + rest if rest and first else None


def tally(told: Tally) -> list[str | bytes | int]:
    """As tally.lua takes it."""
    argv: list[str | bytes | int] = [told.number, told.vitals or b"", len(told.counters)]
    for name, more in told.counters.items():
        argv += (name, more)
    for failing in told.failures:
        last = json.encode({"id": failing.job_id, "message": failing.message})
        argv += (
            f"{failing.task}\0{failing.error}".encode(errors="backslashreplace"),
            failing.count,
            "true" if failing.dead else "false",
            last[1:],
        )
    return argv


def word(data: bytes) -> str:
    """Text that anybody may have written; bytes that are none are shown as escapes."""
    return data.decode(errors="backslashreplace")


def words(many: Sequence[bytes]) -> list[str]:
    """The same, of many."""
    return [word(one) for one in many]


def whole(score: bytes) -> int:
    """A score that anybody may have written, as `whole` in lib.lua has it."""
    number = float(score)
    return 0 if not number > 0 else int(min(number, MOST))


def _claimed(rows: list[bytes], known: list[Any]) -> list[Claimed]:
    """rows: ticket and record of each; known: index from 1, lost and cancelled of those with more to say."""
    claimed: list[Claimed] = [Claimed(ticket=rows[i].decode(), record=rows[i + 1]) for i in range(0, len(rows), 2)]
    for i in range(0, len(known), 3):
        at = int(known[i]) - 1
        claimed[at] = structs.replace(claimed[at], lost=known[i + 1], cancelled=known[i + 2] == b"1")
    return claimed


def exchanged(reply: list[Any], *, order: list[int] | None, epoch: int) -> Exchanged:
    """order: as `outcomes` gave it."""
    if not reply[0]:
        return Exchanged(alive=False, epoch=epoch)
    _, flags, fence, active, now, due_us, dropped, rows, known, gone, cancels, garbage = reply
    stored = [byte == 49 for byte in flags]
    if order is not None:
        stored = [said for _, said in sorted(zip(order, stored, strict=True))]
    return Exchanged(
        alive=True,
        stored=stored,
        claimed=_claimed(rows, known),
        gone=[ticket.decode() for ticket in gone],
        fence=fence,
        active=active,
        cancels=words(cancels),
        dropped=dropped,
        garbage=words(garbage),
        now_ms=now,
        next_due_us=due_us,
        epoch=epoch,
    )


def noted(notes: Sequence[Noted]) -> list[str | bytes | int]:
    """As note.lua takes them, after the worker's id."""
    argv: list[str | bytes | int] = [MOST_LINES, MOST_BYTES, len(notes)]
    for one in notes:
        argv += (one.ticket, one.ttl_ms, one.progress or b"", one.claim, len(one.lines))
        for number, text in one.lines:
            argv += (number, text)
    return argv


def notes(header: bytes | None, lines: Sequence[bytes] | None, progress: bytes | None) -> Notes:
    """What was read of a job: the first 19 bytes of its record, its log, its progress."""
    since = _ENQUEUED.fullmatch(header or b"")
    return Notes(enqueued_ms=int(since[1]) if since else None, lines=lines or (), progress=progress or None)
