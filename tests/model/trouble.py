"""Rules of what should not happen: garbage, stale tickets, records that go or change, keys of the wrong type."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.model.hands import QUEUES
from tests.model.life import START_MS, Life
from tests.model.state import header

GARBAGE = st.sampled_from(
    ["", "garbage", "a:5:Z", "a:x:ZZZZ:j1", ":5:ZZZZ:j1", "a:5:ZZZZ:", "\udcff\udcfe", "a:5:ZZZZ:j 1"]
)
STALE = st.sampled_from(["a:5:ZZZZ:j1", "b:0:ZZZZ:j2", "a:f:ZZZZ:nobody", "a:s:ZZZZ:j3"])
SPOILABLE = (
    *("line:a:5", "line:b:s", "lines:a", "lines:poller", "schedule", "lost", "cancels"),
    *("wake:a", "wake::poller", "active:w1"),
)


class Trouble(Life):
    """Trouble, made by hand."""

    @rule(text=GARBAGE | STALE, queue=st.sampled_from(QUEUES), place=st.sampled_from("05s"))
    def a_ticket_in_a_line_that_is_none(self, text: str, queue: str, place: str) -> None:
        self.pair.mend(f"line:{queue}:{place}", f"lines:{queue}")
        self.pair.raw.rpush(self.pair.key(f"line:{queue}:{place}"), text.encode("utf-8", "surrogateescape"))
        self.pair.raw.zadd(self.pair.key(f"lines:{queue}"), {place: -1 if place == "s" else int(place)})
        self.pair.raw.sadd(self.pair.key("queues"), queue)
        self.model.lines.setdefault(f"{queue}:{place}", []).append(text)

    @rule(text=GARBAGE | STALE, ms=st.sampled_from([-60_000, 0, 1_000]))
    def a_ticket_in_the_schedule_that_is_none(self, text: str, ms: int) -> None:
        self.pair.mend("schedule")
        self.pair.raw.zadd(self.pair.key("schedule"), {text.encode("utf-8", "surrogateescape"): START_MS + ms})
        self.model.schedule[text] = START_MS + ms

    @precondition(lambda self: self.model.records)
    @rule(data=st.data())
    def a_record_goes(self, data: st.DataObject) -> None:
        """By hand, or by its TTL."""
        job_id = data.draw(st.sampled_from(sorted(self.model.records)))
        self.pair.raw.delete(self.pair.key(f"job:{job_id}"))
        del self.model.records[job_id]
        self.jobs.pop(job_id, None)  # nobody repeats a request for so long
        self.pair.mend("lost", "cancels")
        for mark in ("lost", "cancels"):  # what nobody comes upon any more is not this test's business
            self.pair.raw.hdel(self.pair.key(mark), job_id)
        self.model.forget(job_id)

    @precondition(lambda self: self.model.records)
    @rule(
        data=st.data(), garbage=st.sampled_from([b"", b"x", b"1w", b"{}" * 20, b"\xff" * 30, b"1xAAAA0000000000000{}"])
    )
    def a_record_is_overwritten(self, data: st.DataObject, garbage: bytes) -> None:
        waiting = [name for name, one in self.model.records.items() if (header(one) or " ")[0] == "w"]
        if not waiting:
            return
        job_id = data.draw(st.sampled_from(sorted(waiting)))
        self.pair.raw.set(self.pair.key(f"job:{job_id}"), garbage)
        self.model.records[job_id] = garbage

    @rule(name=st.sampled_from(SPOILABLE))
    def a_key_of_the_wrong_type(self, name: str) -> None:
        """Where nothing is now: so nothing is lost when it is put aside."""
        if not self.pair.raw.exists(self.pair.key(name)):
            self.pair.spoil(name)
