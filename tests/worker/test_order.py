"""Which job a worker takes next."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.worker.kit import Gate, fetcher_of, within

if TYPE_CHECKING:
    from aiotq import App


async def test_queues_are_served_in_the_given_order(app: App) -> None:
    ran: list[str] = []

    @app.task
    async def note(name: str) -> None:
        ran.append(name)

    for queue in ("low", "high", "middle"):
        for number in range(2):
            await note.options(queue=queue).delay(f"{queue}-{number}")
    async with app.worker(["high", "middle", "low"], concurrency=1) as worker:
        await worker.run_until_empty()
    assert ran == ["high-0", "high-1", "middle-0", "middle-1", "low-0", "low-1"]


async def test_priorities_are_served_from_0_to_9_and_each_first_in_first_out(app: App) -> None:
    ran: list[tuple[int, int]] = []

    @app.task
    async def note(priority: int, number: int) -> None:
        ran.append((priority, number))

    for number in range(2):
        for priority in (9, 3, 0, 5, 1, 8, 2, 7, 4, 6):
            await note.options(priority=priority).delay(priority, number)
    async with app.worker(concurrency=1) as worker:
        await worker.run_until_empty()
    assert ran == [(priority, number) for priority in range(10) for number in range(2)]


async def test_a_lifo_job_goes_before_those_of_its_priority_and_behind_higher_ones(app: App) -> None:
    ran: list[str] = []

    @app.task
    async def note(name: str) -> None:
        ran.append(name)

    await note.delay("first")
    await note.options(lifo=True).delay("lifo 1")
    await note.options(lifo=True).delay("lifo 2")
    await note.delay("second")
    await note.options(priority=4).delay("higher")
    async with app.worker(concurrency=1) as worker:
        await worker.run_until_empty()
    assert ran == ["higher", "lifo 2", "lifo 1", "first", "second"]


async def test_a_priority_of_the_task_holds_unless_the_call_gives_one(app: App) -> None:
    ran: list[str] = []

    async def run(name: str) -> None:
        ran.append(name)

    slow = app.task(run, name="slow", priority=9)
    fast = app.task(run, name="fast", priority=1)
    await slow.delay("slow")
    await fast.delay("fast")
    await slow.options(priority=0).delay("slow, but urgent")
    async with app.worker(concurrency=1) as worker:
        await worker.run_until_empty()
    assert ran == ["slow, but urgent", "fast", "slow"]


async def test_without_queues_the_default_one_is_served_first_then_the_others_as_declared(app: App) -> None:
    ran: list[str] = []

    async def note(name: str) -> None:
        ran.append(name)

    zebra = app.task(note, name="zebra", queue="zebra")
    plain = app.task(note, name="plain")
    apple = app.task(note, name="apple", queue="apple")
    for task in (apple, zebra, plain):
        await task.delay(task.name)
    worker = app.worker(concurrency=1)
    assert worker.queues == ("default", "zebra", "apple")
    async with worker:
        await worker.run_until_empty()
    assert ran == ["plain", "zebra", "apple"]


async def test_other_queues_than_the_given_ones_are_left_alone(app: App) -> None:
    @app.task
    async def where(queue: str) -> str:
        return queue

    other = await where.options(queue="other").delay("other")
    async with app.worker(["mine"]) as worker:
        await where.options(queue="mine").delay("mine")
        await worker.run_until_empty()
        assert worker.tally["succeeded"] == 1
    assert await other.status() == "queued"
    await other.cancel()


async def test_a_paused_queue_is_not_served_and_resume_wakes_an_idle_worker(app: App) -> None:
    @app.task
    async def where() -> str:
        return "ran"

    store = app._core.client().store
    await store.pause("slow")
    async with app.worker(["slow", "default"]) as worker:
        held_back = await where.options(queue="slow").delay()
        assert await (await where.delay()).result(timeout=5) == "ran"
        assert await held_back.status() == "queued"
        async with within():
            await fetcher_of(worker).idle.wait()
            await fetcher_of(worker).thirsty.wait()
        await store.resume("slow")
        assert await held_back.result(timeout=3) == "ran"  # at once, not after the 4 s for which a worker sleeps


async def test_a_job_of_a_higher_priority_overtakes_what_waits_in_its_queue(app: App) -> None:
    ran: list[str] = []
    gate = Gate()

    @app.task
    async def note(name: str) -> None:
        ran.append(name)
        if name == "running":
            await gate.pass_through()

    async with app.worker(concurrency=1) as worker:
        await note.delay("running")
        await gate.reached()
        for number in range(3):
            await note.delay(f"waiting {number}")
        await note.options(priority=0).delay("urgent")
        gate.open()
        await worker.run_until_empty()
    assert ran == ["running", "urgent", "waiting 0", "waiting 1", "waiting 2"]


async def test_a_job_starts_at_once_on_an_idle_worker(app: App) -> None:
    loop = asyncio.get_running_loop()
    late_s: list[float] = []

    @app.task
    async def started(sent_s: float) -> None:
        late_s.append(loop.time() - sent_s)

    async with app.worker():
        for _ in range(20):
            await (await started.delay(loop.time())).result(timeout=5)
    assert sorted(late_s)[10] < 0.05  # a worker that polled would be later
