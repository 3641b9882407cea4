"""Read by pyright, never run: an `ignore` that nothing needs is an error, so each of them is a test."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from aiotq import (
    App,
    CurrentJob,
    Health,
    Job,
    JobInfo,
    JobLogHandler,
    JobStatus,
    Middleware,
    Observer,
    RetryPolicy,
    Signature,
    Task,
    Worker,
    current_job,
    task,
)
from aiotq.hooks import Attempt, Failed, Incoming, Outcome, Outgoing, RunNext, SendNext
from aiotq.inspection import LogLine, Progress

app = App()


@dataclass
class Invoice:
    number: int


@app.task
async def greet(name: str, *, loud: bool = False) -> str:
    return name


@app.task(queue="mail", retries=5, timeout=timedelta(seconds=30), retry=RetryPolicy(delays=[1, 5]))
def render(invoice: Invoice, copies: int = 1) -> bytes:
    return b""


@task
async def nothing() -> None: ...


@task(name="many")
async def many(*items: int, **more: str) -> dict[str, list[int]]:
    return {}


def old(n: int) -> float:
    return n


renamed = app.task(old, name="renamed", queue="low")


async def what_delay_takes_and_gives() -> None:
    job = await greet.delay("Ada", loud=True)
    assert_type(job, Job[str])
    assert_type(await job.result(timeout=10), str)
    assert_type(await job.result(timeout=timedelta(seconds=1)), str)
    assert_type(await render.delay(Invoice(1), 2), Job[bytes])
    assert_type(await (await render.delay(invoice=Invoice(1))).result(), bytes)
    assert_type(await (await nothing.delay()).result(), None)
    assert_type(await many.delay(1, 2, three="x"), Job[dict[str, list[int]]])
    assert_type(await renamed.delay(3), Job[float])

    await greet.delay()  # pyright: ignore[reportCallIssue]
    await greet.delay(42)  # pyright: ignore[reportArgumentType]
    await greet.delay("Ada", "Bob")  # pyright: ignore[reportCallIssue]
    await greet.delay("Ada", lout=True)  # pyright: ignore[reportCallIssue]
    await greet.delay("Ada", loud="yes")  # pyright: ignore[reportArgumentType]
    await render.delay(1)  # pyright: ignore[reportArgumentType]
    await many.delay("1")  # pyright: ignore[reportArgumentType]
    greet.delay("Ada")  # pyright: ignore[reportUnusedCoroutine]


async def what_options_take() -> None:
    soon = greet.options(countdown=60, priority=0, queue="high", lifo=True, retries=0, timeout=1.5)
    assert_type(await soon.delay("Ada"), Job[str])
    later = render.options(eta=datetime.now(UTC), expires=timedelta(hours=1), job_id="nightly", result_ttl=60)
    assert_type(await later.delay(Invoice(1)), Job[bytes])
    assert_type(later.s(Invoice(1)), Signature[bytes])

    await soon.delay(42)  # pyright: ignore[reportArgumentType]
    greet.options(60)  # pyright: ignore[reportCallIssue]
    greet.options(count_down=60)  # pyright: ignore[reportCallIssue]
    greet.options(countdown="60")  # pyright: ignore[reportArgumentType]
    greet.options(eta=60)  # pyright: ignore[reportArgumentType]


async def what_signatures_are() -> None:
    assert_type(greet.s("Ada"), Signature[str])
    assert_type(await app.enqueue_many([greet.s("Ada"), greet.s("Bob")]), list[Job[str]])
    assert_type(await app.enqueue_many(greet.s(name) for name in "ab"), list[Job[str]])
    mixed: list[Signature[object]] = [greet.s("Ada"), render.s(Invoice(1))]
    assert_type(await app.enqueue_many(mixed), list[Job[object]])
    assert_type(await app.enqueue_many([greet.s("Ada"), render.s(Invoice(1))]), list[Job[str | bytes]])
    greet.s(42)  # pyright: ignore[reportArgumentType]
    greet.s("Ada").args = b""  # pyright: ignore[reportAttributeAccessIssue]


def what_threads_call() -> None:
    assert_type(greet.delay_sync("Ada"), Job[str])
    assert_type(render.delay_sync(Invoice(1)), Job[bytes])
    greet.delay_sync(42)  # pyright: ignore[reportArgumentType]


async def what_a_direct_call_gives() -> None:
    assert_type(await greet("Ada"), str)
    assert_type(render(Invoice(1)), bytes)
    assert_type(greet.name, str)
    await greet(42)  # pyright: ignore[reportArgumentType]
    greet("Ada")  # pyright: ignore[reportUnusedCoroutine]
    await render(Invoice(1))  # pyright: ignore[reportGeneralTypeIssues]


async def what_handles_give() -> None:
    job = app.job("nightly")
    assert_type(job, Job[Any])
    assert_type(await job.status(), JobStatus)
    assert_type(await job.info(), JobInfo)
    assert_type(await job.cancel(), bool)
    assert_type(job.existed, bool)
    assert_type(await job.logs(), tuple[LogLine, ...])
    assert_type((await job.logs())[0].at, datetime)
    assert_type(await job.progress(), Progress | None)
    async for far in job.watch(timeout=timedelta(seconds=1)):
        assert_type(far, Progress)
        assert_type((far.done, far.of, far.note), tuple[float, float | None, str | None])
    await job.watch()  # pyright: ignore[reportGeneralTypeIssues]
    (await job.info()).status = JobStatus.QUEUED  # pyright: ignore[reportAttributeAccessIssue]


async def what_a_task_writes() -> None:
    job = current_job()
    job.log("x", level="warning")
    assert_type(await job.progress(3, of=10, note="x"), None)
    job.progress(0.5)  # in a plain def
    await job.progress("3")  # pyright: ignore[reportArgumentType]
    await job.progress(3, 10)  # pyright: ignore[reportCallIssue]
    logging.getLogger().addHandler(JobLogHandler(level=logging.INFO))


async def what_workers_are() -> None:
    async with app.worker(queues=["high", "default"], concurrency=10) as worker:
        assert_type(worker, Worker)
        await worker.run_until_empty()
        assert_type(worker.health(), Health)
        assert_type(worker.health().reason, str | None)
        assert_type(worker.ready, bool)
        worker.health().live = False  # pyright: ignore[reportAttributeAccessIssue]
    async with app as opened:
        assert_type(opened, App)
    app.worker(["high"], 10)  # pyright: ignore[reportCallIssue]
    app.worker(concurrency="10")  # pyright: ignore[reportArgumentType]


def what_a_decorator_takes() -> None:
    app.task(queue=5)  # pyright: ignore[reportArgumentType]
    app.task(old, retires=5)  # pyright: ignore[reportCallIssue]
    app.task(5)  # pyright: ignore[reportArgumentType, reportCallIssue]


def what_functions_of_users_may_take(one: Task[[str], str], other: Job[str]) -> None:
    assert_type(one.delay_sync("Ada"), Job[str])
    assert_type(other.id, str)


@asynccontextmanager
async def plain() -> AsyncGenerator[int]:
    yield 1


@asynccontextmanager
async def with_app(app: App) -> AsyncGenerator[int]:
    yield 1


class Wraps(Middleware):
    async def enqueue(self, jobs: Sequence[Outgoing], send: SendNext) -> None:
        assert_type(jobs[0].headers, Mapping[str, str])
        assert_type(jobs[0].options(queue="mail", countdown=1), Outgoing)
        assert_type(await send([job.with_headers({"tenant": "7"}) for job in jobs]), Sequence[bool])
        jobs[0].with_headers({"tenant": 7})  # pyright: ignore[reportArgumentType]
        jobs[0].options(count_down=1)  # pyright: ignore[reportCallIssue]
        jobs[0].queue = "mail"  # pyright: ignore[reportAttributeAccessIssue]

    async def run(self, job: Incoming, call: RunNext) -> object:
        assert_type(job.job, CurrentJob)
        await call()  # pyright: ignore[reportCallIssue]
        return await call(job.replace(args=[1]))


class Watches(Observer):
    def ended(self, attempt: Attempt, outcome: Outcome) -> None:
        assert_type(attempt.took_s, float | None)
        if isinstance(outcome, Failed):
            assert_type(outcome.reason, str)


class WrapsWrongly(Middleware):
    def run(self, job: Incoming, call: RunNext) -> object: ...  # pyright: ignore[reportIncompatibleMethodOverride]


App(middleware=[Wraps()], observers=[Watches()])
App(middleware=[Watches()])  # pyright: ignore[reportArgumentType]
App(middleware=[Wraps])  # pyright: ignore[reportArgumentType]
app.add_middleware(Wraps())
app.add_observer(Wraps())  # pyright: ignore[reportArgumentType]
assert_type(current_job().headers, Mapping[str, str])
greet.options(headers={"tenant": "7"})
greet.options(headers={"tenant": 7})  # pyright: ignore[reportArgumentType]

App(lifespan=plain)
App(lifespan=with_app)
App(lifespan=5)  # pyright: ignore[reportArgumentType]
App("redis://localhost", "shop")  # pyright: ignore[reportCallIssue]

assert_type(current_job(), CurrentJob)
assert_type(current_job().attempt, int)
current_job().attempt = 2  # pyright: ignore[reportAttributeAccessIssue]
