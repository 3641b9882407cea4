"""Last words while the store is away: whose outcome waits for them, how often, and whose words are given up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aiotq.errors import StoreUnavailable
from aiotq.store.contract import Ended, PutBack
from aiotq.store.notes import NotesTaken
from aiotq.worker.clock import ServerClock
from aiotq.worker.held import Held
from aiotq.worker.outage import Outage
from aiotq.worker.scribe import TRIES, Scribe
from aiotq.worker.settings import WorkerSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotq.store.contract import Finished
    from aiotq.store.notes import Noted


class Store:
    """Away, until it is told otherwise."""

    url = "redis://nowhere"

    def __init__(self) -> None:
        self.away, self.heard = True, list[str]()

    async def note(self, _worker_id: str, notes: Sequence[Noted]) -> NotesTaken:
        if self.away:
            raise StoreUnavailable("no answer", verb="note", url=self.url, sent=True)
        self.heard += [one.ticket for one in notes if one.lines]
        return NotesTaken(noted=[True] * len(notes))


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
async def scribe(store: Store) -> Scribe:
    return Scribe(store, WorkerSettings(queues=("mail",)), ServerClock(), Outage())  # type: ignore[arg-type]


def job(scribe: Scribe, name: str, *, writes: bool = True, returned: bool = False) -> tuple[Held, Finished]:
    """One that has an outcome, and whose words nobody has heard."""
    ticket = f"mail:5:AAAA:{name}"
    held = Held(ticket, "mail", "5", "AAAA", name, b"", 0, False, 1, 1, 0.0)
    scribe.held = {**scribe.held, ticket: held}
    if writes:
        scribe.log(ticket, 1, "info", f"words of {name}")
    if returned:
        return held, PutBack(ticket=ticket, new_ticket=f"mail:5:BBBB:{name}")
    return held, Ended(ticket=ticket, record=b"", ttl_ms=1_000)


async def test_an_outcome_waits_a_few_times_for_its_words_and_then_goes_without(scribe: Scribe) -> None:
    ending = [job(scribe, "a")]
    for _ in range(TRIES):
        with pytest.raises(StoreUnavailable):
            await scribe.close(ending)

    assert await scribe.close(ending) == frozenset()


async def test_whose_words_were_tried_too_often_takes_no_others_with_it(scribe: Scribe, store: Store) -> None:
    old = job(scribe, "old")
    for _ in range(TRIES):
        with pytest.raises(StoreUnavailable):
            await scribe.close([old])
    young = job(scribe, "young")

    assert await scribe.close([old, young]) == {young[0].ticket}, "the old one goes"
    scribe.forget(old[0].ticket)
    store.away = False

    assert await scribe.close([young]) == frozenset()
    assert store.heard == [young[0].ticket]


async def test_an_outcome_without_words_waits_for_nobody(scribe: Scribe) -> None:
    silent, speaks = job(scribe, "silent", writes=False), job(scribe, "speaks")

    assert await scribe.close([silent, speaks]) == {speaks[0].ticket}


async def test_jobs_that_are_put_back_go_together_so_that_they_keep_their_order(scribe: Scribe) -> None:
    first, second = job(scribe, "first", writes=False, returned=True), job(scribe, "second", returned=True)
    ended = job(scribe, "ended", writes=False)

    assert await scribe.close([first, second, ended]) == {first[0].ticket, second[0].ticket}
