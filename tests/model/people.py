"""Rules of people with an operator's rights: they discard what has ended, and purge lines out of which others claim."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from hypothesis import strategies as st
from hypothesis.stateful import rule

from aiotq.job import parse_ticket
from aiotq.store import operator
from aiotq.store.inspection import Discarding, Ending
from tests.model import operators
from tests.model.hands import DAY_MS, QUEUES, record
from tests.model.life import DICE, LOSSES, Life
from tests.model.state import header, well_formed

if TYPE_CHECKING:
    from collections.abc import Sequence

LOOKS = 8  # fronts that were read, some time ago


class People(Life):
    """People."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: dict[str, tuple[str, str]] = {}  # what somebody read of a job that had ended, some time ago
        self.fronts: list[tuple[str, int, int, list[Ending], str]] = []

    @rule(die=DICE, lose=LOSSES)
    def a_person_discards_what_was_read(self, die: int, lose: str) -> None:
        """... just now or a while ago."""
        chance = self.cast(die)
        over = {name: read for name, one in self.model.records.items() if (read := header(one)) and read[0] != "w"}
        if over and chance.random() < 0.75:
            job_id = chance.choice(sorted(over))
            self.ends[job_id] = over[job_id]
        if not self.ends:
            return
        job_id = chance.choice(sorted(self.ends))
        generation = self.stamps.new()
        wanted = Discarding(
            job_id=job_id,
            was="".join(self.ends[job_id]),
            record=record("c", generation),
            new_generation=generation,
            ttl_ms=DAY_MS,
        )
        self.send(partial(self._discard, wanted), lose=lose)

    def _discard(self, wanted: Discarding) -> None:
        self.before()
        got = self.run(operator(self.store).discard(wanted))
        assert got == operators.discard(self.model, wanted)
        self.pair.agree()

    @rule(
        die=DICE,
        queue=st.sampled_from(QUEUES),
        place=st.sampled_from("0559s"),
        leave=st.sampled_from([0, 0, 0, 1]),
        limit=st.sampled_from([1, 2, 10]),
        lose=LOSSES,
    )
    def a_person_purges_what_was_read(
        self, die: int, queue: str, place: str, leave: int, limit: int, lose: str
    ) -> None:
        chance = self.cast(die)
        lines = sorted(self.model.lines)
        line = chance.choice(lines) if lines and chance.random() < 0.8 else f"{queue}:{place}"
        generation = self.stamps.new()
        endings = self._front(line, leave, limit, generation)
        self.fronts = [*self.fronts[1 - LOOKS :], (line, leave, limit, endings, generation)]
        line, leave, limit, endings, generation = chance.choice([self.fronts[-1], *self.fronts])
        self.send(partial(self._take, line, leave, limit, endings, generation), lose=lose)

    def _front(self, line: str, leave: int, limit: int, generation: str) -> list[Ending]:
        front = self.run(operator(self.store).front(line, leave=leave, limit=limit))
        waiting = self.model.lines.get(line, [])
        endings: list[Ending] = []
        assert front.length == len(waiting)
        assert len(front.waiting) == len(waiting[leave : leave + limit])
        for one, text in zip(front.waiting, waiting[leave : leave + limit], strict=True):
            if not well_formed(text):
                continue
            parsed = parse_ticket(text)
            assert (one.ticket, one.beginning) == (text, self.model.records.get(parsed.job_id, b""))
            read = header(one.beginning)
            if read is None or read == ("w", parsed.generation):  # the others are stale
                ended = record("c", generation)
                endings.append(Ending(ticket=text, header=one.beginning[:19], record=ended, ttl_ms=DAY_MS))
        return endings

    def _take(self, line: str, leave: int, limit: int, endings: Sequence[Ending], generation: str) -> None:
        self.before()
        got = self.run(
            operator(self.store).take(
                line, endings, leave=leave, limit=limit, generation=generation, now_ms=self.now_ms
            )
        )
        wanted = operators.take(
            self.model, line, endings, leave=leave, limit=limit, generation=generation, now_ms=self.now_ms
        )
        assert got == wanted
        self.pair.agree()
