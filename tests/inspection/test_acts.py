"""What a person does to jobs, with an operator's rights, on each kind of server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App, JobStatus, RetryPolicy
from aiotq.errors import InvalidRecord, JobCancelled, JobFailed, JobNotFound, NewerRecord, StoreUnusable, UsageError
from aiotq.inspection import purging
from tests.worker.kit import until

if TYPE_CHECKING:
    from aiotq import Inspector, Job
    from tests.servers import Server

KEY = "k" * 32


class Flaky:
    """A task that fails as often as it shall."""

    def __init__(self, app: App, *, fails: int, **options: Any) -> None:
        self.left = fails
        self.ran = 0

        async def flaky() -> str:
            self.ran += 1
            self.left -= 1
            if self.left >= 0:
                raise ValueError(f"no {self.ran}")
            return "done"

        self.task = app.task(flaky, name="flaky", **options)


async def failed(app: App, job: Job[Any]) -> None:
    async with app.worker():
        with pytest.raises(JobFailed):
            await job.result(timeout=10)


async def kept(hand: Inspector) -> list[tuple[str, str, str]]:
    """What the audit has, oldest first."""
    entries = (await hand.audit()).items
    assert {entry.by for entry in entries} <= {"ada@host"}
    return [(entry.action, entry.subject, entry.came_to) for entry in reversed(entries)]


async def records(app: App, job: Job[Any]) -> bytes | None:
    return await app._core.client().store.read(job.id)


# --- retry


async def test_a_failed_job_that_is_retried_has_all_its_attempts_again(shop: App, hand: Inspector) -> None:
    flaky = Flaky(shop, fails=3, retries=1, retry=None)
    job = await flaky.task.options(retries=0).delay()
    await failed(shop, job)

    assert await hand.retry(job.id)

    assert await job.status() is JobStatus.QUEUED
    assert (await hand.dead()).items == ()
    async with shop.worker():
        with pytest.raises(JobFailed):
            await job.result(timeout=10)
        assert await hand.retry(job.id)
        with pytest.raises(JobFailed):
            await job.result(timeout=10)
        assert await hand.retry(job.id)
        assert await job.result(timeout=10) == "done"
    info = await job.info()
    assert [attempt.number for attempt in info.attempts] == [1, 1, 1, 1]
    assert flaky.ran == 4
    assert await kept(hand) == [("retry", job.id, "done")] * 3


async def test_a_retry_that_is_repeated_does_no_harm(shop: App, hand: Inspector) -> None:
    job = await Flaky(shop, fails=1, retries=0).task.delay()
    await failed(shop, job)
    assert await hand.retry(job.id)
    before = await records(shop, job)

    assert await hand.retry(job.id), "somebody has done it, and his answer was lost"

    assert await records(shop, job) == before
    assert [came_to for _, _, came_to in await kept(hand)] == ["done", "retried already"]


async def test_what_has_not_failed_is_not_retried_and_the_audit_says_so(shop: App, hand: Inspector) -> None:
    job = await Flaky(shop, fails=0).task.delay()

    assert not await hand.retry(job.id)
    async with shop.worker():
        await job.result(timeout=10)
    assert not await hand.retry(job.id)

    assert [came_to for _, _, came_to in await kept(hand)] == [
        "it has not failed",
        "it has succeeded, and only one that has failed is retried",
    ]


# --- cancel


async def test_a_job_is_cancelled_wherever_it_is(shop: App, hand: Inspector) -> None:
    started = asyncio.Event()

    @shop.task
    async def endless() -> None:
        started.set()
        await asyncio.Event().wait()

    runs = await endless.delay()
    async with shop.worker():
        await started.wait()
        assert await hand.cancel(runs.id)
        with pytest.raises(JobCancelled):
            await runs.result(timeout=10)
    waits, later = await endless.delay(), await endless.options(countdown=60).delay()
    for job in (waits, later):
        assert await hand.cancel(job.id)
        assert await job.status() is JobStatus.CANCELLED
        assert await hand.cancel(job.id), "it is as it shall be"
    assert [came_to for _, _, came_to in await kept(hand)] == [
        "its worker was told",
        *["done", "cancelled already"] * 2,
    ]


# --- discard


async def test_a_discarded_job_is_gone_for_whoever_looks(shop: App, hand: Inspector) -> None:
    job = await Flaky(shop, fails=1, retries=0).task.options(job_id="j1").delay()
    assert not await hand.discard(job.id)
    await failed(shop, job)

    assert await hand.discard(job.id)

    assert (await hand.dead()).items == ()
    for look in (job.status, job.info, job.result):
        with pytest.raises(JobNotFound):
            await look()
    assert await hand.discard(job.id)
    with pytest.raises(JobNotFound):
        await hand.retry(job.id)
    with pytest.raises(JobNotFound):
        await hand.cancel(job.id)
    assert (await kept(hand))[-1][2].startswith("failed: there is no job j1")


# --- promote, requeue


async def test_a_promoted_job_is_due_now(shop: App, hand: Inspector) -> None:
    job = await Flaky(shop, fails=0).task.options(countdown=3_600).delay()
    async with shop.worker():
        assert await hand.promote(job.id)
        assert await job.result(timeout=10) == "done"
    assert not await hand.promote(job.id)


async def test_a_retry_that_waits_is_promoted_as_well_and_is_the_attempt_that_it_was(
    shop: App, hand: Inspector
) -> None:
    job = await Flaky(shop, fails=1, retry=RetryPolicy(delays=[3_600])).task.delay()
    async with shop.worker():

        async def waits() -> bool:
            return await job.status() is JobStatus.SCHEDULED

        await until(waits)
        assert await hand.promote(job.id)
        assert await job.result(timeout=10) == "done"
    assert (await job.info()).attempt == 2


async def test_a_requeued_job_goes_to_another_queue_with_its_priority(shop: App, hand: Inspector) -> None:
    flaky = Flaky(shop, fails=0, queue="mail", priority=3)
    waits, later = await flaky.task.delay(), await flaky.task.options(countdown=3_600).delay()

    assert await hand.requeue(waits.id, queue="other")
    assert await hand.requeue(later.id, queue="other")

    infos = [await job.info() for job in (waits, later)]
    assert [(info.queue, info.priority, info.status) for info in infos] == [("other", 3, JobStatus.QUEUED)] * 2
    async with shop.worker(queues=["other"]):
        assert await waits.result(timeout=10) == await later.result(timeout=10) == "done"
    assert not await hand.requeue(waits.id)


async def test_a_running_job_is_neither_promoted_nor_requeued(shop: App, hand: Inspector) -> None:
    started, ends = asyncio.Event(), asyncio.Event()

    @shop.task
    async def slow() -> None:
        started.set()
        await ends.wait()

    job = await slow.delay()
    async with shop.worker(name="here"):
        await started.wait()
        assert not await hand.requeue(job.id, queue="other")
        assert not await hand.promote(job.id)
        ends.set()
        await job.result(timeout=10)
    assert {came_to for _, _, came_to in await kept(hand)} == {"it is running on here; cancel it, or let it end"}


# --- pause, resume


async def test_a_paused_queue_waits_until_it_is_resumed(shop: App, hand: Inspector) -> None:
    flaky = Flaky(shop, fails=0)
    assert await hand.pause("default")
    assert not await hand.pause("default")
    job = await flaky.task.delay()
    async with shop.worker():
        with pytest.raises(TimeoutError):
            await job.result(timeout=0.05)
        assert await hand.resume("default")
        assert await job.result(timeout=10) == "done"
    assert not await hand.resume("default")
    assert [came_to for _, _, came_to in await kept(hand)] == ["done", "paused already", "done", "not paused"]


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

    assert await hand.purge("default") == 7

    with pytest.raises(JobCancelled, match="purged"):
        await waiting
    for job in jobs:
        info = await job.info()
        assert (info.status, info.reason, info.arguments["args"]) == (JobStatus.CANCELLED, "purged", [])
    assert [await later.status(), await other.status()] == [JobStatus.SCHEDULED, JobStatus.QUEUED]
    assert await hand.purge("default") == 0
    assert await hand.purge("nobody-ever-used-it") == 0
    assert [came_to for _, _, came_to in await kept(hand)] == ["7 jobs", "0 jobs", "0 jobs"]


async def test_a_job_is_either_run_or_purged(shop: App, hand: Inspector) -> None:
    ran: set[int] = set()

    @shop.task
    async def run(number: int) -> None:
        ran.add(number)

    jobs = await shop.enqueue_many([run.s(number) for number in range(1_000)])
    async with shop.worker():
        purged = await hand.purge("default")

        async def all_ended() -> bool:
            return all([(await job.status()).ended for job in jobs])

        await until(all_ended)

    assert len(ran) + purged == 1_000
    for number, job in enumerate(jobs):
        assert ((await job.status()) is JobStatus.SUCCEEDED) is (number in ran)


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

    assert await hand.purge("default") == 250

    assert [await job.status() for job in came] == [JobStatus.QUEUED] * len(came)


# --- what can't be read, or must not be written


async def test_a_newer_record_is_left_alone_but_for_a_purge_and_its_end(
    shop: App, hand: Inspector, raw: Any, prefix: str
) -> None:
    flaky = Flaky(shop, fails=0)
    jobs = [await flaky.task.delay(), await flaky.task.delay()]
    for job in jobs:
        await raw.setrange(f"{prefix}job:{job.id}", 0, b"9")
    newer = await records(shop, jobs[0])

    for act in (hand.retry, hand.cancel, hand.promote, hand.requeue):
        with pytest.raises(NewerRecord):
            await act(jobs[0].id)
    assert not await hand.discard(jobs[0].id)
    assert await records(shop, jobs[0]) == newer
    assert await hand.purge("default") == 2
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
        assert await inside.purge("other") == 1
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


# --- two at once, mistakes, rights


@pytest.mark.parametrize("act", ["retry", "discard"])
async def test_two_people_who_do_the_same_at_once_do_it_once(shop: App, hand: Inspector, act: str) -> None:
    job = await Flaky(shop, fails=1, retries=0).task.delay()
    await failed(shop, job)
    other = shop.inspect.acting("ada@host") if act == "never" else hand

    assert await asyncio.gather(*(getattr(one, act)(job.id) for one in (hand, other, hand))) == [True] * 3

    done = [came_to for _, _, came_to in await kept(hand)]
    assert sorted(done) == sorted(["done", *[f"{'retried' if act == 'retry' else 'discarded'} already"] * 2])
    if act == "retry":
        async with shop.worker():
            assert await job.result(timeout=10) == "done"
        assert len((await job.info()).attempts) == 2


@pytest.mark.parametrize("text", ["", "a b", "x" * 129, "é", "../x", "\0", None, 7])
async def test_what_can_be_no_id_and_no_queue_is_refused(hand: Inspector, text: Any) -> None:
    for act in (hand.retry, hand.cancel, hand.discard, hand.promote, hand.requeue):
        with pytest.raises(UsageError):
            await act(text)
    for act in (hand.pause, hand.resume, hand.purge):
        with pytest.raises(UsageError):
            await act(text)
    if text is not None:
        with pytest.raises(UsageError):
            await hand.requeue("j1", queue=text)
    assert await kept(hand) == []


async def test_who_acts_is_said_or_found_out(shop: App, hand: Inspector) -> None:
    await shop.inspect.pause("default")
    await shop.inspect.acting("x" * 100).resume("default")

    latest, first = (await hand.audit()).items
    assert first.by.endswith(" (python)")
    assert "@" in first.by
    assert latest.by == "x" * 100
    for by in ("", "x" * 101, "a\nb", 7):
        with pytest.raises(UsageError):
            shop.inspect.acting(by)  # type: ignore[arg-type]


@pytest.mark.parametrize("server", ["acl"], indirect=True)
async def test_who_may_only_look_changes_nothing(shop: App, look: Inspector) -> None:
    job = await Flaky(shop, fails=0).task.delay()
    before = await records(shop, job)

    for act in (look.cancel(job.id), look.requeue(job.id), look.purge("default"), look.pause("default")):
        with pytest.raises(StoreUnusable, match="right"):
            await act

    assert await records(shop, job) == before
    assert (await look.audit()).items == ()
    assert [queue.name for queue in await look.queues()] == ["default"]


async def test_of_many_purged_jobs_the_first_are_kept_for_longer(
    shop: App, hand: Inspector, raw: Any, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purging, "MANY", 100)
    flaky = Flaky(shop, fails=0)
    jobs = await shop.enqueue_many([flaky.task.s() for _ in range(150)])

    assert await hand.purge("default") == 150

    ttls_s = [await raw.pttl(f"{prefix}job:{job.id}") / 1_000 for job in (jobs[0], jobs[-1])]
    assert ttls_s == [pytest.approx(600, abs=30), pytest.approx(60, abs=30)]
