"""`App(max_len=...)`: a queue that is as long as it may be takes nothing new, and says so to each caller."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from aiotq import App, JobStatus
from aiotq.errors import JobFailed, JobNotFound, QueueFull, StoreRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiotq import Task
    from tests.servers import Server


class Shop:
    """An app whose queues have a limit, and its tasks."""

    def __init__(self, url: str, namespace: str, max_len: int | Mapping[str, int]) -> None:
        self.app = App(url, namespace=namespace, max_len=max_len)

        @self.app.task(queue="email")
        async def mail(to: str) -> str:
            return to

        @self.app.task(retries=0)
        async def bill(count: int) -> int:
            for number in range(count):
                await mail.delay(str(number))
            return count

        self.mail: Task[[str], str] = mail
        self.bill: Task[[int], int] = bill


async def test_a_job_that_does_not_fit_is_refused_with_what_to_do(valkey: Server, namespace: str) -> None:
    shop = Shop(valkey.url, namespace, {"email": 2})
    async with shop.app:
        for name in ("Ada", "Bob"):
            await shop.mail.delay(name)
        with pytest.raises(StoreRefused) as raised:
            await shop.mail.options(job_id="third", priority=0).delay("Cyd")
        error = raised.value
        assert isinstance(error, QueueFull)
        assert (error.queue, error.max_len, error.code) == ("email", 2, "QUEUEFULL")
        assert str(error) == (
            f"enqueue: 2 jobs or more wait in the queue 'email' at {valkey.url}; fewer were expected (max_len), so "
            "nothing of job third was stored; enqueue it again later, start more workers, or raise max_len"
        )
        with pytest.raises(JobNotFound):
            await shop.app.job("third").status()
        await shop.bill.delay(0)  # of a queue that has no limit
        async with shop.app.worker() as worker:
            await worker.run_until_empty()
        await shop.mail.options(job_id="third").delay("Cyd")
        async with shop.app.worker() as worker:
            await worker.run_until_empty()


async def test_of_calls_at_the_same_time_those_that_fit_are_queued(valkey: Server, namespace: str) -> None:
    shop = Shop(valkey.url, namespace, 3)
    async with shop.app:
        answers = await asyncio.gather(*[shop.mail.delay(str(i)) for i in range(10)], return_exceptions=True)
        assert [isinstance(answer, QueueFull) for answer in answers] == [False] * 3 + [True] * 7
        async with shop.app.worker() as worker:
            await worker.run_until_empty()


async def test_of_many_calls_those_that_fit_are_queued_and_the_error_names_the_others(
    valkey: Server, namespace: str
) -> None:
    shop = Shop(valkey.url, namespace, {"email": 2})
    calls = [
        shop.mail.options(job_id="a").s("a"),
        shop.mail.options(job_id="b").s("b"),
        shop.mail.s("refused"),
        shop.bill.options(job_id="d").s(0),
        shop.mail.s("refused too"),
        shop.mail.options(countdown=60, job_id="f").s("later"),
    ]
    async with shop.app:
        with pytest.raises(QueueFull) as raised:
            await shop.app.enqueue_many(calls)
        assert raised.value.refused == (2, 4)
        [note] = raised.value.__notes__
        assert note.startswith("4 of 6 jobs of this enqueue_many() were queued")
        states = [await shop.app.job(name).status() for name in "abdf"]
        assert states == [JobStatus.QUEUED] * 3 + [JobStatus.SCHEDULED]
        await shop.app.job("f").cancel()
        async with shop.app.worker() as worker:
            await worker.run_until_empty()
        again = await shop.app.enqueue_many([calls[place] for place in raised.value.refused])
        assert [job.existed for job in again] == [False, False]
        async with shop.app.worker() as worker:
            await worker.run_until_empty()


async def test_a_repeat_of_a_known_id_is_answered_though_the_queue_is_full(valkey: Server, namespace: str) -> None:
    shop = Shop(valkey.url, namespace, 1)
    once = shop.mail.options(job_id="once")
    async with shop.app:
        assert [(await once.delay("Ada")).existed, (await once.delay("Ada")).existed] == [False, True]
        async with shop.app.worker() as worker:
            await worker.run_until_empty()


async def test_delay_sync_and_tasks_that_enqueue_are_refused_as_well(valkey: Server, namespace: str) -> None:
    shop = Shop(valkey.url, namespace, {"email": 2})
    async with shop.app:
        async with shop.app.worker(["default"]):
            with pytest.raises(JobFailed, match="QueueFull: enqueue: 2 jobs or more wait in the queue 'email'"):
                await (await shop.bill.delay(3)).result(timeout=5)
        with pytest.raises(QueueFull):
            await asyncio.to_thread(shop.mail.delay_sync, "Ada")
        async with shop.app.worker() as worker:
            await worker.run_until_empty()
