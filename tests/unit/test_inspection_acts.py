"""What an act on a job comes to: decided from its record and its place."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from aiotq import record as records
from aiotq.document import LEAST_TTL_MS, Document, PastAttempt, Raised, Unknown
from aiotq.errors import UsageError
from aiotq.inspection.acts import Act, Nothing, Stop, Wish, decide, discard_unread, purged, task_of
from aiotq.job import LARGE, JobStatus
from aiotq.record import Record
from aiotq.signing import Signer
from aiotq.store.contract import Place, Replacement
from aiotq.store.inspection import Discarding
from tests.unit.records import NOW_MS, a_record, stored

LATER_MS = NOW_MS + 5_000
PAST = (PastAttempt(1, NOW_MS, NOW_MS + 9, "w", "ValueError", "no"), PastAttempt(2, NOW_MS, NOW_MS + 10, "w", "X", "y"))
QUEUED = Place(status=JobStatus.QUEUED, now_ms=LATER_MS)
SCHEDULED = Place(status=JobStatus.SCHEDULED, now_ms=LATER_MS, due_ms=LATER_MS + 9_000, line="mail:f")
RUNNING = Place(status=JobStatus.RUNNING, now_ms=LATER_MS, worker_id="w1", worker="host-3f2a")
SUSPECT = Place(status=JobStatus.QUEUED, now_ms=LATER_MS, lost=2)
ENDED = Place(status=None, now_ms=LATER_MS)
SIGNER = Signer([b"k" * 16], namespace="aiotq")
ERROR = Raised("ValueError", "no Bobs")


def ended(state: str, **given: Any) -> Record:
    found = a_record(queue="mail", finished_ms=NOW_MS + 10, **given)
    return Record("j1", found.generation, state, found.enqueued_ms, found.size, found.doc)


def failed(**given: Any) -> Record:
    return ended("f", **{"attempt": 2, "history": PAST, "error": ERROR, "reason": "error", "lost": 1, **given})


def wish(act: Act, **given: Any) -> Wish:
    return Wish(**{"act": act, "generation": "WXYZ", "now_ms": LATER_MS, "ttl_ms": 3_600_000, **given})


def replaced(decision: object) -> tuple[Replacement, Record]:
    """What shall stand, read again."""
    assert isinstance(decision, Replacement)
    return decision, records.decode(decision.job_id, decision.record)


WAITS = a_record(queue="mail")
REFUSED = [
    (Act.RETRY, WAITS, QUEUED, "it has not failed"),
    (Act.RETRY, WAITS, RUNNING, "it has not failed"),
    (Act.RETRY, a_record(attempt=1, error=ERROR), SCHEDULED, "it has not failed"),
    (Act.RETRY, ended("s"), ENDED, "it has succeeded, and only one that has failed is retried"),
    (
        Act.RETRY,
        ended("c", reason="cancelled"),
        ENDED,
        "it has been cancelled, and only one that has failed is retried",
    ),
    (Act.CANCEL, ended("s"), ENDED, "it has succeeded"),
    (Act.CANCEL, ended("c", reason="expired"), ENDED, "it has been cancelled"),
    (Act.CANCEL, failed(), ENDED, "it has failed"),
    (Act.DISCARD, WAITS, QUEUED, "it has not ended; cancel it first"),
    (Act.DISCARD, WAITS, RUNNING, "it has not ended; cancel it first"),
    (Act.PROMOTE, WAITS, RUNNING, "it is running on host-3f2a; cancel it, or let it end"),
    (Act.PROMOTE, ended("s"), ENDED, "it has succeeded"),
    (Act.REQUEUE, WAITS, RUNNING, "it is running on host-3f2a; cancel it, or let it end"),
    (Act.REQUEUE, failed(), ENDED, "it has failed; retry it"),
]


@pytest.mark.parametrize(("act", "found", "place", "why"), REFUSED)
def test_what_an_act_is_not_for_is_left_alone_and_said(act: Act, found: Record, place: Place, why: str) -> None:
    assert decide(wish(act), found, place) == Nothing(done=False, why=why)


ALREADY = [
    (Act.RETRY, a_record(error=ERROR, history=PAST), QUEUED, "retried already"),
    (Act.RETRY, a_record(error=ERROR), RUNNING, "retried already"),
    (Act.CANCEL, ended("c", reason="cancelled"), ENDED, "cancelled already"),
    (Act.DISCARD, ended("c", reason="discarded", result_ttl_ms=1), ENDED, "discarded already"),
    (Act.PROMOTE, WAITS, QUEUED, "it is queued already"),
]


@pytest.mark.parametrize(("act", "found", "place", "why"), ALREADY)
def test_what_is_as_it_shall_be_is_done(act: Act, found: Record, place: Place, why: str) -> None:
    assert decide(wish(act), found, place) == Nothing(done=True, why=why)


# --- retry


def test_a_retried_jobs_attempts_begin_again_and_its_history_stays() -> None:
    decision, found = replaced(decide(wish(Act.RETRY), failed(expires_ms=10, delay_ms=5), ENDED))

    assert (decision.state, decision.generation, decision.new_generation) == ("f", "abcd", "WXYZ")
    assert (decision.line, decision.delay_ms, decision.ttl_ms) == ("mail:5", None, None)
    assert (found.state, found.attempt, found.enqueued_ms) == ("w", 1, NOW_MS)
    doc = found.doc
    assert (doc.history, doc.error) == (PAST, ERROR)
    assert (doc.reason, doc.finished_ms, doc.worker, doc.lost, doc.delay_ms) == (None, None, None, 0, None)
    assert doc.due_ms == LATER_MS, "so that how long it waited is counted from now"
    assert records.expires_at_ms(found) is None, "else it would expire at once"


def test_a_retried_large_record_is_marked_in_its_ticket() -> None:
    decision, _ = replaced(decide(wish(Act.RETRY), failed(args=Raw(b'["%b"]' % (b"x" * 20_000))), ENDED))

    assert decision.new_generation == LARGE + "XYZ"


def test_a_record_that_could_not_be_read_is_put_back_as_it_was() -> None:
    raw = b'9wAAAA1795439224123{"t":"of a newer version","zz":1}'
    decision = decide(wish(Act.RETRY, signer=SIGNER), failed(raw=raw), ENDED)

    assert isinstance(decision, Replacement)
    assert decision.record == raw.replace(b"AAAA", b"WXYZ")
    assert (decision.new_generation, decision.line) == ("WXYZ", "mail:5")


@pytest.mark.parametrize("raw", [b"", b"x", b"1sAAAA1795439224123{}", b"1wAAAA1795439224123" + b"x" * (64 << 10)])
def test_a_record_that_was_none_or_was_cut_can_not_be_retried(raw: bytes) -> None:
    decision = decide(wish(Act.RETRY), failed(raw=raw[: records.MAX_RAW]), ENDED)

    why = "its record could not be read, and there is not enough of it left"
    assert decision == Nothing(done=False, why=why)


# --- cancel


@pytest.mark.parametrize("place", [QUEUED, SCHEDULED, SUSPECT])
def test_a_waiting_job_is_cancelled_by_its_record(place: Place) -> None:
    decision, found = replaced(decide(wish(Act.CANCEL), WAITS, place))

    assert (decision.ttl_ms, decision.line, decision.state) == (3_600_000, None, "w")
    assert (found.state, found.doc.reason, found.doc.finished_ms) == ("c", "cancelled", LATER_MS)
    assert found.doc.lost == place.lost


def test_a_short_ttl_outlives_late_repeats() -> None:
    decision, found = replaced(decide(wish(Act.CANCEL, ttl_ms=5), WAITS, QUEUED))

    assert (decision.ttl_ms, found.doc.result_ttl_ms) == (LEAST_TTL_MS, 5)


def test_a_running_jobs_worker_is_told() -> None:
    decision = decide(wish(Act.CANCEL), WAITS, RUNNING)

    assert decision == Stop(generation="abcd", lines=("mail:5", "mail:f", "mail:s"))


# --- discard


@pytest.mark.parametrize("state", "sfc")
def test_of_a_discarded_job_something_short_is_left_that_is_not_shown(state: str) -> None:
    decision = decide(wish(Act.DISCARD), ended(state, args=Raw(b"[" + b"1," * 999 + b"1]")), ENDED)

    assert isinstance(decision, Discarding)
    assert (decision.was, decision.new_generation, decision.ttl_ms) == (f"{state}abcd", "WXYZ", LEAST_TTL_MS)
    found = records.decode("j1", decision.record)
    assert (found.state, found.doc.reason, found.doc.task) == ("c", "discarded", "shop.tasks:send")
    assert len(decision.record) < 120
    assert records.hidden_from_ms(found) == LATER_MS


@pytest.mark.parametrize(
    ("data", "was"),
    [
        (b'9fAAAA1795439224123{"t":"shop:new","new":1}', "fAAAA"),
        (b"1sAAAA1795439224123{not json", "sAAAA"),
    ],
)
def test_what_can_not_be_read_is_discarded_by_its_header(data: bytes, was: str) -> None:
    decision = discard_unread(wish(Act.DISCARD), "j1", data)

    assert isinstance(decision, Discarding)
    assert (decision.was, records.decode("j1", decision.record).doc.reason) == (was, "discarded")


@pytest.mark.parametrize("data", [b"", b"x" * 40, b'9wAAAA1795439224123{"t":"shop:new"}'])
def test_what_has_no_header_or_waits_is_not_discarded_unread(data: bytes) -> None:
    decision = discard_unread(wish(Act.DISCARD), "j1", data)

    assert isinstance(decision, Nothing)
    assert not decision.done


# --- promote, requeue


def test_a_promoted_job_goes_to_the_end_of_the_line_that_it_was_for() -> None:
    waits = a_record(queue="mail", delay_ms=14_000, attempt=1, history=PAST[:1], unknown=Unknown(1, NOW_MS))
    decision, found = replaced(decide(wish(Act.PROMOTE), waits, SCHEDULED))

    assert (decision.line, decision.delay_ms, decision.forgets) == ("mail:f", None, False)
    assert (found.doc.due_ms, found.doc.delay_ms, found.doc.unknown) == (LATER_MS, None, None)
    assert (found.attempt, found.doc.history) == (2, PAST[:1]), "a promoted retry is the attempt that it was"


def test_a_promoted_suspect_stays_one() -> None:
    place = Place(status=JobStatus.SCHEDULED, now_ms=LATER_MS, due_ms=LATER_MS + 9, line="mail:5", lost=3)

    assert replaced(decide(wish(Act.PROMOTE), WAITS, place))[0].line == "mail:s"


@pytest.mark.parametrize("place", [QUEUED, SCHEDULED, SUSPECT])
@pytest.mark.parametrize("queue", [None, "other"])
def test_a_requeued_job_goes_to_the_back_and_its_losses_are_forgotten(place: Place, queue: str | None) -> None:
    waits = a_record(queue="mail", priority=2, attempt=1)
    decision, found = replaced(decide(wish(Act.REQUEUE, queue=queue), waits, place))

    wanted = queue or "mail"
    assert (decision.line, decision.forgets, decision.lines[0]) == (f"{wanted}:2", True, "mail:2")
    assert (found.doc.queue, found.doc.priority, found.attempt) == (wanted, 2, 2)
    assert found.doc.due_ms == (LATER_MS if place is SCHEDULED else None)


def test_when_a_delayed_job_was_due_is_still_known_once_it_is_requeued() -> None:
    _, found = replaced(decide(wish(Act.REQUEUE), a_record(queue="mail", delay_ms=1_000), QUEUED))

    assert found.doc.due_ms == NOW_MS + 1_000


# --- signatures


def test_what_is_changed_is_signed_anew() -> None:
    for act, found, place in [(Act.RETRY, failed(), ENDED), (Act.CANCEL, WAITS, QUEUED), (Act.REQUEUE, WAITS, QUEUED)]:
        decision = decide(wish(act, signer=SIGNER), found, place)
        assert isinstance(decision, Replacement)
        SIGNER.opened("j1", decision.record)
    thrown = decide(wish(Act.DISCARD, signer=SIGNER), failed(), ENDED)
    assert isinstance(thrown, Discarding)
    SIGNER.opened("j1", thrown.record)
    SIGNER.opened(
        "j1", purged("j1", stored(Document(task="t")), queue="q", priority=5, wish=wish(Act.CANCEL, signer=SIGNER))
    )


@pytest.mark.parametrize("act", list(Act))
@pytest.mark.parametrize("place", [QUEUED, ENDED])
def test_without_keys_nothing_that_is_signed_is_changed(act: Act, place: Place) -> None:
    found = a_record(signature="x" * 43) if place is QUEUED else failed(signature="x" * 43)

    with pytest.raises(UsageError, match="signing_keys"):
        decide(wish(act), found, place)


def test_nor_is_it_discarded_unread() -> None:
    with pytest.raises(UsageError, match="signing_keys"):
        discard_unread(wish(Act.DISCARD), "j1", b'9fAAAA1795439224123{"t":"x","s":"' + b"x" * 43 + b'"}')


# --- purge


@pytest.mark.parametrize(
    ("beginning", "task", "enqueued_ms"),
    [
        (b'1wAAAA1795439224123{"t":"shop:send","a":[1', "shop:send", NOW_MS),
        (b'9wAAAA1795439224123{"t":"shop:new"', "shop:new", NOW_MS),
        (b'1wAAAA1795439224123{"t":"a\\u0000b"}', "(unreadable)", NOW_MS),
        (b'1wAAAA1795439224123{"t":"' + b"x" * 360, "(unreadable)", NOW_MS),
        (b"garbage", "(unreadable)", LATER_MS),
        (b"", "(unreadable)", LATER_MS),
    ],
)
def test_a_purged_jobs_record_is_short_and_made_of_the_first_bytes_of_the_old_one(
    beginning: bytes, task: str, enqueued_ms: int
) -> None:
    record = purged("j1", beginning, queue="mail", priority=3, wish=wish(Act.CANCEL))

    found = records.decode("j1", record)
    assert (found.state, found.generation, found.enqueued_ms) == ("c", "WXYZ", enqueued_ms)
    assert (found.doc.task, found.doc.queue, found.doc.priority) == (task, "mail", 3)
    assert (found.doc.reason, found.doc.finished_ms) == ("purged", LATER_MS)
    assert records.hidden_from_ms(found) is None
    assert len(record) < 160


def test_a_tasks_name_may_hold_any_bytes() -> None:
    assert task_of(b'1wAAAA1795439224123{"t":"\xff"}') == "\\xff"
