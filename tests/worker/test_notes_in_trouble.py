"""Logs and progress of jobs: with a server in trouble, and how long they are kept."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App, CurrentJob, RetryPolicy, current_job
from aiotq.store import scripts
from aiotq.worker import scribe
from tests import servers
from tests.faults.proxy import Fault
from tests.worker.kit import Gate, ended, until, within
from tests.worker.test_notes import result, texts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.faults.proxy import FaultProxy
    from tests.worker.kit import Keys


# --- in trouble ---------------------------------------------------------------------------------------------------


@pytest.fixture
async def taught(app: App, keys: Keys) -> None:
    """The server knows all scripts: else a lost answer might be NOSCRIPT."""
    for script in scripts.ALL:
        await keys.client.script_load(script.text)


@pytest.mark.parametrize("fault", [Fault.DROP_REQUEST, Fault.DROP_REPLY, Fault.HALF_REPLY], ids=lambda one: one.name)
async def test_a_lost_answer_costs_no_line_and_doubles_none(
    app: App, behind: App, taught: None, proxy: FaultProxy, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scribe, "AGAIN_S", 0.01)

    @behind.task
    async def writes() -> None:
        for number in range(5):
            current_job().log(f"line {number}")
        current_job().progress(5)

    here = app.task(writes._registered.fn, name=writes.name)
    proxy.arm(fault, scripts.NOTE.sha, times=2)
    async with behind.worker():
        job = await here.delay()
        await result(job)
    assert proxy.hits == 2
    assert await texts(job) == [f"line {number}" for number in range(5)]
    far = await job.progress()
    assert far is not None
    assert far.done == 5


async def test_a_server_that_is_away_holds_up_no_task(
    app: App, behind: App, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scribe, "AGAIN_S", 0.01)
    gate = Gate()

    @behind.task
    async def writes() -> None:
        await gate.pass_through()
        for number in range(1_000):
            current_job().log(f"line {number}")
            await current_job().progress(number)
        written.set()

    written = asyncio.Event()
    here = app.task(writes._registered.fn, name=writes.name)
    async with behind.worker():
        job = await here.delay()
        await gate.reached()
        proxy.freeze()
        gate.open()
        async with within():
            await written.wait()
        proxy.thaw()
        await result(job)
        assert (await texts(job))[-1] == "line 999"


async def test_an_attempt_that_overstayed_writes_nothing_more(app: App, keys: Keys) -> None:
    gate, ran = Gate(), list[CurrentJob]()

    @app.task
    async def writes() -> None:
        ran.append(current_job())
        if len(ran) == 1:
            await gate.pass_through()
        current_job().log(f"run {len(ran)}")

    async with app.worker():
        job = await writes.delay()
        await gate.reached()
        [worker_id] = await keys.workers()
        await keys.reclaim(app._core.client().store, worker_id)
        ran[0].log("I hold it no more")
        await result(job)
        gate.open()
    assert await texts(job) == ["run 2"]


@asynccontextmanager
async def full_server(folder: Path) -> AsyncIterator[tuple[App, Any]]:
    """An app on a server of its own, and a client that may do anything there."""
    from redis.asyncio import Redis

    with servers.running("valkey", folder) as server:
        async with App(server.url, namespace="full") as app, Redis.from_url(server.admin) as raw:
            yield app, raw


async def test_a_full_memory_costs_lines_and_no_job(
    server_folder: Path, monkeypatch: pytest.MonkeyPatch, noted: list[Any]
) -> None:
    monkeypatch.setattr(scribe, "AGAIN_S", 0.01)
    monkeypatch.setattr(scribe, "EVERY_S", 0.01)
    async with full_server(server_folder) as (app, raw):
        gate = Gate()

        @app.task
        async def writes() -> str:
            current_job().log("before")
            await gate.pass_through()
            current_job().log("while it is full")
            return "done"

        async with app.worker():
            job = await writes.delay()
            await until(lambda: any(noted))
            await raw.config_set("maxmemory", 1)
            gate.open()
            assert await result(job) == "done"
            assert await texts(job) == ["before"]
            assert await raw.pttl("{full}:note:" + job.id) <= 3_600_000


async def test_the_bytes_that_are_stored(app: App, keys: Keys) -> None:
    """Others read them: another version's worker goes on with the same log."""

    @app.task
    async def writes() -> None:
        current_job().log("Grüße", level="warning")
        current_job().log("two")
        current_job().progress(3, of=10, note="x")

    async with app.worker():
        job = await writes.delay()
        await result(job)
    lines = [line.decode() for line in await keys.client.lrange(f"{keys.prefix}note:{job.id}", 0, -1)]
    far = (await keys.client.get(f"{keys.prefix}progress:{job.id}")).decode()
    at, claim = r"1\d{12}", r"[1-9]\d{15}"
    sizes = [len(line.partition(',"k":')[0].encode()) for line in lines]
    first = rf'{{"at":{at},"level":"warning","text":"Grüße","attempt":1,"k":"{claim}:1:1:{sizes[0]}"}}'
    second = rf'{{"at":{at},"level":"info","text":"two","attempt":1,"k":"{claim}:2:2:{sum(sizes)}"}}'
    assert re.fullmatch(f"{first}\n{second}", "\n".join(lines)), lines
    assert re.fullmatch(rf'{{"at":{at},"done":3.0,"of":10.0,"note":"x","attempt":1}}', far)


# --- how long they are kept ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", [False, True])
async def test_a_log_is_kept_as_long_as_the_record(app: App, keys: Keys, *, fails: bool) -> None:
    @app.task(retries=0)
    async def writes() -> None:
        current_job().log("x")
        current_job().progress(1)
        if fails:
            raise ValueError

    async with app.worker():
        job = await writes.options(result_ttl=600).delay()
        await ended(job)
    kept = [await keys.client.pttl(f"{keys.prefix}{family}:{job.id}") for family in ("job", "note", "progress")]
    assert max(kept) - min(kept) < 10_000
    assert (max(kept) > 1_000_000) == fails


async def test_the_log_of_a_job_that_waits_for_its_retry_is_kept(app: App, keys: Keys) -> None:
    @app.task(retries=1, retry=RetryPolicy(delays=[3_600], jitter=False))
    async def writes() -> None:
        current_job().log("x")
        raise ValueError

    async with app.worker():
        job = await writes.delay()

        async def waits() -> bool:
            return (await job.status()).value == "scheduled"

        await until(waits)
    assert await texts(job) == ["x"]
    assert await keys.client.pttl(f"{keys.prefix}note:{job.id}") > 29 * 86_400_000
    assert await job.cancel()


async def test_jobs_that_are_put_back_keep_what_they_wrote(app: App) -> None:
    gate = Gate()

    @app.task
    async def writes() -> None:
        current_job().log("first")
        await gate.pass_through()

    async with app.worker(grace=0):
        job = await writes.delay()
        await gate.reached()
    assert await texts(job) == ["first"]
    gate.open()
    async with app.worker():
        await result(job)
    assert await texts(job) == ["first", "first"]


async def test_a_forced_stop_still_says_what_was_written(app: App) -> None:
    gate = Gate()

    @app.task
    async def writes() -> None:
        current_job().log("last words")
        await gate.pass_through()

    worker = app.worker()
    await worker.start()
    job = await writes.delay()
    await gate.reached()
    current = worker._life
    assert current is not None
    worker.stop(now=True)
    await current.end()
    assert await texts(job) == ["last words"]
    assert await job.cancel()
