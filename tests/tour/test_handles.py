"""What a handle says of its job, and what it can do to it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import JobStatus, Reject, RetryPolicy, current_job
from aiotq.errors import JobCancelled, JobExpired, JobFailed, JobNotFound, ResultTimeout, SerializationError, UsageError

if TYPE_CHECKING:
    from aiotq import App


@dataclass
class Invoice:
    number: int
    lines: list[str]


# --- results ------------------------------------------------------------------------------------------------------


async def test_a_result_arrives_as_the_type_that_the_task_returns(app: App) -> None:
    @app.task
    async def make(number: int) -> Invoice:
        return Invoice(number, ["a", "b"])

    async with app.worker():
        job = await make.delay(7)
        assert await job.result(timeout=5) == Invoice(7, ["a", "b"])
        assert await job.result() == Invoice(7, ["a", "b"])
        # A handle made of the id alone knows the task by its record.
        assert await app.job(job.id).result(timeout=5) == Invoice(7, ["a", "b"])


async def test_a_result_of_a_task_that_is_not_known_here_is_plain(app: App) -> None:
    @app.task
    async def make() -> Invoice:
        return Invoice(7, [])

    async with app.worker():
        job = await make.delay()
        await job.result(timeout=5)
    app.registry._tasks.clear()
    assert await app.job(job.id).result(timeout=5) == {"number": 7, "lines": []}


async def test_a_result_that_no_longer_fits_its_annotation_says_so(app: App) -> None:
    def declare(answer: Any, annotation: Any) -> Any:
        async def drifting() -> Any:
            return answer

        drifting.__annotations__["return"] = annotation
        return app.task(drifting)

    async with app.worker():
        job = await declare("text", str).delay()
        assert await job.result(timeout=5) == "text"
        declare(1, int)
        with pytest.raises(SerializationError, match="drifting"):
            await job.result(timeout=5)


async def test_a_result_that_is_not_stored_is_none(app: App) -> None:
    @app.task(store_result=False)
    async def silent() -> int:
        return 5

    async with app.worker():
        job = await silent.delay()
        assert await job.result(timeout=5) is None
        assert (await job.info()).result is None


async def test_a_result_of_none_is_none(app: App) -> None:
    @app.task
    async def nothing() -> None: ...

    async with app.worker():
        assert await (await nothing.delay()).result(timeout=5) is None


async def test_many_callers_may_wait_for_one_job(app: App) -> None:
    started, gate = asyncio.Event(), asyncio.Event()

    @app.task
    async def wait() -> str:
        started.set()
        await gate.wait()
        return "done"

    async with app.worker():
        job = await wait.delay()
        waiting = [asyncio.create_task(app.job(job.id).result(timeout=5)) for _ in range(20)]
        await started.wait()
        assert await job.status() is JobStatus.RUNNING
        gate.set()
        assert await asyncio.gather(*waiting) == ["done"] * 20


async def test_a_failure_holds_the_remote_type_message_and_the_users_frames(app: App) -> None:
    @app.task(retries=0)
    async def fail() -> None:
        raise ValueError("no Bobs")

    async with app.worker():
        job = await fail.delay()
        with pytest.raises(JobFailed, match=r"fail failed in attempt 1: ValueError: no Bobs") as raised:
            await job.result(timeout=5)
    error = raised.value
    assert (error.job_id, error.error_type, error.error_message, error.attempt) == (job.id, "ValueError", "no Bobs", 1)
    assert [(frame.function, frame.code) for frame in error.frames] == [("fail", 'raise ValueError("no Bobs")')]


async def test_a_rejected_job_has_failed_at_once(app: App) -> None:
    @app.task(retries=5)
    async def refuse() -> None:
        raise Reject("not ours")

    async with app.worker():
        with pytest.raises(JobFailed, match="not ours"):
            await (await refuse.delay()).result(timeout=5)


async def test_no_record_is_no_job(app: App) -> None:
    ghost = app.job("ghost")
    for asked in (ghost.result, ghost.status, ghost.info, ghost.cancel):
        with pytest.raises(JobNotFound, match="there is no job ghost"):
            await asked()


# --- waiting ------------------------------------------------------------------------------------------------------


async def test_a_timeout_says_that_nobody_serves_the_queue(app: App) -> None:
    @app.task
    async def send() -> None: ...

    job = await send.options(queue="mail").delay()
    with pytest.raises(ResultTimeout) as raised:
        await job.result(timeout=0.05)
    assert str(raised.value).startswith(
        f"job {job.id[-6:]} has waited 0.05 s in queue 'mail'; no live worker serves 'mail' (none is alive)"
    )
    async with app.worker(queues=["default"]):
        with pytest.raises(ResultTimeout, match=r"no live worker serves 'mail' \(1 serves: default\)"):
            await job.result(timeout=0.05)
    await job.cancel()


async def test_a_timeout_says_that_the_job_is_running(app: App) -> None:
    gate = asyncio.Event()

    @app.task
    async def hold() -> None:
        gate.set()
        await asyncio.Event().wait()

    async with app.worker(name="first"):
        job = await hold.delay()
        await gate.wait()
        with pytest.raises(ResultTimeout, match=r"attempt 1 of .*:hold is running on worker first"):
            await job.result(timeout=0.05)
        assert await job.cancel()
        with pytest.raises(JobCancelled):
            await job.result(timeout=5)


async def test_a_timeout_says_that_the_job_is_not_due(app: App) -> None:
    @app.task
    async def later() -> None: ...

    job = await later.options(countdown=60).delay()
    with pytest.raises(ResultTimeout, match=r"its next attempt is due in (5\d\.\d|60\.0) s"):
        await job.result(timeout=timedelta(milliseconds=50))
    await job.cancel()


async def test_a_timeout_of_nothing_is_one_look(app: App) -> None:
    @app.task
    async def quick() -> int:
        return 1

    job = await quick.delay()
    with pytest.raises(ResultTimeout):
        await job.result(timeout=0)
    async with app.worker():
        await job.result(timeout=5)
        assert await job.result(timeout=0) == 1


async def test_a_negative_timeout_is_refused(app: App) -> None:
    with pytest.raises(UsageError, match="timeout=-1"):
        await app.job("x").result(timeout=-1)


async def test_a_timeout_is_a_timeout_error_and_the_job_goes_on(app: App) -> None:
    gate = asyncio.Event()

    @app.task
    async def wait() -> str:
        await gate.wait()
        return "done"

    async with app.worker():
        job = await wait.delay()
        with pytest.raises(TimeoutError):
            await job.result(timeout=0.05)
        gate.set()
        assert await job.result(timeout=5) == "done"


# --- info ---------------------------------------------------------------------------------------------------------


async def test_info_tells_all_of_a_jobs_life(app: App) -> None:
    before = datetime.now(UTC)
    again, gate = asyncio.Event(), asyncio.Event()

    @app.task(retries=1, retry=RetryPolicy(delays=[0]), queue="mail", priority=2)
    async def flaky(name: str, *, loud: bool) -> str:
        if current_job().attempt == 1:
            raise ValueError("not yet")
        again.set()
        await gate.wait()
        return name

    job = await flaky.options(countdown=0.05).delay("Ada", loud=True)
    info = await job.info()
    assert (info.id, info.task, info.queue, info.priority) == (job.id, flaky.name, "mail", 2)
    assert (info.status, info.attempt, info.attempts, info.worker) == (JobStatus.SCHEDULED, 0, (), None)
    assert info.arguments == {"args": ["Ada"], "kwargs": {"loud": True}}
    assert info.due_at is not None
    assert info.due_at - info.enqueued_at == timedelta(milliseconds=50)
    assert before - timedelta(seconds=1) < info.enqueued_at < datetime.now(UTC) + timedelta(seconds=1)
    assert await job.info() == info

    async with app.worker(name="first"):
        await again.wait()
        info = await job.info()
        assert (info.status, info.attempt, info.worker) == (JobStatus.RUNNING, 2, "first")
        [first] = info.attempts
        assert first.error is not None
        assert (first.number, first.worker, first.error.type, first.error.message) == (
            1,
            "first",
            "ValueError",
            "not yet",
        )
        gate.set()
        await job.result(timeout=5)

    info = await job.info()
    assert (info.status, info.result, info.attempt, info.lost, info.worker) == (
        JobStatus.SUCCEEDED,
        "Ada",
        2,
        0,
        "first",
    )
    assert [attempt.number for attempt in info.attempts] == [1, 2]
    assert info.started_at is not None
    assert info.finished_at is not None
    assert info.enqueued_at <= info.started_at <= info.finished_at
    assert await job.info() == info


# --- cancelling ---------------------------------------------------------------------------------------------------


async def test_a_queued_job_that_is_cancelled_never_runs(app: App) -> None:
    ran: list[str] = []

    @app.task
    async def note(name: str) -> None:
        ran.append(name)

    first, second = await note.delay("first"), await note.delay("second")
    assert await first.cancel() is True
    assert await first.status() is JobStatus.CANCELLED
    with pytest.raises(JobCancelled, match="reason: cancelled"):
        await first.result(timeout=5)
    async with app.worker() as worker:
        await worker.run_until_empty()
        await second.result(timeout=5)
    assert ran == ["second"]
    assert (await first.info()).reason == "cancelled"


async def test_a_scheduled_job_can_be_cancelled(app: App) -> None:
    @app.task
    async def later() -> None: ...

    job = await later.options(countdown=60).delay()
    assert await job.status() is JobStatus.SCHEDULED
    assert await job.cancel() is True
    assert await job.status() is JobStatus.CANCELLED


async def test_a_running_job_is_cancelled_at_its_next_await_wherever_its_worker_is(app: App) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    @app.task
    async def hold() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with app.worker():
        job = await hold.delay()
        await started.wait()
        loop = asyncio.get_running_loop()
        asked_s = loop.time()
        assert await job.cancel() is True
        await ended.wait()
        assert loop.time() - asked_s < 2  # a few milliseconds, if the machine has nothing else to do
        with pytest.raises(JobCancelled):
            await job.result(timeout=5)


async def test_cancelling_a_job_that_has_ended_says_so(app: App) -> None:
    @app.task
    async def quick() -> int:
        return 1

    async with app.worker():
        job = await quick.delay()
        assert await job.result(timeout=5) == 1
    assert await job.cancel() is False
    assert await job.result(timeout=5) == 1


async def test_a_job_that_is_cancelled_wakes_those_who_wait_for_it(app: App) -> None:
    @app.task
    async def quick() -> int:
        return 1

    job = await quick.delay()
    waiting = asyncio.create_task(job.result(timeout=5))
    await asyncio.sleep(0)
    await job.cancel()
    with pytest.raises(JobCancelled):
        await waiting


async def test_a_job_that_has_not_started_in_time_is_expired(app: App) -> None:
    @app.task
    async def quick() -> int:
        return 1

    by_then = await quick.options(expires=datetime.now(UTC) - timedelta(seconds=1)).delay()
    within = await quick.options(expires=0.001).delay()
    in_time = await quick.options(expires=60).delay()
    async with app.worker():
        for job in (by_then, within):
            with pytest.raises(JobExpired):
                await job.result(timeout=5)
            assert (await job.info()).reason == "expired"
        assert await in_time.result(timeout=5) == 1


async def test_a_result_is_gone_after_its_ttl_and_its_id_is_not_free_at_once(app: App) -> None:
    @app.task(result_ttl=1)
    async def brief() -> str:
        return "soon gone"

    async with app.worker():
        job = await brief.options(job_id="brief").delay()
        assert await job.result(timeout=5) == "soon gone"
        async with asyncio.timeout(5):
            with pytest.raises(JobNotFound):
                while True:
                    await job.status()
        assert (await brief.options(job_id="brief").delay()).existed
