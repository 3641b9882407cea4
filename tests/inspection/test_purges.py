"""Purges, and what is done to records that can't be read or must not be written, on each kind of server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App, JobStatus
from aiotq.errors import InvalidRecord, JobCancelled, JobFailed, JobNotFound, NewerRecord, UsageError
from aiotq.inspection import purging
from tests.inspection.kit import Flaky, failed, kept, records
from tests.worker.kit import until

if TYPE_CHECKING:
    from aiotq import Inspector, Job
    from tests.servers import Server

KEY = "k" * 32


# --- purge


async def test_a_purge_ends_what_waits_and_tells_who_waits_for_it(
    shop: App, hand: Inspector, raw: Any, prefix: str
) -> None:
    flaky = Flaky(shop, fails=0)
    jobs = [await flaky.task.options(priority=number % 3).delay() for number in range(7)]
    later, other = await flaky.task.options(countdown=60).delay(), await flaky.task.options(queue="other").delay()
    waiting = asyncio.ensure_future(jobs[3].result(timeout=10))

    async def listens() -> bool:
        return await raw.exists(f"{prefix}waits") == 1

    await until(listens)

    assert (await hand.purge("default")).ended == 7

    with pytest.raises(JobCancelled, match="purged"):
        await waiting
    for job in jobs:
        info = await job.info()
        assert (info.status, info.reason, info.arguments["args"]) == (JobStatus.CANCELLED, "purged", [])
    assert [await later.status(), await other.status()] == [JobStatus.SCHEDULED, JobStatus.QUEUED]
    assert (await hand.purge("default")).ended == 0
    assert (await hand.purge("nobody-ever-used-it")).ended == 0
    assert [came_to for _, _, came_to in await kept(hand)] == ["7 jobs", "0 jobs", "0 jobs"]


async def test_a_job_is_either_run_or_purged(shop: App, hand: Inspector) -> None:
    ran: set[int] = set()

    @shop.task
    async def run(number: int) -> None:
        ran.add(number)

    jobs = await shop.enqueue_many([run.s(number) for number in range(1_000)])
    async with shop.worker():
        purged = (await hand.purge("default")).ended

        async def all_ended() -> bool:
            return all([(await job.status()).ended for job in jobs])

        await until(all_ended)

    assert len(ran) + purged == 1_000
    for number, job in enumerate(jobs):
        assert ((await job.status()) is JobStatus.SUCCEEDED) is (number in ran)


async def test_a_purge_ends_all_also_behind_jobs_that_came_to_the_front_since(shop: App, hand: Inspector) -> None:
    flaky = Flaky(shop, fails=0)
    await shop.enqueue_many([flaky.task.s() for _ in range(1_000)])
    as_of = await hand.now()
    await asyncio.sleep(0.002)  # another millisecond
    came = await shop.enqueue_many([flaky.task.options(lifo=True).s() for _ in range(90)])

    assert (await hand.purge("default", as_of=as_of)).ended == 1_000

    assert {await job.status() for job in came} == {JobStatus.QUEUED}


async def test_what_comes_while_a_queue_is_purged_stays(shop: App, hand: Inspector, monkeypatch: Any) -> None:
    flaky = Flaky(shop, fails=0)
    await shop.enqueue_many([flaky.task.s() for _ in range(250)])
    side = type(hand._desk.operator)
    came: list[Job[Any]] = []
    front = side.front

    async def and_more(*given: Any, **named: Any) -> Any:
        await asyncio.sleep(0.002)  # another millisecond than the purge began in
        came.extend([await flaky.task.options(lifo=bool(len(came) % 2)).delay()])
        return await front(*given, **named)

    monkeypatch.setattr(side, "front", and_more)

    assert (await hand.purge("default")).ended == 250

    assert [await job.status() for job in came] == [JobStatus.QUEUED] * len(came)


async def test_of_many_purged_jobs_the_first_are_kept_for_longer(
    shop: App, hand: Inspector, raw: Any, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purging, "MANY", 100)
    flaky = Flaky(shop, fails=0)
    jobs = await shop.enqueue_many([flaky.task.s() for _ in range(150)])

    assert (await hand.purge("default")).ended == 150

    ttls_s = [await raw.pttl(f"{prefix}job:{job.id}") / 1_000 for job in (jobs[0], jobs[-1])]
    assert ttls_s == [pytest.approx(600, abs=30), pytest.approx(60, abs=30)]


async def test_what_came_after_the_queue_was_counted_stays(shop: App, hand: Inspector) -> None:
    flaky = Flaky(shop, fails=0)
    await shop.enqueue_many([flaky.task.s() for _ in range(120)])
    as_of = await hand.now()
    await asyncio.sleep(0.002)  # another millisecond
    came = [await flaky.task.options(lifo=lifo).delay() for lifo in (True, False)]

    assert (await hand.purge("default", as_of=as_of)).ended == 120

    assert [await job.status() for job in came] == [JobStatus.QUEUED] * 2
    with pytest.raises(UsageError, match="as_of"):
        await hand.purge("default", as_of=7)  # type: ignore[arg-type]
    assert (await hand.purge("default")).ended == 2


# --- what can't be read, or must not be written


async def test_a_newer_record_is_left_alone_but_for_a_purge_a_discard_and_its_end(
    shop: App, hand: Inspector, raw: Any, prefix: str
) -> None:
    flaky = Flaky(shop, fails=0)
    jobs = [await flaky.task.delay() for _ in range(3)]
    for job in jobs:
        await raw.setrange(f"{prefix}job:{job.id}", 0, b"9")
    newer = await records(shop, jobs[0])

    for act in (hand.retry, hand.cancel, hand.promote, hand.requeue):
        with pytest.raises(NewerRecord):
            await act(jobs[0].id)
    assert await records(shop, jobs[0]) == newer
    assert await hand.discard(jobs[2].id)
    purged = await hand.purge("default")
    assert (purged.ended, purged.cleared) == (2, 1)
    assert (await jobs[0].info()).reason == "purged"


async def test_an_ended_record_of_a_newer_version_is_discarded(
    shop: App, hand: Inspector, raw: Any, prefix: str
) -> None:
    job = await Flaky(shop, fails=1, retries=0).task.delay()
    await failed(shop, job)
    await raw.setrange(f"{prefix}job:{job.id}", 0, b"9")

    assert await hand.discard(job.id)

    assert (await hand.dead()).items == ()


async def test_without_keys_nothing_signed_is_touched_and_with_them_it_is_signed_anew(
    shop: App, hand: Inspector, server: Server, namespace: str
) -> None:
    person = server.url.replace("aiotq_worker:", "aiotq_operator:")
    async with (
        App(server.url, namespace=namespace, signing_keys=[KEY]) as signed,
        App(person, namespace=namespace, signing_keys=[KEY]) as of_person,
    ):
        flaky = Flaky(signed, fails=1, retries=0)
        dies, waits, other = [await flaky.task.options(queue=name).delay() for name in ("dies", "waits", "other")]
        async with signed.worker(queues=["dies"]):
            with pytest.raises(JobFailed):
                await dies.result(timeout=10)
        before = [await records(shop, job) for job in (dies, waits)]

        for job, acts in ((dies, (hand.retry, hand.discard)), (waits, (hand.cancel, hand.requeue, shop.job(waits.id)))):
            for act in acts:
                with pytest.raises(UsageError, match="signing_keys"):
                    await (act.cancel() if not callable(act) else act(job.id))
        with pytest.raises(UsageError, match="signing_keys"):
            await hand.purge("waits")
        assert [await records(shop, job) for job in (dies, waits)] == before

        inside = of_person.inspect
        assert await inside.retry(dies.id)
        assert await inside.requeue(waits.id, queue="dies")
        assert (await inside.purge("other")).ended == 1
        with pytest.raises(JobCancelled):
            await other.result(timeout=10)
        async with signed.worker(queues=["dies"]):
            assert [await job.result(timeout=10) for job in (dies, waits)] == ["done", "done"]
        assert await inside.discard(dies.id)
        with pytest.raises(JobNotFound):
            await dies.info()


async def test_what_could_not_be_read_runs_once_it_can(
    shop: App, hand: Inspector, server: Server, namespace: str
) -> None:
    """A worker without the right key has buried it; it is put back with the signature that it had."""
    async with (
        App(server.url, namespace=namespace, signing_keys=[KEY]) as right,
        App(server.url, namespace=namespace, signing_keys=["x" * 32]) as wrong,
    ):
        flaky = Flaky(right, fails=0)
        Flaky(wrong, fails=0)
        job = await flaky.task.delay()
        async with wrong.worker():

            async def buried() -> bool:
                return await wrong.job(job.id).status() is JobStatus.FAILED

            await until(_without_errors(buried))
        assert await wrong.inspect.retry(job.id)
        async with right.worker():
            assert await job.result(timeout=10) == "done"


def _without_errors(look: Any) -> Any:
    async def looked() -> bool:
        try:
            return await look()
        except InvalidRecord:
            return False

    return looked
