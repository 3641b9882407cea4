"""How a worker says that it does, and that it is not ready when it takes no jobs."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App, Health
from aiotq.health import WELL
from aiotq.store import scripts
from aiotq.worker import outage
from tests.faults.proxy import Fault, FaultProxy
from tests.worker.kit import Gate, fetcher_of, until, within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.servers import Server
    from tests.worker.kit import Events, Keys


@pytest.fixture
async def proxy(valkey: Server, server_folder: Path) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(valkey.url.removeprefix("unix://"), server_folder / "p") as running:
        yield running


@pytest.fixture
async def behind(app: App, proxy: FaultProxy) -> AsyncIterator[App]:
    """An app of the same namespace whose every connection goes through the proxy."""
    faulty = App(proxy.url, namespace=app._core.settings.namespace, connect_timeout=0.5)
    yield faulty  # unopened: workers try for ever, whatever the machine does meanwhile
    await faulty._core.close()


def unready(reason: str) -> Health:
    return Health(live=True, ready=False, reason=reason)


async def test_from_its_start_to_its_end(app: App) -> None:
    gate = Gate()

    @app.task
    async def job() -> None:
        await gate.pass_through()

    worker = app.worker()
    assert worker.health() == unready("not started")
    await worker.start()
    await until(lambda: worker.ready)
    assert worker.health() == WELL
    sent = await job.delay()
    await gate.reached()
    worker.stop()
    assert worker.health() == unready("stopping")
    gate.open()
    await worker.run()
    assert worker.health() == Health(live=False, ready=False, reason="ended")
    await sent.result(timeout=5)


async def test_one_that_starts_without_a_server_is_live_and_says_why_it_is_not_ready(
    app: App, proxy: FaultProxy, events: Events
) -> None:
    upstream, proxy.upstream = proxy.upstream, "/nowhere"
    early = App(proxy.url, namespace=app._core.settings.namespace, connect_timeout=0.5)
    worker = early.worker()
    starting = asyncio.create_task(worker.start())
    await events.line("store_down")
    assert worker.health() == unready("the store is away")
    proxy.upstream = upstream
    await starting
    await until(lambda: worker.ready)
    worker.stop()
    assert await worker.run() == 0


async def test_a_lifespan_that_takes_its_time_is_a_start(app: App) -> None:
    gate = Gate()

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        await gate.pass_through()
        yield

    slow = App(app.source().url, namespace=app._core.settings.namespace, lifespan=lifespan)
    worker = slow.worker()
    starting = asyncio.create_task(worker.start())
    await gate.reached()
    assert worker.health() == unready("starting")
    gate.open()
    await starting
    worker.stop()
    await worker.run()


async def test_it_is_unready_while_its_server_is_away_and_ready_again_by_itself(
    behind: App, proxy: FaultProxy, events: Events
) -> None:
    async with behind.worker() as worker:
        await until(lambda: worker.ready)
        upstream, proxy.upstream = proxy.upstream, "/nowhere"
        proxy.cut_all()  # its blocking wait ends, and it looks
        await events.line("store_down")
        assert worker.health() == unready("the store is away")
        proxy.upstream = upstream
        await until(lambda: worker.ready)


async def test_one_whose_slots_are_all_busy_for_long_is_ready_by_the_calls_that_it_makes(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiotq.worker.fetch.LOOK_S", 0.05)
    monkeypatch.setattr("aiotq.health.CLAIM_WITHIN_S", 0.5)
    gate = Gate()

    @app.task
    async def job() -> None:
        await gate.pass_through()

    async with app.worker(concurrency=1) as worker:
        await job.delay()
        await gate.reached()
        fetcher = fetcher_of(worker)
        full_since_s = fetcher.claimed_at_s or 0.0
        await until(lambda: (fetcher.claimed_at_s or 0.0) > full_since_s + 0.6)
        await until(lambda: worker.health() == WELL)
        gate.open()


async def test_one_that_lives_and_has_stopped_to_ask_for_jobs_is_unready(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commonest complaint about queues on Redis: connected, renewing its lease, and idle for ever."""
    over = asyncio.Event()

    async def deaf(*_: Any, **__: Any) -> None:
        await over.wait()

    monkeypatch.setattr("aiotq.worker.life.hear_tokens", deaf)
    async with app.worker() as worker:
        await until(lambda: worker.ready)
        monkeypatch.setattr("aiotq.health.CLAIM_WITHIN_S", 0.3)
        await until(lambda: not worker.ready)
        assert worker.health() == unready("it has not asked for jobs for 0.3 s")
        over.set()


async def test_one_that_is_for_ever_in_doubt_claims_nothing_and_is_unready(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiotq.health.CLAIM_WITHIN_S", 0.3)
    async with app.worker() as worker:
        await until(lambda: worker.ready)
        fetcher = fetcher_of(worker)
        take = fetcher._take

        def confused(*given: Any, **more: Any) -> None:
            take(*given, **more)
            fetcher.doubt = True

        monkeypatch.setattr(fetcher, "_take", confused)
        fetcher.wake(doubt=True)
        await until(lambda: not worker.ready)
        assert worker.health() == unready("it has not asked for jobs for 0.3 s")
        monkeypatch.setattr(fetcher, "_take", take)
        await until(lambda: worker.ready)


async def test_a_lease_that_can_not_be_renewed_makes_it_unready_and_is_said_once(
    app: App, behind: App, proxy: FaultProxy, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fetcher's calls are answered all the while: only the keeper's are not."""
    monkeypatch.setattr(outage, "DUTY_PATIENCE_S", 0.5)
    async with behind.worker(lease=1) as worker:
        await until(lambda: worker.ready)
        proxy.arm(Fault.DROP_REQUEST, scripts.RENEW.sha, times=10_000)
        line = await events.line("duty_fails", duty="renewing the lease")
        assert line.levelname == "ERROR"
        await until(lambda: not worker.ready)
        assert worker.health() == unready("its lease could not be renewed in time")
        proxy.arm(Fault.DROP_REQUEST, scripts.RENEW.sha, times=0)
        await events.line("duty_works", duty="renewing the lease")
        await until(lambda: worker.ready)
    assert len(events.of("duty_fails", duty="renewing the lease")) == 1
    assert not events.of("store_down")


async def test_news_that_do_not_come_are_said_and_jobs_start_all_the_same(
    app: App, behind: App, proxy: FaultProxy, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage, "DUTY_PATIENCE_S", 0.5)

    @behind.task
    async def job() -> str:
        return "ran"

    here = app.task(job._registered.fn, name=job.name)
    proxy.arm(Fault.DROP_REQUEST, "wake:default", times=10_000)
    async with behind.worker() as worker:
        await events.line("duty_fails", duty="waiting for news of jobs")
        assert await (await here.delay()).result(timeout=5) == "ran"
        assert worker.ready
        proxy.arm(Fault.DROP_REQUEST, "wake:default", times=0)
        assert await (await here.delay()).result(timeout=5) == "ran"
        await events.line("duty_works")
    assert len(events.of("duty_fails")) == 1


async def test_a_blocked_loop_is_told_by_another_thread_first_as_unready_then_as_dead(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiotq.health.CLAIM_WITHIN_S", 0.3)
    monkeypatch.setattr("aiotq.health.BLOCKED_S", 0.3)
    blocking = App(app.source().url, namespace=app._core.settings.namespace, max_block=4)
    seen: list[Health] = []
    dead = threading.Event()

    @blocking.task
    async def block() -> None:
        dead.wait(20)

    def look() -> None:
        while not dead.is_set():
            health = worker.health()
            if health not in seen:
                seen.append(health)
            if not health.live:
                dead.set()

    async with blocking, blocking.worker() as worker:
        await until(lambda: worker.ready)
        watching = threading.Thread(target=look)
        sent = await block.delay()
        watching.start()
        await sent.result(timeout=20)
        watching.join()
        assert unready("the event loop is blocked") in seen
        assert seen[-1].reason == "the event loop has been blocked for longer than 4 s (max_block)"
        await until(lambda: worker.ready)


async def test_one_whose_every_thread_is_stuck_is_unready(app: App, impatient: None, events: Events) -> None:
    over = threading.Event()

    @app.task(timeout=0.1, retries=0)
    def hang() -> None:
        over.wait(20)

    async with app.worker(threads=1) as worker:
        await until(lambda: worker.ready)
        sent = await hang.delay()
        await events.line("stuck", job_id=sent.id)
        assert worker.health() == unready("every thread holds a job that can't be ended")
        over.set()
        await until(lambda: worker.ready)


async def test_one_that_was_reclaimed_is_ready_again_under_its_new_id(app: App, keys: Keys, events: Events) -> None:
    async with app.worker() as worker, within():
        await until(lambda: worker.ready)
        (first,) = await keys.workers()
        await keys.reclaim(app._core.client().store, first)
        fetcher_of(worker).wake(doubt=True)
        await events.line("lease_lost")
        await until(lambda: worker.ready)
        (second,) = await keys.workers()
        assert first != second
