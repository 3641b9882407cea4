"""What a person is shown of a record: `info()`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from aiotq import record
from aiotq.document import Document, Line, PastAttempt, Raised
from aiotq.frames import MAX_FRAMES
from aiotq.inspection.timeline import timeline
from aiotq.job import AttemptInfo, Cancelled, ErrorInfo, Failed, JobInfo, JobStatus, Retried, Succeeded
from aiotq.shown import info, instant
from aiotq.store.contract import Place
from tests.unit.records import ERROR, NOW, NOW_MS, SHORT_ERROR, a_record, after, stored


def at(ms: int) -> datetime:
    return NOW + timedelta(milliseconds=ms)


def test_a_waiting_job_is_shown_where_the_store_says_it_is() -> None:
    waiting = a_record(queue="mail", priority=1, kwargs=Raw(b'{"buyer":"b-3"}'), delay_ms=2_000)
    assert info(waiting, JobStatus.SCHEDULED) == JobInfo(
        id="j1",
        task="shop.tasks:send",
        queue="mail",
        priority=1,
        status=JobStatus.SCHEDULED,
        reason=None,
        arguments={"args": ["s-17", 40], "kwargs": {"buyer": "b-3"}},
        result=None,
        error=None,
        attempt=0,
        attempts=(),
        lost=0,
        enqueued_at=NOW,
        due_at=at(2_000),
        started_at=None,
        finished_at=None,
        worker=None,
    )


def test_a_running_job_counts_its_running_attempt_and_names_its_worker() -> None:
    shown = info(a_record(), JobStatus.RUNNING, lost=1, worker_label="host-3f2a")
    assert (shown.status, shown.attempt, shown.lost, shown.worker) == (JobStatus.RUNNING, 1, 1, "host-3f2a")
    assert (shown.started_at, shown.finished_at, shown.due_at) == (None, None, None)


def test_a_job_between_two_places_is_shown_as_queued() -> None:
    assert info(a_record(), None).status is JobStatus.QUEUED


@pytest.mark.parametrize(
    ("given", "place_due_ms", "due"),
    [
        ({}, None, None),
        ({"delay_ms": 5}, None, at(5)),
        ({"due_ms": NOW_MS + 7}, None, at(7)),
        ({"delay_ms": 5, "due_ms": NOW_MS + 7}, None, at(7)),
        ({"delay_ms": 5}, NOW_MS + 9, at(9)),
    ],
)
def test_when_a_job_is_due(given: dict[str, Any], place_due_ms: int | None, due: datetime | None) -> None:
    assert info(a_record(**given), JobStatus.SCHEDULED, due_ms=place_due_ms).due_at == due


def test_a_finished_job_is_shown_with_its_attempts_and_result() -> None:
    tried = after(a_record(), Retried(delay_ms=5, error=ERROR), due_ms=NOW_MS + 35)
    done = after(tried, Succeeded(result=b'"sent"'), started_ms=NOW_MS + 50, finished_ms=NOW_MS + 70, worker="other")
    shown = info(done, None, lost=7, worker_label="nobody", due_ms=1)
    assert (shown.status, shown.result, shown.reason) == (JobStatus.SUCCEEDED, "sent", None)
    assert (shown.attempt, shown.lost, shown.worker) == (2, 0, "other")
    assert (shown.due_at, shown.started_at, shown.finished_at) == (at(35), at(50), at(70))
    assert shown.error == ERROR
    assert shown.attempts == (
        AttemptInfo(number=1, started_at=at(10), finished_at=at(30), worker="host-3f2a", error=SHORT_ERROR),
        AttemptInfo(number=2, started_at=at(50), finished_at=at(70), worker="other", error=None),
    )


def test_only_the_last_attempts_error_is_shown_with_its_frames() -> None:
    tried = after(a_record(), Retried(delay_ms=5, error=ERROR), due_ms=NOW_MS + 35)
    shown = info(after(tried, Failed(error=ERROR)), None)
    assert [past.error for past in shown.attempts] == [SHORT_ERROR, ERROR]
    assert (shown.status, shown.reason, shown.error) == (JobStatus.FAILED, "error", ERROR)


def test_an_error_that_no_attempt_raised_is_not_shown_as_one_of_an_attempt() -> None:
    unknown = ErrorInfo(type="ValueError", message="another one")
    tried = after(a_record(), Retried(delay_ms=5, error=ERROR), due_ms=NOW_MS + 35)
    shown = info(after(tried, Failed(error=unknown, reason="unknown task"), started_ms=None), None)
    assert shown.error == unknown
    assert [past.error for past in shown.attempts] == [SHORT_ERROR]
    assert (shown.finished_at, shown.started_at, shown.worker) == (at(30), at(10), "host-3f2a")


def test_a_cancelled_job_keeps_the_error_of_the_attempt_before() -> None:
    tried = after(a_record(), Retried(delay_ms=5, error=ERROR), due_ms=NOW_MS + 35)
    shown = info(after(tried, Cancelled()), None)
    assert shown.error == ERROR
    assert [past.error and past.error.type for past in shown.attempts] == ["ValueError", record.CANCELLED]


def test_two_reads_of_an_unchanged_job_are_equal() -> None:
    data = stored(Document(task="t", args=Raw(b'[1,{"a":[2.5]}]')))
    first, second = (info(record.decode("j1", data), JobStatus.QUEUED) for _ in range(2))
    assert first == second
    assert first is not second


def test_a_job_with_broken_arguments_is_shown_all_the_same() -> None:
    shown = info(a_record(args=Raw(b"[1e999]")), JobStatus.QUEUED)
    assert shown.arguments == {"args": [], "kwargs": {}}
    assert shown.task == "shop.tasks:send"


@given(st.integers(0, 2**53))
def test_every_stored_time_can_be_shown(unix_ms: int) -> None:
    shown = instant(unix_ms)
    assert shown.tzinfo is UTC
    if shown.year < 9999:
        assert (shown - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1) == unix_ms


def test_an_instant_past_year_9999_is_its_end():
    assert instant(0) == datetime(1970, 1, 1, tzinfo=UTC)
    assert instant(1 << 62) == datetime.max.replace(tzinfo=UTC)


def test_of_a_record_of_another_hand_no_more_is_shown_than_a_worker_writes() -> None:
    line, past = Line("a.py", 1, "f", "x"), PastAttempt(1, NOW_MS, NOW_MS, "w")
    frames = (*[line] * 10_000, Line("b.py", 2, "g", "y"))
    written = a_record(error=Raised("E", "no", frames), history=(past,) * 10_000)
    shown = info(written, JobStatus.SCHEDULED)
    assert shown.error is not None
    assert (len(shown.error.frames), shown.error.frames[-1].file) == (MAX_FRAMES, "b.py")
    assert len(shown.attempts) == record.MAX_ATTEMPTS_KEPT
    place = Place(status=JobStatus.SCHEDULED, now_ms=NOW_MS)
    assert len(timeline(written, place, lost=0, started_ms=None)) == 2 * record.MAX_ATTEMPTS_KEPT + 2
