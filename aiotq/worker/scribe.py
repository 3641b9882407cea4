"""Takes down what jobs write, and tells the store: about twice a second, and of a job that ends before its outcome.

A job only leaves a line here, from whatever thread; it never waits for the store, and what the store can't take costs
lines. The calls go over the connection of the exchanges, by a duty of the worker's loop: a task that blocks this loop
is not heard before it lets go.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from aiotq.current import enlist
from aiotq.errors import StoreError, StoreRefused, StoreUnavailable
from aiotq.store.contract import Ended, PutBack
from aiotq.store.notes import MAX_NOTED, MAX_NOTED_BYTES, MAX_NOTED_LINES, Noted
from aiotq.worker.log import say_garbage
from aiotq.worker.outage import DutyOutage, Outage
from aiotq.worker.page import MOST_TEXT, Page, harmless, level, note

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from aiotq.store.contract import Finished, Store
    from aiotq.worker.call import Said
    from aiotq.worker.clock import ServerClock
    from aiotq.worker.held import Held
    from aiotq.worker.settings import WorkerSettings

EVERY_S = 0.5
AGAIN_S = 2.0  # after a call that failed
LEAST_TTL_MS = 86_400_000  # while the job waits or runs: a day after its last line at least
MOST_BYTES_OF_ALL = 16 << 20  # of all jobs that this worker holds, if the store is away
TRIES = 3  # so often the end of a job waits for its last words, if the store is away

_NONE: frozenset[str] = frozenset()
_encode = msgspec.json.Encoder().encode


class _Line(Struct, frozen=True, gc=False):
    at: int
    level: str
    text: str
    attempt: int


class _Far(Struct, frozen=True, gc=False, omit_defaults=True):
    at: int
    done: float
    of: float | None
    note: str | None
    attempt: int


class _Notes(Page[bytes, bytes]):
    """Of one attempt."""

    __slots__ = ("claim", "failed")

    def __init__(self, claim: int) -> None:
        super().__init__()
        self.claim, self.failed = claim, 0


class Scribe:
    """Of one worker, made on its loop. A `current.Scribe`."""

    def __init__(self, store: Store, settings: WorkerSettings, clock: ServerClock, outage: Outage) -> None:
        """outage: the fetcher's."""
        self._store, self._clock = store, clock
        self._ttl_ms = max(settings.failure_ttl_ms, settings.result_ttl_ms, LEAST_TTL_MS)
        self._duty = DutyOutage("keeping what jobs write", outage)
        self.worker_id, self.number = "", enlist(self)
        self.held: Mapping[str, Held] = {}  # by ticket: the jobs in hand
        self.pages: dict[str, _Notes] = {}  # by ticket: of those that have written anything in this attempt
        self._unsaid: dict[str, None] = {}  # of these, those that the store has not heard
        self._size = 0  # of all pages
        self._lock = threading.Lock()  # around all of these
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        self._news, self._turn = asyncio.Event(), asyncio.Lock()

    # --- what jobs write, in any thread -------------------------------------------------------------------------

    def log(self, ticket: str, attempt: int, level_name: str, text: object) -> None:
        """A line."""
        line = _Line(self._clock.now_ms(), level(level_name), harmless(text, MOST_TEXT), attempt)
        self._put(ticket, lines=[(None, _encode(line)[:-1])])

    def progress(self, ticket: str, attempt: int, done: float, of: float | None, word: str | None) -> None:
        """How far it is."""
        self._put(ticket, far=_encode(_Far(self._clock.now_ms(), done, of, note(word), attempt)))

    def heard(self, ticket: str, attempt: int, said: Said) -> None:
        """From a process of the pool."""
        lines: list[tuple[int | None, bytes]] = [
            (number, _encode(_Line(self._clock.at(at_s), name, text, attempt))[:-1])
            for number, at_s, name, text in said.lines
        ]
        far = None
        if said.progress is not None:
            at_s, done, of, word = said.progress
            far = _encode(_Far(self._clock.at(at_s), done, of, word, attempt))
        self._put(ticket, lines=lines, far=far)

    def _put(self, ticket: str, *, lines: Sequence[tuple[int | None, bytes]] = (), far: bytes | None = None) -> None:
        held = self.held.get(ticket)
        if held is None or held.outcome is not None:
            return  # its attempt is over, whatever its code goes on to do
        with self._lock:
            page = self.pages.get(ticket)
            if page is None:
                page = self.pages[ticket] = _Notes(held.fence)
            before = page.size
            for number, line in lines:
                page.add(line, len(line), number=number)
            while self._size - before + page.size > MOST_BYTES_OF_ALL and len(page.lines) > 1:
                page.drop()
            self._size += page.size - before
            if far is not None:
                page.progress = far
            news = not self._unsaid
            self._unsaid[ticket] = None
        if news:
            self._wake()

    def _wake(self) -> None:
        if threading.get_ident() == self._thread:
            self._news.set()
            return
        try:
            self._loop.call_soon_threadsafe(self._news.set)
        except RuntimeError:
            pass  # the loop has closed: the thread goes on after its worker

    # --- what the store is told, on the loop --------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                async with self._turn:
                    with self._lock:
                        unsaid = list(self._unsaid)
                        self._unsaid.clear()
                    if not unsaid:  # they have ended, and said their last words
                        continue
                    await self._tell([(ticket, self._ttl_ms) for ticket in unsaid])
                self._duty.end()
            except StoreError as error:  # what is not said yet is said later
                self._duty.begin(error)
                await asyncio.sleep(AGAIN_S)
                self._news.set()
            await asyncio.sleep(EVERY_S)

    async def close(self, ending: Sequence[tuple[Held, Finished]]) -> frozenset[str]:
        """Before the outcomes of jobs are stored: their last words. Of a job that ends the log ends with its record.

        Returns the tickets of those that shall wait, as the store is away: a few times at most each, then its words are
        lost. Raises StoreUnavailable if that is all of them. Other trouble costs the words, and no outcome waits.
        """
        wanted: list[tuple[str, int]] = []
        for held, finished in ending if self.pages else ():
            page = self.pages.get(held.ticket)
            if page is not None and (page or isinstance(finished, Ended)):
                wanted.append((held.ticket, finished.ttl_ms if isinstance(finished, Ended) else self._ttl_ms))
        if not wanted:
            return _NONE
        async with self._turn:
            with self._lock:
                for ticket, _ in wanted:
                    self._unsaid.pop(ticket, None)
            try:
                await self._tell(wanted)
            except StoreUnavailable:
                waits = self._waiting(wanted, ending)
                if len(waits) == len(ending):
                    raise
                return waits
            except StoreError as error:
                self._duty.begin(error)
                if isinstance(error, StoreRefused):
                    await self._only_end(wanted)
        return _NONE

    def _waiting(self, wanted: Sequence[tuple[str, int]], ending: Sequence[tuple[Held, Finished]]) -> frozenset[str]:
        """Whose outcomes wait, after one more try. Jobs that are put back keep their order: if one waits, all do."""
        waits: set[str] = set()
        for ticket, _ in wanted:
            page = self.pages.get(ticket)
            if page is not None:
                page.failed += 1
                if page.failed <= TRIES:
                    waits.add(ticket)
        back = {held.ticket for held, finished in ending if isinstance(finished, PutBack)}
        return frozenset(waits if waits.isdisjoint(back) else waits | back)

    async def _only_end(self, wanted: Sequence[tuple[str, int]]) -> None:
        """A server that takes no words, as its memory is full, still lets them end in time."""
        for ticket, _ in wanted:
            self._forget(ticket, keep=True)
        try:
            await self._tell(wanted)
        except StoreError:
            return  # the logs are kept for longer then

    def forget(self, ticket: str) -> None:
        """Its outcome is stored, or it is another worker's now."""
        self._forget(ticket)

    def _forget(self, ticket: str, *, keep: bool = False) -> None:
        """keep: that it has written."""
        with self._lock:
            page = self.pages.pop(ticket, None)
            self._unsaid.pop(ticket, None)
            if page is not None:
                self._size -= page.size
                if keep:
                    self.pages[ticket] = empty = _Notes(page.claim)
                    empty.number = page.number

    async def _tell(self, wanted: Sequence[tuple[str, int]]) -> None:
        """What there is of these tickets, each with a TTL. Raises StoreError; all that was not told is kept."""
        for batch in self._batches(wanted):
            try:
                reply = await self._store.note(self.worker_id, batch)
            except BaseException:
                with self._lock:
                    self._unsaid.update((ticket, None) for ticket, _ in wanted if self.pages.get(ticket))
                raise
            say_garbage(reply.garbage)
            for one, noted in zip(batch, reply.noted, strict=True):
                if noted:
                    self._told(one)
                else:
                    self._forget(one.ticket)

    def _told(self, one: Noted) -> None:
        with self._lock:
            page = self.pages.get(one.ticket)
            if page is not None:
                self._size -= page.taken(upto=one.lines[-1][0] if one.lines else 0, progress=one.progress)

    def _batches(self, wanted: Sequence[tuple[str, int]]) -> Generator[list[Noted]]:
        """As much as one call may carry, each looked at as it is its turn."""
        batch: list[Noted] = []
        size = lines = 0
        for ticket, ttl_ms in wanted:
            with self._lock:
                page = self.pages.get(ticket)
                if page is None:
                    continue
                one = Noted(ticket=ticket, claim=page.claim, ttl_ms=ttl_ms, lines=page.all(), progress=page.progress)
            full = len(batch) == MAX_NOTED or lines + len(one.lines) > MAX_NOTED_LINES
            if batch and (full or size + one.size > MAX_NOTED_BYTES):
                yield batch
                batch, size, lines = [], 0, 0
            batch.append(one)
            size, lines = size + one.size, lines + len(one.lines)
        if batch:
            yield batch
