"""What observers are told, and that they harm nothing."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App, Observer, Reject, RetryPolicy, current_job
from aiotq.errors import JobCancelled, JobFailed
from aiotq.hooks import Attempt, Cancelled, Failed, Outcome, Outgoing, Retried, Returned, Succeeded
from tests.worker.kit import Gate, fetcher_of, until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.worker.kit import Events, Keys

AT_ONCE = RetryPolicy(delays=[0])


class Diary(Observer):
    """Writes down all that it is told."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def enqueued(self, job: Outgoing, *, existed: bool) -> None:
        self.said.append(("enqueued", job.task, existed))

    def claimed(self, attempts: Sequence[Attempt], took_s: float) -> None:
        assert took_s > 0
        self.said.append(("claimed", *(attempt.task for attempt in attempts)))

    def started(self, attempt: Attempt) -> None:
        assert attempt.waited_s is not None
        assert attempt.took_s is None
        self.said.append(("started", attempt.task, attempt.number))

    def ended(self, attempt: Attempt, outcome: Outcome) -> None:
        assert (attempt.took_s is None) == (attempt.waited_s is None)
        self.said.append(("ended", attempt.task, attempt.number, type(outcome)))

    def lost(self, attempt: Attempt) -> None:
        self.said.append(("lost", attempt.task, attempt.number))

    def of(self, word: str) -> list[tuple[Any, ...]]:
        return [said for said in self.said if said[0] == word]


@pytest.fixture
def diary(app: App) -> Diary:
    made = Diary()
    app.add_observer(made)
    return made


async def test_a_jobs_life_is_told_in_its_order(app: App, diary: Diary) -> None:
    @app.task(name="work", retries=1, retry=AT_ONCE)
    async def work() -> int:
        if current_job().attempt == 1:
            raise ValueError
        return 1

    async with app.worker():
        await (await work.delay()).result(timeout=10)
    assert diary.said == [
        ("enqueued", "work", False),
        ("claimed", "work"),
        ("started", "work", 1),
        ("ended", "work", 1, Retried),
        ("claimed", "work"),
        ("started", "work", 2),
        ("ended", "work", 2, Succeeded),
    ]


async def test_what_an_attempt_is_told_with(app: App, diary: Diary) -> None:
    seen: list[Attempt] = []

    class Keep(Observer):
        def ended(self, attempt: Attempt, outcome: Outcome) -> None:
            seen.append(attempt)

    app.add_observer(Keep())

    @app.task(name="work", queue="mail")
    async def work() -> int:
        return current_job().fence

    async with app.worker(name="w1"):
        job = await work.options(headers={"tenant": "7"}, countdown=0.05).delay()
        fence = await job.result(timeout=10)
    [attempt] = seen
    assert (attempt.id, attempt.task, attempt.queue, attempt.number) == (job.id, "work", "mail", 1)
    assert (attempt.fence, attempt.worker, attempt.headers) == (fence, "w1", {"tenant": "7"})
    assert 0 <= (attempt.waited_s or 0) < 10
    assert 0 < (attempt.took_s or 0) < 10


async def test_each_outcome_is_told_and_of_a_job_that_did_not_start_too(app: App, diary: Diary) -> None:
    gate = Gate()

    @app.task(name="work", retries=0)
    async def work(what: str) -> None:
        match what:
            case "fail":
                raise ValueError
            case "reject":
                raise Reject("no")
            case _:
                await gate.pass_through()

    other = App(app.source().url, namespace=app._core.settings.namespace)

    @other.task(name="nobody-knows-it")
    async def unknown() -> None: ...

    async with other:
        [strange] = await other.enqueue_many([unknown.s()])
    late = await work.options(expires=0.001).delay("late")
    await asyncio.sleep(0.01)
    async with app.worker(grace=0, concurrency=10):
        with pytest.raises(JobCancelled):
            await late.result(timeout=10)
        for what in ("fail", "reject"):
            with pytest.raises(JobFailed):
                await (await work.delay(what)).result(timeout=10)
        waits = await work.delay("wait")
        await gate.reached()
        await waits.cancel()
        with pytest.raises(JobCancelled):
            await waits.result(timeout=10)
        await work.delay("wait")
        await until(lambda: len(diary.of("started")) == 4)
    ended = {(said[1], said[3]) for said in diary.of("ended")}
    assert ended == {
        ("work", Cancelled), ("work", Failed), ("work", Returned), ("nobody-knows-it", Retried),
    }  # fmt: skip
    assert len(diary.of("ended")) == 6
    async with app.worker():
        gate.open()
        await until(lambda: ("ended", "work", 1, Succeeded) in diary.said)
    await app.job(strange.id).cancel()


async def test_a_job_that_was_put_back_before_it_started_is_not_told(app: App, diary: Diary) -> None:
    gate = Gate()

    @app.task(name="work")
    async def work() -> None:
        await gate.pass_through()

    async with app.worker(concurrency=1) as worker:
        await work.delay()
        await gate.reached()
        fetcher = fetcher_of(worker)
        fetcher._runner.average_s = 1e-6  # it reads ahead
        await work.delay()
        await until(lambda: len(fetcher.ready) == 1)
        worker.stop()
        gate.open()
    assert [said[0] for said in diary.said].count("ended") == 1
    async with app.worker() as worker:
        await worker.run_until_empty()


async def test_a_job_that_is_another_workers_now_is_told_as_lost(
    app: App, diary: Diary, keys: Keys, events: Events
) -> None:
    gate = Gate()

    @app.task(name="work")
    async def work() -> int:
        if current_job().attempt and not diary.of("lost"):
            await gate.pass_through()
        return 1

    async with app.worker() as worker:
        job = await work.delay()
        await gate.reached()
        await keys.reclaim(app._core.client().store, fetcher_of(worker).worker_id)
        await until(lambda: bool(diary.of("lost")))
        assert await job.result(timeout=20) == 1
    assert diary.of("lost") == [("lost", "work", 1)]
    assert diary.of("ended") == [("ended", "work", 1, Succeeded)]


async def test_a_broken_observer_harms_no_job_and_is_said_once(app: App, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Observer):
        def enqueued(self, job: Outgoing, *, existed: bool) -> None:
            raise ValueError("enqueued")

        def claimed(self, attempts: Sequence[Attempt], took_s: float) -> None:
            raise SystemExit(3)

        def started(self, attempt: Attempt) -> None:
            raise asyncio.CancelledError

        def ended(self, attempt: Attempt, outcome: Outcome) -> None:
            raise ValueError("ended")

    app.add_observer(Broken())

    @app.task
    async def work(number: int) -> int:
        return number

    with caplog.at_level(logging.ERROR, "aiotq"):
        async with app.worker() as worker:
            jobs = await app.enqueue_many([work.s(number) for number in range(20)])
            jobs += [await work.delay(20)]
            assert [await job.result(timeout=10) for job in jobs] == list(range(21))
            assert worker.tally["succeeded"] == 21
    said = [record for record in caplog.records if vars(record).get("event") == "observer_failed"]
    assert [vars(record)["hook"] for record in said] == ["enqueued", "claimed", "started", "ended"]
