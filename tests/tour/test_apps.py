"""The life of an app: its worker, its lifespan, what it says of the server it found."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from aiotq import App, Job, JobStatus, current_job
from aiotq.errors import UsageError
from aiotq.source import Source, say_aloud
from tests.worker.kit import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests import servers


async def test_tour(app: App) -> None:
    @app.task(retries=3)
    async def greet(name: str) -> str:
        return f"Hello, {name}"

    async with app.worker():
        job = await greet.delay("Ada")
        assert await job.result(timeout=5) == "Hello, Ada"


async def test_a_worker_closes_what_it_has_opened(valkey: servers.Server, namespace: str) -> None:
    app = App(valkey.url, namespace=namespace)

    @app.task
    async def answer() -> int:
        return 42

    async with app.worker():
        assert await (await answer.delay()).result(timeout=5) == 42
    assert not app._core._clients


async def test_a_worker_leaves_an_open_app_open(app: App) -> None:
    @app.task
    async def answer() -> int:
        return 42

    async with app.worker():
        job = await answer.delay()
        await job.result(timeout=5)
    [client] = app._core._clients.values()
    assert await job.status() is JobStatus.SUCCEEDED
    assert list(app._core._clients.values()) == [client]


async def test_an_app_that_is_left_while_its_worker_starts_leaves_it_its_connection(
    valkey: servers.Server, namespace: str
) -> None:
    app = App(valkey.url, namespace=namespace)
    worker = app.worker()
    async with app:
        starting = asyncio.create_task(worker.start())
        await asyncio.sleep(0)  # it has its store by then
    async with asyncio.timeout(10):
        await starting
    await until(lambda: worker.ready)
    worker.stop()
    assert await worker.run() == 0
    assert not app._core._clients


async def test_two_workers_of_one_app_share_a_loop(app: App) -> None:
    @app.task
    async def where() -> str:
        return (await app.job(current_job().id).info()).worker or ""

    async with app.worker(name="first", concurrency=1), app.worker(name="second", concurrency=1):
        jobs = await asyncio.gather(*[where.delay() for _ in range(50)])
        assert {await job.result(timeout=5) for job in jobs} <= {"first", "second"}


@pytest.mark.parametrize("takes_app", [False, True])
async def test_what_the_lifespan_yields_is_the_state_of_each_job_and_is_closed_with_the_worker(
    valkey: servers.Server, namespace: str, *, takes_app: bool
) -> None:
    said: list[object] = []

    @asynccontextmanager
    async def plain() -> AsyncGenerator[list[object]]:
        said.append("opened")
        yield said
        said.append("closed")

    @asynccontextmanager
    async def with_app(given: App) -> AsyncGenerator[list[object]]:
        said.append(given)
        yield said
        said.append("closed")

    app = App(valkey.url, namespace=namespace, lifespan=with_app if takes_app else plain)

    @app.task
    async def note(text: str) -> None:
        current_job().state.append(text)

    @app.task
    def note_in_a_thread(text: str) -> None:
        current_job().state.append(text)

    async with app.worker():
        await (await note.delay("one")).result(timeout=5)
        await (await note_in_a_thread.delay("two")).result(timeout=5)
    assert said == [app if takes_app else "opened", "one", "two", "closed"]


async def test_there_is_no_current_job_outside_of_one() -> None:
    with pytest.raises(UsageError, match="outside of a job"):
        current_job()


def test_that_the_built_in_server_is_used_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("aiotq.source._said", set[str]())
    with caplog.at_level(logging.INFO, "aiotq"):
        say_aloud(Source(url="redis://here", origin="AIOTQ_URL"))
        say_aloud(Source(url="embedded://", origin="--url"))
        assert not caplog.records
        say_aloud(Source(url="embedded://", origin="built-in"))
        say_aloud(Source(url="embedded://", origin="built-in"))
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "using the built-in server in .aiotq/" in record.getMessage()
    assert "AIOTQ_URL" in record.getMessage()


async def test_a_handle_of_another_loop_works_here(valkey: servers.Server, namespace: str) -> None:
    app = App(valkey.url, namespace=namespace)

    @app.task
    async def send() -> None: ...

    async def enqueue() -> Job[None]:
        return await send.delay()

    job = await asyncio.to_thread(asyncio.run, enqueue())
    assert await job.status() is JobStatus.QUEUED
    assert await job.cancel()
    await app._core.close()
