"""Each background duty of a worker fails by a mistake of ours, once or for ever: never silently.

Those of the keeper's thread are begun again, and what they can't do meanwhile shows in the worker's health. One on the
worker's own loop ends the worker, and `run` raises it: a process ends with exit code 1 (tests/process/test_losses.py).
"""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from aiotq.health import Health
from aiotq.store import connect
from aiotq.store.contract import WorkerCard
from aiotq.store.redis import RedisStore
from aiotq.worker import admit
from aiotq.worker.keeper import Keeper
from aiotq.worker.outage import Outage
from aiotq.worker.settings import WorkerSettings
from tests.faults.stopwatch import Stopwatch
from tests.worker.kit import WITHIN_S, fetcher_of, until, within

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiotq import App
    from tests.worker.kit import Events, Keys

LEASE_S = 1.0  # a heartbeat of 0.27 s
FOR_EVER = 1_000_000
OF_THE_KEEPER = {"renew": "heartbeat", "reclaim": "heartbeat", "promote": "poller", "wait_poller_token": "poller"}


def fails(patch: pytest.MonkeyPatch, owner: type[Any], name: str, *, times: int = 1) -> Callable[[], int]:
    """Let a method raise what none of ours should, so often. Returns what tells how often it was called."""
    usual, calls = getattr(owner, name), list[int]()

    def wrong(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) > times:
            return usual(*args, **options)
        raise ZeroDivisionError(f"a mistake of ours in {name}")

    patch.setattr(owner, name, wrong)
    return lambda: len(calls)


async def a_ghost(app: App, keys: Keys) -> None:
    """A worker that has vanished: somebody has to reclaim it."""
    card = WorkerCard(worker_id="ghost", label="ghost", host="nowhere", pid=1, queues=("default",), lease_ms=1_000)
    assert await app._core.client().store.register(card)
    await keys.end_lease("ghost")


@pytest.mark.parametrize("name", OF_THE_KEEPER)
async def test_a_duty_of_the_keeper_that_fails_once_is_said_and_begun_again(
    app: App, keys: Keys, events: Events, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    @app.task
    async def job() -> str:
        return "ran"

    called = fails(monkeypatch, RedisStore, name)
    async with app.worker(lease=LEASE_S) as worker:
        await a_ghost(app, keys)
        said = await events.line("mistake")
        assert OF_THE_KEEPER[name] in said.getMessage()
        assert said.exc_info[0] in (ZeroDivisionError, ExceptionGroup)
        await until(lambda: called() > 1)
        await until(lambda: worker.ready)

        async def seen_off() -> bool:
            return "ghost" not in await keys.workers()

        await until(seen_off)
        delayed = await job.options(countdown=0.1).delay()
        assert await delayed.result(timeout=5) == "ran"
        assert len(events.of("mistake")) == 1
        assert events.of("lease_lost") == []


async def test_a_watch_over_the_loop_that_fails_once_is_said_and_begun_again(
    app: App, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = fails(monkeypatch, Keeper, "_watch")
    async with app.worker() as worker:
        said = await events.line("mistake")
        assert "watch" in said.getMessage()
        await until(lambda: called() > 1)
        await until(lambda: worker.ready)


async def test_a_heartbeat_that_fails_for_ever_shows_as_a_lease_that_is_not_renewed(
    app: App, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails(monkeypatch, RedisStore, "renew", times=FOR_EVER)
    async with app.worker(lease=LEASE_S) as worker:
        lapsed = Health(live=True, ready=False, reason="its lease could not be renewed in time")
        await until(lambda: worker.health() == lapsed)
        await until(lambda: len(events.of("mistake")) > 1)


async def test_a_watch_over_the_loop_that_fails_for_ever_shows_as_a_keeper_that_stands_still(
    app: App, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiotq.health.KEEPER_SILENT_S", 1.0)
    fails(monkeypatch, Keeper, "_watch", times=FOR_EVER)
    async with app.worker() as worker:
        still = Health(live=False, ready=False, reason="the keeper's thread has ended or stands still")
        await until(lambda: worker.health() == still)
        await until(lambda: len(events.of("mistake")) > 1)


@pytest.mark.parametrize("name", ["promote", "wait_poller_token"])
async def test_a_poller_that_fails_for_ever_is_said_again_and_again_and_due_jobs_are_found_by_claims(
    app: App, events: Events, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """By the end of a blocking wait, 4 s, at the latest: whoever claims promotes what is due."""

    @app.task
    async def job() -> str:
        return "ran"

    fails(monkeypatch, RedisStore, name, times=FOR_EVER)
    async with app.worker(lease=LEASE_S) as worker:
        delayed = await job.options(countdown=0.1).delay()
        assert await delayed.result(timeout=WITHIN_S) == "ran"
        await until(lambda: len(events.of("mistake")) > 1)
        await until(lambda: worker.ready)


async def test_a_reclaim_that_fails_for_ever_is_said_and_costs_the_worker_no_lease(
    app: App, keys: Keys, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fails(patch, RedisStore, "reclaim", times=FOR_EVER)
        async with app.worker(lease=3.0) as worker:
            await a_ghost(app, keys)
            await until(lambda: len(events.of("mistake")) > 1)
            await until(lambda: worker.ready)
            assert events.of("lease_lost") == []
    await keys.reclaim(app._core.client().store, "ghost")


@pytest.mark.parametrize("name", ["wait_token", "cancellations"])
async def test_a_duty_on_the_workers_own_loop_that_fails_ends_the_worker_and_is_raised(
    app: App, keys: Keys, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    worker = app.worker()
    with monkeypatch.context() as patch:
        fails(patch, RedisStore, name)
        with pytest.raises(ExceptionGroup) as raised:
            async with within():
                await worker.run()
    assert raised.group_contains(ZeroDivisionError)
    assert worker.health() == Health(live=False, ready=False, reason="ended")
    for worker_id in await keys.workers():  # as another worker would, once its lease has ended
        await keys.reclaim(app._core.client().store, worker_id)


async def test_a_mistake_as_a_large_record_is_read_is_said_and_the_job_is_run_all_the_same(
    app: App, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the job would be in this worker's hands for ever, and nobody would look at it."""
    monkeypatch.setattr(admit, "AGAIN_S", 0.05)

    @app.task
    async def weigh(data: str) -> int:
        return len(data)

    job = await weigh.delay("x" * 100_000)  # too large to come along with the claim
    called = fails(monkeypatch, RedisStore, "read", times=3)
    async with app.worker() as worker:
        await until(lambda: called() > 3)
        assert await job.result(timeout=5) == 100_000
        await until(lambda: not fetcher_of(worker).held)
        assert worker.tally["succeeded"] == 1
    lines = events.of("mistake", job_id=job.id)
    assert [line.levelname for line in lines] == ["ERROR"] * 3
    assert all("can't be read; tried again" in line.getMessage() for line in lines)


async def test_a_worker_that_stops_while_a_record_can_not_be_read_gives_the_job_back(
    app: App, keys: Keys, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.task
    async def weigh(data: str) -> int:
        return len(data)

    job = await weigh.delay("x" * 100_000)
    with monkeypatch.context() as patch:
        fails(patch, RedisStore, "read", times=FOR_EVER)
        async with within(), app.worker(grace=5):
            await events.line("mistake")
            stops = Stopwatch()
        took = stops.took("a job whose record can't be read goes back", 1.0)  # the grace is for what runs
    assert took.took_s < took.limit_s
    assert await keys.workers() == []
    assert await keys.line("default:5") == [job.id]
    await job.cancel()


async def test_a_keeper_that_looks_up_a_name_does_not_hold_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answer = threading.Event(), threading.Event()

    def slow(*_: object, **__: object) -> None:
        asked.set()
        answer.wait(timeout=20)
        raise socket.gaierror(-3, "temporary failure")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    store = connect("redis://somewhere.invalid:6379", namespace="test", connect_timeout_s=20)
    settings = WorkerSettings(queues=("default",), lease_s=LEASE_S)
    keeper = Keeper(store, settings, Outage(), worker_id="w", lost=lambda: None, running=lambda: "")
    keeper.start()
    assert await asyncio.to_thread(asked.wait, 10)

    stops = Stopwatch()
    assert not await keeper.stop(within_s=0.2)
    assert stops.took("until it is given up", 1.0).took_s < 5

    answer.set()
    await asyncio.to_thread(keeper._thread.join, 10)
    assert not keeper._thread.is_alive()
