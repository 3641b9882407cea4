"""How often and when a job is tried again, and what is kept of its attempts."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import Reject, Retry, RetryPolicy, current_job
from aiotq.errors import JobFailed

if TYPE_CHECKING:
    from aiotq import App, Job
    from tests.worker.kit import Events

AT_ONCE = RetryPolicy(delays=[0])


async def failure(job: Job[Any]) -> JobFailed:
    with pytest.raises(JobFailed) as failed:
        await job.result(timeout=10)
    return failed.value


@pytest.mark.parametrize(("retries", "attempts"), [(0, 1), (1, 2), (4, 5)])
async def test_retries_n_means_at_most_n_plus_1_attempts(app: App, retries: int, attempts: int) -> None:
    seen: list[tuple[int, bool]] = []

    @app.task(retries=retries, retry=AT_ONCE)
    async def always() -> None:
        seen.append((current_job().attempt, current_job().last_attempt))
        raise ValueError

    async with app.worker():
        failed = await failure(await always.delay())
    assert seen == [(number, number == attempts) for number in range(1, attempts + 1)]
    assert failed.attempt == attempts


async def test_the_retries_of_a_call_go_before_the_tasks(app: App) -> None:
    @app.task(retries=5, retry=AT_ONCE)
    async def always() -> None:
        raise ValueError

    async with app.worker():
        assert (await failure(await always.options(retries=1).delay())).attempt == 2


async def test_without_a_word_there_are_three_retries(app: App) -> None:
    @app.task(retry=AT_ONCE)
    async def always() -> None:
        raise ValueError

    async with app.worker():
        assert (await failure(await always.delay())).attempt == 4


async def test_the_history_tells_every_attempt_with_times_worker_and_error(app: App) -> None:
    @app.task(retries=2, retry=AT_ONCE)
    async def third_time_lucky() -> str:
        if current_job().attempt < 3:
            raise ValueError(f"attempt {current_job().attempt}")
        return "at last"

    async with app.worker(name="worker-a"):
        job = await third_time_lucky.delay()
        assert await job.result(timeout=10) == "at last"
        info = await job.info()
    assert (info.attempt, info.status, info.result) == (3, "succeeded", "at last")
    assert [attempt.number for attempt in info.attempts] == [1, 2, 3]
    assert [attempt.error and attempt.error.message for attempt in info.attempts] == ["attempt 1", "attempt 2", None]
    assert {attempt.worker for attempt in info.attempts} == {"worker-a"}
    times = [info.enqueued_at, *(at for one in info.attempts for at in (one.started_at, one.finished_at))]
    assert times == sorted(times)
    assert info.worker == "worker-a"
    assert info.finished_at == times[-1]


async def test_the_history_keeps_the_last_ten(app: App) -> None:
    @app.task(retries=11, retry=AT_ONCE)
    async def always() -> None:
        raise ValueError

    async with app.worker():
        job = await always.delay()
        await failure(job)
        info = await job.info()
    assert info.attempt == 12
    assert [attempt.number for attempt in info.attempts] == list(range(3, 13))


async def test_retry_asks_for_another_attempt_after_its_own_delay_and_uses_one_up(app: App) -> None:
    loop = asyncio.get_running_loop()
    at_s: list[float] = []

    @app.task(retries=2, retry=RetryPolicy(delays=[60]))
    async def again() -> None:
        at_s.append(loop.time())
        raise Retry(after=0.2, reason="not yet")

    async with app.worker():
        failed = await failure(await again.delay())
    assert failed.error_type == "Retry"
    assert failed.error_message == "not yet"
    assert len(at_s) == 3
    assert all(0.19 <= later - before < 30 for before, later in itertools.pairwise(at_s))


async def test_reject_ends_the_job_at_once(app: App) -> None:
    @app.task(retries=5, retry=AT_ONCE)
    async def refuse() -> None:
        raise Reject("no such customer")

    async with app.worker():
        job = await refuse.delay()
        failed = await failure(job)
        info = await job.info()
    assert failed.error_message == "no such customer"
    assert (info.attempt, info.reason) == (1, "rejected")


async def test_delays_are_taken_one_after_the_other_and_the_last_repeats(app: App, events: Events) -> None:
    @app.task(retries=4, retry=RetryPolicy(delays=[0.01, 0.03, 0.02]))
    async def always() -> None:
        raise ValueError

    async with app.worker():
        await failure(await always.delay())
    assert [vars(line)["delay_ms"] for line in events.of("retried")] == [10, 30, 20, 20]


async def test_backoff_doubles_from_its_base_up_to_its_cap(app: App, events: Events) -> None:
    @app.task(retries=4, retry=RetryPolicy(base=0.01, factor=2, cap=0.035, jitter=False))
    async def always() -> None:
        raise ValueError

    async with app.worker():
        await failure(await always.delay())
    assert [vars(line)["delay_ms"] for line in events.of("retried")] == [10, 20, 35, 35]


async def test_decide_is_asked_and_may_give_up(app: App, events: Events) -> None:
    asked: list[tuple[str, int]] = []

    def decide(error: BaseException, attempt: int) -> float | None:
        asked.append((str(error), attempt))
        return 0.01 if attempt < 3 else None

    @app.task(retries=10, retry=RetryPolicy(decide=decide))
    async def always() -> None:
        raise ValueError("again")

    async with app.worker():
        assert (await failure(await always.delay())).attempt == 3
    assert asked == [("again", 1), ("again", 2), ("again", 3)]


async def test_a_decide_that_raises_is_the_failure_of_its_job_only(app: App) -> None:
    def decide(error: BaseException, attempt: int) -> float | None:
        raise SystemExit("decide is broken")

    @app.task(retry=RetryPolicy(decide=decide))
    async def broken() -> None:
        raise ValueError("first")

    @app.task
    async def fine() -> str:
        return "fine"

    async with app.worker():
        failed = await failure(await broken.delay())
        assert failed.error_type == "SystemExit"
        assert "decide is broken" in failed.error_message
        assert "ValueError: first" in failed.error_message
        assert await (await fine.delay()).result(timeout=10) == "fine"


@pytest.mark.parametrize(
    ("policy", "attempts"),
    [
        (RetryPolicy(delays=[0], give_up_on=(LookupError,)), 1),
        (RetryPolicy(delays=[0], retry_on=(OSError,)), 1),
        (RetryPolicy(delays=[0], retry_on=(LookupError,)), 3),
        (RetryPolicy(delays=[0], retry_on=(LookupError,), give_up_on=(KeyError,)), 1),
    ],
)
async def test_what_is_retried_depends_on_its_class(app: App, policy: RetryPolicy, attempts: int) -> None:
    @app.task(retries=2, retry=policy)
    async def lookup() -> None:
        raise KeyError("x")

    async with app.worker():
        assert (await failure(await lookup.delay())).attempt == attempts


async def test_a_retried_job_keeps_its_queue_priority_and_arguments(app: App) -> None:
    @app.task(retries=1, retry=AT_ONCE)
    async def tell(word: str) -> list[object]:
        job = current_job()
        if job.attempt == 1:
            raise ValueError
        return [word, job.queue, job.priority]

    async with app.worker(["mail"]):
        job = await tell.options(queue="mail", priority=2).delay("word")
        assert await job.result(timeout=10) == ["word", "mail", 2]


async def test_a_job_whose_store_result_is_off_ends_without_one(app: App) -> None:
    @app.task(store_result=False)
    async def give() -> object:
        return object()  # nothing that JSON could carry

    async with app.worker():
        job = await give.delay()
        assert await job.result(timeout=10) is None
        assert await job.status() == "succeeded"
