"""How a worker stops, gently or at once, and what becomes of the jobs in its hands."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiotq import App, current_job
from tests.worker.kit import Gate, fetcher_of, until, within, working

if TYPE_CHECKING:
    from tests.worker.kit import Events, Keys


# --- gently -------------------------------------------------------------------------------------------------------


async def test_a_gentle_stop_claims_nothing_more_and_lets_running_jobs_end(app: App, events: Events) -> None:
    gate = Gate(comers=2)

    @app.task
    async def job() -> str:
        await gate.pass_through()
        return "ended"

    worker = app.worker(concurrency=2)
    async with working(worker) as running:
        jobs = [await job.delay() for _ in range(4)]
        await gate.reached()
        worker.stop()
        late = await job.delay()
        gate.open()
        async with within():
            assert await running == 0
    assert [await one.status() for one in [*jobs, late]] == ["succeeded"] * 2 + ["queued"] * 3
    assert worker.tally == {"succeeded": 2, "failed": 0, "retried": 0, "returned": 0, "cancelled": 0}
    assert vars(await events.line("stopping")) | {"running": 2, "grace_s": 30} == vars(await events.line("stopping"))
    assert vars(await events.line("stopped"))["tally"] == worker.tally
    for one in [*jobs[2:], late]:
        await one.cancel()


async def test_jobs_that_outlast_the_grace_go_back_to_the_front_in_their_order_with_their_attempt(
    app: App, keys: Keys
) -> None:
    gate = Gate(comers=5)
    seen: list[tuple[int, int]] = []

    @app.task
    async def job(number: int) -> None:
        seen.append((number, current_job().attempt))
        await gate.pass_through()

    jobs = [await job.options(job_id=f"job-{number}").delay(number) for number in range(7)]
    async with app.worker(concurrency=5, grace=0) as worker:
        await gate.reached()
    assert worker.tally["returned"] == 5
    assert await keys.line("default:5") == [f"job-{number}" for number in range(7)]
    assert [(await one.info()).attempt for one in jobs] == [0] * 7
    gate.open()
    async with app.worker(concurrency=1) as worker:
        await worker.run_until_empty()
    assert seen[5:] == [(number, 1) for number in range(7)]
    assert [len((await one.info()).attempts) for one in jobs] == [1] * 7


async def test_jobs_put_back_keep_their_order_even_if_they_fill_several_batches(app: App, keys: Keys) -> None:
    gate = Gate(comers=700)

    @app.task
    async def job() -> None:
        await gate.pass_through()

    ids = [f"job-{number:03}" for number in range(750)]
    await app.enqueue_many([job.options(job_id=job_id).s() for job_id in ids])
    async with app.worker(concurrency=700, grace=0):
        await gate.reached()
    assert await keys.line("default:5") == ids
    gate.open()
    async with app.worker() as worker:
        await worker.run_until_empty()


async def test_jobs_go_back_to_the_lines_they_came_from(app: App, keys: Keys) -> None:
    gate = Gate(comers=4)

    @app.task
    async def job() -> None:
        await gate.pass_through()

    for queue in ("a", "b"):
        for priority in (1, 8):
            await job.options(queue=queue, priority=priority, job_id=f"{queue}{priority}").delay()
    async with app.worker(["a", "b"], grace=0):
        await gate.reached()
    lines = {name: await keys.line(name) for name in ("a:1", "a:8", "b:1", "b:8")}
    assert lines == {"a:1": ["a1"], "a:8": ["a8"], "b:1": ["b1"], "b:8": ["b8"]}
    gate.open()
    async with app.worker(["a", "b"]) as worker:
        await worker.run_until_empty()


async def test_a_returned_job_is_run_at_once_by_another_worker(app: App) -> None:
    first, second = Gate(), asyncio.Event()
    names: list[str] = []

    @app.task
    async def job() -> str:
        names.append("ran")
        if len(names) == 1:
            await first.pass_through()
        second.set()
        return "by the other"

    async with app.worker(grace=0) as one:
        sent = await job.delay()
        await first.reached()
        async with app.worker() as other:
            await until(fetcher_of(other).thirsty.is_set)
            one.stop()
            assert await sent.result(timeout=3) == "by the other"
            assert other.tally["succeeded"] == 1
    assert (await sent.info()).attempt == 1


async def test_a_job_may_clean_up_when_the_grace_is_over_and_one_that_fails_at_it_goes_back_all_the_same(
    app: App,
) -> None:
    gate, cleaned = Gate(comers=2), []

    @app.task
    async def cleans() -> None:
        try:
            await gate.pass_through()
        finally:
            await asyncio.sleep(0.01)  # it takes a while to clean up
            cleaned.append("cleans")

    @app.task
    async def fails() -> None:
        try:
            await gate.pass_through()
        finally:
            cleaned.append("fails")
            raise ConnectionError("already closed")

    async with app.worker(grace=0) as worker:
        jobs = [await cleans.delay(), await fails.delay()]
        await gate.reached()
    assert sorted(cleaned) == ["cleans", "fails"]
    assert worker.tally["returned"] == 2
    assert [(await job.info()).attempt for job in jobs] == [0, 0]
    for job in jobs:
        assert await job.status() == "queued"
        await job.cancel()


async def test_a_job_that_ends_well_after_the_grace_has_ended_well(app: App) -> None:
    gate = Gate()

    @app.task
    async def job() -> str:
        try:
            await gate.pass_through()
        except asyncio.CancelledError:
            return "saved what it had"
        return "whole"

    async with app.worker(grace=0):
        sent = await job.delay()
        await gate.reached()
    assert await sent.result(timeout=5) == "saved what it had"


async def test_a_job_that_swallows_the_stop_is_put_back_and_the_worker_ends(
    app: App, events: Events, impatient: None
) -> None:
    gate, let_go = Gate(), asyncio.Event()

    @app.task
    async def stubborn() -> None:
        gate.here.append("here")
        gate._all_here.set()
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    async with app.worker(grace=0) as worker:
        job = await stubborn.delay()
        await gate.reached()
    assert events.of("stuck", job_id=job.id)
    assert worker.stuck
    assert await job.status() == "queued"
    ending = [held.handle for held in fetcher_of(worker)._runner.running if held.handle is not None]
    let_go.set()
    await asyncio.wait(ending)
    assert await job.status() == "queued"  # nothing came of the leftover
    await job.cancel()


# --- at once ------------------------------------------------------------------------------------------------------


async def test_a_forced_stop_puts_back_what_runs_at_once_in_its_order(app: App, keys: Keys) -> None:
    gate = Gate(comers=3)
    cancelled: list[int] = []

    @app.task
    async def job(number: int) -> None:
        try:
            await gate.pass_through()
        finally:
            cancelled.append(number)

    loop = asyncio.get_running_loop()
    worker = app.worker(concurrency=3)
    async with working(worker) as running:
        for number in range(5):
            await job.options(job_id=f"job-{number}").delay(number)
        await gate.reached()
        began_s = loop.time()
        worker.stop(now=True)
        async with within():
            assert await running == 130
        assert loop.time() - began_s < 5  # none was waited for, that would not end
    assert sorted(cancelled) == [0, 1, 2]
    assert worker.tally["returned"] == 3
    assert await keys.line("default:5") == [f"job-{number}" for number in range(5)]
    assert not await keys.workers()
    for number in range(5):
        assert (await app.job(f"job-{number}").info()).attempt == 0
        await app.job(f"job-{number}").cancel()


async def test_a_second_stop_forces_the_first(app: App) -> None:
    gate = Gate()

    @app.task
    async def job() -> None:
        await gate.pass_through()

    worker = app.worker()
    async with working(worker) as running:
        sent = await job.delay()
        await gate.reached()
        worker.stop()
        worker.stop()  # a gentle one again: nothing new
        await asyncio.sleep(0)
        assert not running.done()
        worker.stop(now=True)
        async with within(4):
            assert await running == 130
    assert await sent.status() == "queued"
    await sent.cancel()


async def test_a_forced_stop_does_not_wait_for_a_job_that_will_not_end(app: App) -> None:
    gate, let_go = Gate(), asyncio.Event()

    @app.task
    async def stubborn() -> None:
        gate.here.append("here")
        gate._all_here.set()
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    worker = app.worker()
    async with working(worker) as running:
        job = await stubborn.delay()
        await gate.reached()
        worker.stop(now=True)
        async with within(4):
            assert await running == 130
    assert worker.stuck
    assert await job.status() == "queued"
    ending = [held.handle for held in fetcher_of(worker)._runner.running if held.handle is not None]
    let_go.set()
    await asyncio.wait(ending)
    await job.cancel()


async def test_a_stop_in_mid_drain_loses_nothing_and_keeps_the_order(app: App, keys: Keys) -> None:
    ran: list[int] = []
    enough = asyncio.Event()

    @app.task
    async def job(number: int) -> None:
        ran.append(number)
        if len(ran) >= 300:
            enough.set()

    await app.enqueue_many([job.options(job_id=f"job-{number:04}").s(number) for number in range(3_000)])
    async with app.worker() as worker, within():
        await enough.wait()
    assert ran == list(range(len(ran)))
    assert len(ran) < 3_000
    assert await keys.line("default:5") == [f"job-{number:04}" for number in range(len(ran), 3_000)]
    assert worker.tally["returned"] == 0  # those had not been started
    async with app.worker() as worker:
        await worker.run_until_empty()
    assert sorted(ran) == list(range(3_000))
