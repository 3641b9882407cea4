"""What a person does from a page. The guard has looked at the form before; here it is read, asked about, and done."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from starlette.responses import RedirectResponse, Response

from aiotq import checks
from aiotq.errors import InvalidRecord, JobNotFound
from aiotq.inspection.acts import STATES, Act, states_meant
from aiotq.inspection.arrivals import Moment
from aiotq.inspection.audit import plain
from aiotq.inspection.hand import DONE, TOLD
from aiotq.inspection.places import ticket_of
from aiotq.inspection.values import Bulk, Came, JobFilter
from aiotq.inspection.words import jobs as jobs_of
from aiotq.job import JobStatus
from aiotq.likeness import closest
from aiotq.web import parse
from aiotq.web.errors import BadInput, NotThere, Refusal
from aiotq.web.running import Running
from aiotq.web.words import short

if TYPE_CHECKING:
    from starlette.requests import Request

    from aiotq.inspector import Inspector
    from aiotq.web.board import Board
    from aiotq.web.guard import Guard
    from aiotq.web.visit import Visit

MAX_CHOSEN = 500
LONGEST_WHY = 200  # characters: it goes into a cookie
COUNTED_S = 5.0  # a filter on one field has a walk look at every job: some 10,000 a second
LONG = 5_000  # jobs: an act on more may take longer than a person expects of a page
QUEUE_VERBS = {"pause": "paused", "resume": "resumed", "purge": "purged"}
JOB_VERBS = {
    "retry": "retried",
    "cancel": "cancelled",
    "discard": "discarded",
    "promote": "promoted",
    "requeue": "requeued",
}
ASKED_FIRST = frozenset({"cancel", "discard", "purge"})  # of one job; of many, each is


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What was ordered."""

    verb: str
    queue: str | None = None  # of pause, resume, purge
    jobs: tuple[str, ...] = ()  # their ids
    every: JobFilter | None = None  # or all that match,
    states: tuple[JobStatus, ...] = ()  # of these states
    words: Mapping[str, str]  # the filter, as it goes into a form again
    as_of: Moment | None = None  # of a queue, or of all that match: those of when they were counted, by Redis's clock
    to: str | None = None  # requeue: in which queue
    new: bool = False  # that one may be made by it
    confirmed: bool = False

    @property
    def counted(self) -> str:
        """`as_of`, as it goes into a form: the instant, and the tickets at which lines ended, with spaces between."""
        return "" if self.as_of is None else " ".join([self.as_of.at.isoformat(), *(self.as_of.ends or ())])

    @property
    def asks(self) -> bool:
        """Whether a person has to confirm it first."""
        many = self.every is not None or len(self.jobs) > 1
        return not self.confirmed and (many or self.verb in ASKED_FIRST)


def order(form: tuple[tuple[str, str], ...], now: datetime) -> Order:
    """From a form. Raises BadInput."""
    fields = parse.once(form, FIELDS, many=("job",))
    verb, confirmed = fields.get("verb", ""), fields.get("confirmed") == "yes"
    as_of = _moment(fields["as_of"], now, fields.get("queue") or None) if fields.get("as_of") else None
    if verb in QUEUE_VERBS:
        name = checks.queue("queue", fields.get("queue", ""))
        return Order(verb=verb, queue=name, as_of=as_of, words={}, confirmed=confirmed)
    if verb not in JOB_VERBS:
        raise BadInput(f"verb={checks.shown(verb)} is no act", f"there are {', '.join([*JOB_VERBS, *QUEUE_VERBS])}")
    to = checks.queue("to", fields["to"]) if fields.get("to") and verb == "requeue" else None
    new = to is not None and fields.get("new") == "yes"
    scope = fields.get("scope") or "chosen"
    if scope not in ("chosen", "all"):
        raise BadInput(f"scope={checks.shown(scope)} is none", "chosen or all was expected")
    if scope == "all":
        listing = parse.listing({name: text for name, text in fields.items() if name in FILTER_FIELDS}, now)
        # What is confirmed is what is done: "15m" ago is another time then.
        bounds = {"since": listing.filter.since, "until": listing.filter.until}
        words = {**listing.words, **{name: at.isoformat() for name, at in bounds.items() if at}}
        every, states = _every(verb, listing.filter)
        return Order(
            verb=verb, every=every, states=states, as_of=as_of, words=words, to=to, new=new, confirmed=confirmed
        )
    jobs = tuple(dict.fromkeys(checks.job_id("job", value) for name, value in form if name == "job"))
    if not jobs:
        raise BadInput("no job was chosen", "tick some, or act on all that match")
    if len(jobs) > MAX_CHOSEN:
        raise BadInput(f"{len(jobs):,} jobs were chosen", f"at most {MAX_CHOSEN} can be; or act on all that match")
    return Order(verb=verb, jobs=jobs, words={}, to=to, new=new, confirmed=confirmed)


def _moment(text: str, now: datetime, queue: str | None) -> Moment:
    """What `Order.counted` said, of a queue or of all. Raises BadInput."""
    at, *ends = text.split(" ")
    if not all(map(ticket_of, ends)):
        raise BadInput(f"as_of={checks.shown(text)} is none", "what the page had asked with was expected; load it anew")
    return Moment(at=parse.instant("as_of", at, now), queue=queue, ends=tuple(ends) or None)


def _every(verb: str, every: JobFilter) -> tuple[JobFilter, tuple[JobStatus, ...]]:
    """A filter with the states of the jobs that it is for, as the command line has them. Raises BadInput."""
    states = states_meant(Act(verb), every.status)
    if not states:
        expected = " or ".join(STATES[Act(verb)])
        raise BadInput(f"status={every.status}: no such job can be {JOB_VERBS[verb]}", f"it has to be {expected}")
    return replace(every, status=states[0]) if len(states) == 1 else every, states


FILTER_FIELDS = frozenset({"status", "queue", "task", "error", "since", "until"})
FIELDS = FILTER_FIELDS | {"csrf", "verb", "scope", "job", "to", "new", "as_of", "confirmed", "next"}


class Acts:
    """The one place where forms lead to."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self.running = Running()
        self.guard: Guard | None = None  # which sets cookies; it is made around this

    async def act(self, request: Request) -> Response:
        """Do it, or ask first."""
        visit: Visit = request.scope["aiotq.visit"]
        if self._board.read_only:
            raise Refusal(403, "this dashboard is read-only", "it was started so; the command line may do more")
        given = order(visit.form, datetime.now(UTC))
        inspector = self._board.inspector.acting(visit.who)
        back = visit.field("next")
        missing = await _missing(inspector, given)
        if missing is not None and given.to is None:
            raise NotThere(*missing)
        if given.asks or missing is not None:
            given = replace(given, new=given.new or missing is not None)
            return await self._ask(request, given, inspector, back, missing)
        said = await self.running.whole(self._carry_out(inspector, given))
        if self.guard is not None:
            self.guard.set_cookie(visit, "flash", self.guard.sealed("flash", said), max_age_s=60)
        return RedirectResponse(parse.next_path(back, visit.base), status_code=303)

    async def _carry_out(self, inspector: Inspector, given: Order) -> str:
        try:
            return await carry_out(inspector, given)
        finally:
            self._board.hub.forget()

    async def _ask(
        self, request: Request, given: Order, inspector: Inspector, back: str | None, missing: tuple[str, str] | None
    ) -> Response:
        number: int | None
        if not given.jobs:  # what comes from now on is not counted, and not acted on
            every = given.every
            given = replace(given, as_of=await inspector.moment(given.queue if every is None else every.queue))
        if given.queue is not None:
            number = await _waiting(inspector, given.queue)
        elif given.every is not None:
            number = await _counted(inspector, [replace(given.every, status=status) for status in given.states])
        else:
            number = len(given.jobs)
            if number == 1:
                # Of one that there is not, nobody is asked.
                await inspector.job(given.jobs[0], values=False, texts=False)
        asked = question(given, number)
        back = parse.next_path(back, "")
        long = number is None or number > LONG
        shown = {"order": given, "number": number, "long": long, "question": asked, "back": back, "missing": missing}
        return self._board.page(request, "confirm.html", **shown)


def question(given: Order, number: int | None) -> str:
    """What is asked. number: of jobs; None: more than could be counted."""
    jobs = "all jobs that match" if number is None else jobs_of(number)
    to = f" to the {'new ' if given.new else ''}queue {given.to}" if given.to else ""
    if given.queue is not None:
        return f"Purge the queue {given.queue}: cancel the {jobs} that wait in it?"
    if len(given.jobs) == 1:
        return f"{given.verb.capitalize()} the job {short(given.jobs[0])}{to}?"
    return f"{given.verb.capitalize()} {jobs}{to}?"


async def carry_out(inspector: Inspector, given: Order) -> str:
    """Do it. Returns what it came to, in a sentence."""
    if given.queue is not None:
        return await _on_queue(inspector, given, given.queue)
    if given.every is not None:
        return told(given.verb, await _on_all(inspector, given, given.every))
    first, *others = given.jobs
    if others:
        return told(given.verb, await _on_each(inspector, given))
    return _of_one(given.verb, short(first), await inspector.act(Act(given.verb), first, queue=given.to))


def _of_one(verb: str, name: str, came: Came) -> str:
    """What one came to. Of a job that runs it is not known yet."""
    if came == TOLD:
        return f"The worker of job {name} was asked to stop it."
    if came == DONE:
        return f"Job {name} was {JOB_VERBS[verb]}."
    why = plain(came.what, most=LONGEST_WHY)
    return f"Job {name}: {why}." if came.done else f"Job {name} was not {JOB_VERBS[verb]}: {why}."


def told(verb: str, bulk: Bulk) -> str:
    """What many came to."""
    parts: list[str] = []
    over = bulk.done - bulk.told
    if over or not bulk.told:
        parts.append(f"{over:,} {'job was' if over == 1 else 'jobs were'} {JOB_VERBS[verb]}")
    if bulk.told:
        parts.append(f"workers were asked to stop {jobs_of(bulk.told)}")
    if bulk.skipped:
        parts.append(f"{bulk.skipped:,} had moved on, or are held by a worker")
    said = "; ".join(parts)
    return f"{said[0].upper()}{said[1:]}."


async def _on_each(inspector: Inspector, given: Order) -> Bulk:
    """On those that were ticked; one that has gone meanwhile, or can't be read, keeps nobody from the others."""
    done = asked = 0
    for job_id in given.jobs:
        with suppress(JobNotFound, InvalidRecord):
            came = await inspector.act(Act(given.verb), job_id, queue=given.to)
            done, asked = done + came.done, asked + (came == TOLD)
    return Bulk(done=done, skipped=len(given.jobs) - done, looked=len(given.jobs), told=asked)


async def _on_all(inspector: Inspector, given: Order, every: JobFilter) -> Bulk:
    return await inspector.act_on_all(Act(given.verb), every, queue=given.to, as_of=given.as_of)


async def _on_queue(inspector: Inspector, given: Order, queue: str) -> str:
    match given.verb:
        case "pause":
            changed = await inspector.pause(queue)
        case "resume":
            changed = await inspector.resume(queue)
        case _:
            purged = await inspector.purge(queue, as_of=given.as_of)
            jobs = f"{purged.ended:,} {'job was' if purged.ended == 1 else 'jobs were'} cancelled"
            left = (
                f", {purged.cleared:,} leftover ticket{'s' * (purged.cleared != 1)} cleared" if purged.cleared else ""
            )
            return f"The queue {queue} was purged: {jobs}{left}."
    return f"The queue {queue} was {QUEUE_VERBS[given.verb]}{'' if changed else ' already'}."


async def _counted(inspector: Inspector, wanted: Sequence[JobFilter]) -> int | None:
    """How many match one of them; None: it takes longer than a person waits for a question."""
    try:
        async with asyncio.timeout(COUNTED_S):
            return sum([await inspector.count(which) for which in wanted])
    except TimeoutError:
        return None


async def _missing(inspector: Inspector, given: Order) -> tuple[str, str] | None:
    """That there is no such queue, and which was meant; None: there is one, or it may be made, or none is named."""
    name = given.queue or (None if given.new else given.to)
    if name is None:
        return None
    known = [queue.name for queue in await inspector.queues()]
    if name in known:
        return None
    close = closest(name, known, most=1, cutoff=0.6)
    meant = f"did you mean {close[0]}?" if close else "a queue is there once a job was enqueued in it"
    return f"there is no queue {name!r}", meant


async def _waiting(inspector: Inspector, queue: str) -> int:
    for known in await inspector.queues():
        if known.name == queue:
            return known.waiting
    raise NotThere(f"there is no queue {queue!r}")
