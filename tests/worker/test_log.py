"""What a worker says: one event a line, its facts as extras."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import RetryPolicy, current_job
from aiotq.job import ErrorInfo
from aiotq.worker import log
from aiotq.worker.log import JobLog
from tests.worker.kit import Gate, ended

if TYPE_CHECKING:
    from aiotq import App
    from tests.worker.kit import Events, Keys

SECRET = "canary-7f3a"


def facts(record: logging.LogRecord) -> dict[str, Any]:
    """The extras of a line."""
    plain = vars(logging.makeLogRecord({}))
    return {name: value for name, value in vars(record).items() if name not in plain}


@pytest.fixture
def said(events: Events) -> Events:
    """What is said without -v."""
    logging.getLogger("aiotq.worker").setLevel(logging.INFO)
    return events


async def test_each_event_of_a_job_is_one_line_with_the_job_as_extras(app: App, said: Events) -> None:
    gate = Gate()

    @app.task(name="shop:job", queue="mail", retries=1, retry=RetryPolicy(delays=[0.01]))
    async def job(kind: str) -> None:
        if kind == "waits":
            await gate.pass_through()
        if kind == "fails" or (kind == "retries" and current_job().attempt == 1):
            raise ValueError("no Bobs")

    async with app.worker(["mail"], grace=0):
        jobs = {kind: await job.delay(kind) for kind in ("succeeds", "retries", "fails")}
        await ended(*jobs.values())
        waits = await job.delay("waits")
        await gate.reached()
    await waits.cancel()

    def lines(kind: str) -> list[dict[str, Any]]:
        sent = jobs.get(kind, waits)
        found = [facts(record) for record in said.records if vars(record).get("job_id") == sent.id]
        assert all(line["task"] == "shop:job" and line["queue"] == "mail" for line in found)
        return found

    started, succeeded = lines("succeeds")
    assert (started["event"], started["attempt"]) == ("started", 1)
    assert 0 <= started["waited_ms"] < 5_000
    assert succeeded["event"] == "succeeded"
    assert 0 <= succeeded["took_ms"] < 5_000

    assert [line["event"] for line in lines("retries")] == ["started", "retried", "started", "succeeded"]
    retried = lines("retries")[1]
    assert isinstance(retried["error"], ErrorInfo)
    assert (retried["error"].type, retried["error"].message) == ("ValueError", "no Bobs")
    assert (retried["attempt"], retried["attempts"], retried["delay_ms"]) == (1, 2, 10)

    failed = lines("fails")[-1]
    assert (failed["event"], failed["reason"], failed["attempt"], failed["attempts"], failed["lost"]) == (
        "failed",
        "error",
        2,
        2,
        0,
    )
    assert [line["event"] for line in lines("waits")] == ["started", "returned"]

    levels = {vars(record)["event"]: record.levelname for record in said.records}
    assert levels["started"] == levels["succeeded"] == levels["returned"] == "INFO"
    assert (levels["retried"], levels["failed"]) == ("WARNING", "ERROR")
    assert all(record.name == "aiotq.worker" for record in said.records)


async def test_a_delayed_jobs_waiting_counts_from_its_due_time(app: App, said: Events) -> None:
    @app.task
    async def job() -> None: ...

    async with app.worker():
        sent = await job.options(countdown=0.3).delay()
        await sent.result(timeout=5)
        info = await sent.info()
    assert info.due_at is not None
    late_s = (info.attempts[0].started_at - info.due_at).total_seconds()
    assert vars(await said.line("started", job_id=sent.id))["waited_ms"] == round(late_s * 1000)


async def test_expired_and_cancelled_jobs_say_which(app: App, said: Events, keys: Keys) -> None:
    gate = Gate()

    @app.task
    async def wait() -> None:
        await gate.pass_through()

    late = await wait.options(expires=0.001).delay()
    await keys.wait_past(late.id, ms=2)
    async with app.worker():
        assert vars(await said.line("cancelled", job_id=late.id))["reason"] == "expired"
        job = await wait.delay()
        await gate.reached()
        await job.cancel()
        assert vars(await said.line("cancelled", job_id=job.id))["reason"] == "cancelled"


async def test_arguments_and_results_are_said_at_debug_only(app: App, events: Events) -> None:
    logger = logging.getLogger("aiotq.worker")

    @app.task(retries=0)
    async def job(secret: str, *, fail: bool = False) -> str:
        if fail:
            raise ValueError("no secret in it")
        return secret * 2

    async def run() -> str:
        events.records.clear()
        await ended(await job.delay(SECRET), await job.delay(SECRET, fail=True))
        return "\n".join(f"{record.getMessage()} {facts(record)}" for record in events.records)

    async with app.worker():
        logger.setLevel(logging.INFO)
        assert SECRET not in await run()
        logger.setLevel(logging.DEBUG)
        assert SECRET * 2 in await run()
        assert {vars(record)["event"] for record in events.records} >= {"arguments", "result"}


async def test_all_frames_are_said_at_debug_only(app: App, events: Events) -> None:
    logger = logging.getLogger("aiotq.worker")

    @app.task(retries=0)
    async def job() -> None:
        raise ValueError("no Bobs")

    async with app.worker():
        logger.setLevel(logging.INFO)
        quiet = await job.delay()
        await ended(quiet)
        logger.setLevel(logging.DEBUG)
        loud = await job.delay()
        await ended(loud)
    assert "traceback" not in facts(await events.line("failed", job_id=quiet.id))
    assert "aiotq/worker/run.py" in facts(await events.line("failed", job_id=loud.id))["traceback"]


async def test_more_than_fifty_jobs_a_second_become_one_line_a_second(app: App, said: Events) -> None:
    @app.task
    async def job() -> None: ...

    async with app.worker() as worker:
        await app.enqueue_many([job.s() for _ in range(2_000)])
        await worker.run_until_empty()
        line = await said.line("rate")  # though nothing follows that would end the second
        assert line.levelname == "INFO"
        assert set(facts(line)["counts"]) <= {"started", "succeeded"}
    lines = len(said.of("started")) + len(said.of("succeeded"))
    counts = [facts(record)["counts"] for record in said.of("rate")]
    assert lines <= 100 * (len(counts) + 1)
    assert lines + sum(sum(count.values()) for count in counts) == 4_000
    assert worker.tally["succeeded"] == 2_000


async def test_failures_are_said_at_any_rate(app: App, said: Events) -> None:
    @app.task(retries=0)
    async def job(number: int) -> None:
        if number % 100 == 0:
            raise ValueError

    async with app.worker() as worker:
        await app.enqueue_many([job.s(number) for number in range(1_000)])
        await worker.run_until_empty()
    assert len(said.of("failed")) == 10


def test_a_busy_second_makes_the_next_one_quiet_until_one_is_not_busy(
    said: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1_000.0
    monkeypatch.setattr(log, "monotonic", lambda: now_s)
    monkeypatch.setattr(log, "asyncio", SimpleNamespace(get_running_loop=NoLoop))
    held: Any = SimpleNamespace(job_id="j", name="t", queue="q", attempt=1)
    job_log = JobLog()

    def second(jobs: int) -> tuple[int, dict[str, int] | None]:
        """So many jobs in a second: how many lines were said in it, and what was counted of the one before."""
        nonlocal now_s
        said.records.clear()
        for _ in range(jobs):
            job_log.job(logging.INFO, "started", held, "started")
            job_log.job(logging.INFO, "succeeded", held, "succeeded")
        now_s += 1.0
        counts = [facts(record)["counts"] for record in said.of("rate")]
        return len(said.records) - len(counts), counts[0] if counts else None

    assert second(50) == (100, None)
    assert second(60) == (100, None)
    assert second(60) == (0, {"started": 10, "succeeded": 10})
    assert second(20) == (0, {"started": 60, "succeeded": 60})
    assert second(20) == (40, {"started": 20, "succeeded": 20})
    assert second(20) == (40, None)


class NoLoop:
    """A loop whose timers never fire."""

    def call_later(self, *_: object) -> SimpleNamespace:
        return SimpleNamespace(cancel=lambda: None)


async def test_a_silent_logger_costs_no_lines(app: App, events: Events) -> None:
    logging.getLogger("aiotq.worker").setLevel(logging.ERROR)

    @app.task
    async def job() -> None: ...

    async with app.worker():
        await ended(await job.delay())
    assert not events.records
