from __future__ import annotations

from contextvars import copy_context
from datetime import UTC, datetime

import pytest

from aiotq.current import CURRENT, CurrentJob, current_job
from aiotq.errors import UsageError


def a_job(attempt: int = 1) -> CurrentJob:
    return CurrentJob(
        id="j1",
        attempt=attempt,
        retries=3,
        task="shop.tasks:send",
        queue="mail",
        priority=5,
        enqueued_ms=1_795_439_224_123,
        fence=7,
        state="pool",
    )


def test_outside_of_a_job_there_is_none() -> None:
    with pytest.raises(UsageError, match="outside of a job; it is known only to a task that a worker runs"):
        current_job()


def test_a_task_finds_the_job_of_its_own_context() -> None:
    job, context = a_job(), copy_context()
    context.run(CURRENT.set, job)
    assert context.run(current_job) is job
    assert CURRENT.get(None) is None


def test_when_it_was_enqueued_is_an_aware_instant() -> None:
    assert a_job().enqueued_at == datetime(2026, 11, 23, 13, 7, 4, 123_000, tzinfo=UTC)
    assert a_job().enqueued_at.utcoffset() is not None


@pytest.mark.parametrize(("attempt", "last"), [(1, False), (3, False), (4, True)])
def test_a_task_can_tell_its_last_attempt(attempt: int, *, last: bool) -> None:
    assert a_job(attempt).last_attempt is last
