"""What tasks enqueue, on their worker's own connection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from aiotq.errors import JobFailed
from tests.worker.kit import fetcher_of, until

if TYPE_CHECKING:
    from aiotq import App
    from tests.worker.kit import Keys

MOST_CONNECTIONS = 6


async def test_a_task_enqueues_with_delay(app: App) -> None:
    @app.task
    async def child(number: int) -> int:
        return number + 1

    @app.task
    async def parent(number: int) -> str:
        return (await child.delay(number)).id

    async with app.worker():
        child_id = await (await parent.delay(1)).result(timeout=5)
        assert await app.job(child_id).result(timeout=5) == 2


async def test_a_task_may_wait_for_the_job_it_has_enqueued(app: App) -> None:
    @app.task
    async def child() -> str:
        return "of the child"

    @app.task
    async def parent() -> str:
        return await (await child.delay()).result(timeout=5)

    async with app.worker(concurrency=2):
        assert await (await parent.delay()).result(timeout=10) == "of the child"


async def test_a_plain_def_enqueues_with_delay_sync(app: App) -> None:
    @app.task
    async def child(number: int) -> int:
        return number + 1

    @app.task
    def parent(number: int) -> str:
        return child.delay_sync(number).id

    async with app.worker():
        child_id = await (await parent.delay(1)).result(timeout=5)
        assert await app.job(child_id).result(timeout=5) == 2


async def test_delay_sync_in_an_async_task_says_what_to_write_instead(app: App) -> None:
    @app.task
    async def child() -> None: ...

    @app.task(retries=0)
    async def parent() -> None:
        child.delay_sync()

    async with app.worker():
        with pytest.raises(JobFailed, match=r"write: await child\.delay"):
            await (await parent.delay()).result(timeout=5)


async def test_a_hundred_tasks_that_enqueue_at_once_enqueue_all(app: App) -> None:
    ran: list[int] = []

    @app.task
    async def child(number: int) -> None:
        ran.append(number)

    @app.task
    async def parent(number: int) -> None:
        await asyncio.gather(*(child.delay(10 * number + digit) for digit in range(10)))

    async with app.worker() as worker:
        await app.enqueue_many([parent.s(number) for number in range(100)])
        await worker.run_until_empty()
    assert sorted(ran) == list(range(1_000))


async def test_a_job_cancelled_while_it_enqueues_leaves_the_connection_in_step(app: App) -> None:
    """A command in flight is never cancelled: its reply would be taken for the next one's."""

    @app.task
    async def child(number: int) -> int:
        return number

    @app.task(timeout=0.02, retries=0)
    async def parent() -> None:
        number = 0
        while True:
            await child.delay(number)
            number += 1

    async with app.worker() as worker:
        for _ in range(10):
            with pytest.raises(JobFailed, match="JobTimeout"):
                await (await parent.delay()).result(timeout=5)
            assert await (await child.delay(7)).result(timeout=5) == 7
        await worker.run_until_empty()


async def test_a_worker_and_its_tasks_take_six_connections_at_most(app: App, keys: Keys) -> None:
    async def ids() -> set[str]:
        return {client["id"] for client in await keys.client.client_list()}

    before = await ids()  # the test's own among them, and the app's first

    @app.task
    async def child() -> None: ...

    @app.task
    async def on_loop() -> None:
        await child.delay()
        await (await child.delay()).result(timeout=5)

    @app.task
    def in_thread() -> None:
        child.delay_sync()

    async with app.worker() as worker:
        await app.enqueue_many([task.options(countdown=0.01).s() for task in (on_loop, in_thread) for _ in range(20)])
        await worker.run_until_empty()
        await until(fetcher_of(worker).thirsty.is_set)
        opened = await ids() - before
        assert 1 <= len(opened) <= MOST_CONNECTIONS - 1  # the app's first one counts as well
