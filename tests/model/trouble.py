"""What should not happen: garbage, stale tickets, records that go or change, keys of the wrong type."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule

from aiotq.job import parse_ticket
from tests.model.hands import QUEUES
from tests.model.life import DICE, START_MS, Life
from tests.model.state import header

GARBAGE = ("", "garbage", "a:5:Z", "a:x:ZZZZ:j1", ":5:ZZZZ:j1", "a:5:ZZZZ:", "\udcff\udcfe", "a:5:ZZZZ:j 1")
OF_STALE = ("j:1", "j:2", "j:3")  # jobs of which there are stale tickets
STALE = ("a:5:ZZZZ:j:1", "b:0:ZZZZ:j:2", "a:f:ZZZZ:nobody", "a:s:ZZZZ:j:3")
NO_RECORDS = (b"", b"x", b"1w", b"{}" * 20, b"\xff" * 30, b"1xAAAA0000000000000{}")
SPOILABLE = (
    *("line:a:5", "line:b:s", "lines:a", "lines:poller", "schedule", "lost", "cancels"),
    *("wake:a", "wake::poller", "active:w1", "paused", "fence"),
    *("ended", "stats:folded", f"stats:m:{START_MS // 60_000 + 1}"),
)
TICKETS = st.sampled_from([*GARBAGE, *STALE])


class Trouble(Life):
    """Trouble, made by hand."""

    @rule(
        text=TICKETS, queue=st.sampled_from(QUEUES), place=st.sampled_from("05s"), ms=st.sampled_from([-60_000, 1_000])
    )
    def a_ticket_that_is_none(self, text: str, queue: str, place: str, ms: int) -> None:
        raw, key, written = self.pair.raw, self.pair.key, text.encode("utf-8", "surrogateescape")
        if ms > 0:
            self.pair.mend(f"line:{queue}:{place}", f"lines:{queue}")
            raw.rpush(key(f"line:{queue}:{place}"), written)
            raw.zadd(key(f"lines:{queue}"), {place: -1 if place == "s" else int(place)})
            raw.sadd(key("queues"), queue)
            self.model.lines.setdefault(f"{queue}:{place}", []).append(text)
        self.pair.mend("schedule")
        raw.zadd(key("schedule"), {written: START_MS + ms})
        self.model.schedule[text] = START_MS + ms

    @rule(die=DICE, kind=st.sampled_from(["goes", "goes", "garbage"]), garbage=st.sampled_from(NO_RECORDS))
    def a_record_goes_or_is_overwritten(self, die: int, kind: str, garbage: bytes) -> None:
        """By hand, or by its TTL."""
        if not self.model.records:
            return
        held = {parse_ticket(text).job_id for hands in self.model.active.values() for text in hands}
        running = sorted(held & set(self.model.records))
        job_id = self.cast(die).choice((die % 2 and running) or sorted(self.model.records))
        self.jobs.pop(job_id, None)  # nobody repeats a request for so long
        if kind == "goes":
            self.pair.raw.delete(self.pair.key(f"job:{job_id}"))
            del self.model.records[job_id]
        elif job_id not in OF_STALE and (header(self.model.records[job_id]) or " ")[0] == "w":
            self.pair.raw.set(self.pair.key(f"job:{job_id}"), garbage)
            self.model.records[job_id] = garbage

    @rule(name=st.sampled_from(SPOILABLE))
    def a_key_of_the_wrong_type(self, name: str) -> None:
        """Where nothing is now: so nothing is lost when it is put aside."""
        if not self.pair.raw.exists(self.pair.key(name)):
            self.pair.spoil(name)
