"""What a cold reading of the worker found: each test failed before its fix."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App, RetryPolicy, current_job
from aiotq.store import connect, scripts
from aiotq.store.contract import WorkerCard
from aiotq.worker.admit import READS_AT_ONCE
from aiotq.worker.held import Held
from aiotq.worker.keeper import Keeper
from aiotq.worker.outage import Outage
from aiotq.worker.settings import WorkerSettings
from tests.faults.proxy import Fault, FaultProxy
from tests.worker.kit import WITHIN_S, fetcher_of, until, within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from aiotq import Worker
    from tests.servers import Server
    from tests.worker.kit import Events, Keys


class Stubborn:
    """A task that swallows its cancellation until it is let go."""

    def __init__(self, app: App, **options: Any) -> None:
        self.here, self._let_go = asyncio.Event(), asyncio.Event()

        async def stubborn() -> None:
            self.here.set()
            while not self._let_go.is_set():
                try:
                    await self._let_go.wait()
                except asyncio.CancelledError:
                    continue

        self.task: Callable[[], Awaitable[Any]] = app.task(stubborn, retries=0, **options).delay

    async def let_go(self, worker: Worker) -> None:
        """Let its code end at last."""
        ending = [held.handle for held in fetcher_of(worker)._runner.running if held.handle is not None]
        self._let_go.set()
        await asyncio.wait(ending)


async def test_a_worker_whose_slots_are_all_stuck_ends_though_work_is_left_to_do_until_empty(
    app: App, events: Events, impatient: None
) -> None:
    stubborn = Stubborn(app, timeout=0.05)
    for _ in range(3):
        await stubborn.task()
    worker = app.worker(concurrency=2)

    try:
        async with within():
            assert await worker.run(until_empty=True) == 1

        [line] = events.of("stopping")
        assert vars(line)["running"] == 0
    finally:
        await stubborn.let_go(worker)


async def test_a_worker_that_stops_says_nothing_of_a_stuck_job_which_has_failed_and_does_not_go_back(
    app: App, events: Events, impatient: None
) -> None:
    stubborn = Stubborn(app, timeout=0.05)
    worker = app.worker(concurrency=2)
    await worker.start()
    try:
        async with within():
            await stubborn.task()
            await events.line("stuck")

            worker.stop()
            await events.line("stopped")

        [line] = events.of("stopping")
        assert vars(line)["running"] == 0
    finally:
        await stubborn.let_go(worker)


async def test_a_worker_whose_slots_are_all_stuck_with_jobs_that_are_others_by_now_ends(
    app: App, keys: Keys, events: Events, impatient: None
) -> None:
    stubborn = Stubborn(app)
    await stubborn.task()
    worker = app.worker(concurrency=1)
    try:
        async with within():
            await worker.start()
            await stubborn.here.wait()
            [worker_id] = await keys.workers()
            await keys.reclaim(app._core.client().store, worker_id)
            fetcher_of(worker).wake(doubt=True)
            assert await worker.run() == 1

        assert events.of("lease_lost")
        assert events.of("all_stuck")
    finally:
        await stubborn.let_go(worker)


async def test_a_job_that_has_ended_is_forgotten_long_before_its_timeout_would_have_come(app: App) -> None:
    @app.task(timeout=3600)
    async def echo(text: str) -> str:
        return text

    async with app.worker() as worker, within():
        ids = {job.id for job in await app.enqueue_many([echo.s("x" * 1_000) for _ in range(50)])}
        await worker.run_until_empty()
        gc.collect()
        kept = [it for it in gc.get_objects() if isinstance(it, Held) and it.job_id in ids]
    assert not kept


async def test_few_large_records_are_read_at_once_as_the_next_exchange_waits_for_them(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.task
    async def measure(text: str) -> int:
        return len(text)

    store = app._core.client().store
    read, reading, most = store.read, 0, 0

    async def counted(job_id: str, *, at_most: int | None = None) -> bytes | None:
        nonlocal reading, most
        reading += 1
        most = max(most, reading)
        try:
            return await read(job_id, at_most=at_most)
        finally:
            reading -= 1

    monkeypatch.setattr(store, "read", counted)
    await app.enqueue_many([measure.s("x" * 20_000) for _ in range(50)])
    async with within(), app.worker() as worker:
        await worker.run_until_empty()
    assert worker.tally["succeeded"] == 50
    assert most == READS_AT_ONCE


async def test_a_ticket_that_stands_in_its_line_twice_is_run_once(app: App, keys: Keys) -> None:
    ran = 0

    @app.task
    async def count() -> None:
        nonlocal ran
        ran += 1

    await count.delay()
    line = f"{keys.prefix}line:default:5"
    await keys.client.rpush(line, *await keys.client.lrange(line, 0, -1))
    async with within(), app.worker() as worker:
        await worker.run_until_empty()
    assert ran == 1


@pytest.mark.skipif(sys.version_info < (3, 12), reason="no eager tasks in this Python")
async def test_a_service_whose_tasks_are_eager_may_host_a_worker(app: App) -> None:
    asyncio.get_running_loop().set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009  not in 3.11

    @app.task
    async def number(i: int) -> int:
        return i

    await app.enqueue_many([number.s(i) for i in range(1_000)])
    async with within(), app.worker(concurrency=300) as worker:
        await worker.run_until_empty()
    assert worker.tally["succeeded"] == 1_000


async def test_a_log_handler_that_raises_harms_no_job_and_no_worker(
    app: App, events: Events, capsys: pytest.CaptureFixture[str]
) -> None:
    raised: set[str] = set()

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raised.add(vars(record)["event"])
            raise OSError("the log server is away")

    @app.task(retries=1, retry=RetryPolicy(delays=[0]))
    async def once_more() -> int:
        if current_job().attempt == 1:
            raise ValueError("not yet")
        return 7

    logger, broken = logging.getLogger("aiotq.worker"), Broken()
    logger.addHandler(broken)
    try:
        worker = app.worker()
        job = await once_more.delay()
        async with within():
            assert await worker.run(until_empty=True) == 0
    finally:
        logger.removeHandler(broken)
    assert await job.result(timeout=0) == 7
    assert {"started", "retried", "succeeded", "stopping", "stopped"} <= raised
    assert "the log server is away" in capsys.readouterr().err


# --- the keeper ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("connect_timeout", "times"), [(0.5, 2), (60, 1)])
async def test_heartbeats_that_are_never_answered_do_not_end_the_lease_while_the_server_answers_others(
    app: App, valkey: Server, server_folder: Path, connect_timeout: float, times: int
) -> None:
    async with FaultProxy(valkey.url.removeprefix("unix://"), server_folder / "p") as proxy, within():
        behind = App(proxy.url, namespace=app._core.settings.namespace, connect_timeout=connect_timeout)
        proxy.arm(Fault.BLACK_HOLE, scripts.RENEW.sha, times=times)
        async with behind, behind.worker(lease=6) as worker:
            assert worker._life is not None
            keeper = worker._life.keeper
            assert keeper is not None
            registered_at_s = keeper.renewed_at_s

            def renewed() -> bool:
                assert keeper.lease_good
                return keeper.renewed_at_s > registered_at_s

            await until(renewed)
        assert proxy.hits == times


async def test_who_was_seen_late_on_a_connection_that_broke_since_is_given_another_heartbeat(
    app: App, keys: Keys, valkey: Server, server_folder: Path
) -> None:
    store = app._core.client().store
    for worker_id, lease_ms in (("late", 1), ("w1", 10_000)):
        card = WorkerCard(worker_id=worker_id, label="", host="", pid=1, queues=("default",), lease_ms=lease_ms)
        assert await store.register(card)
    await keys.end_lease("late")
    async with FaultProxy(valkey.url.removeprefix("unix://"), server_folder / "p") as proxy, within():
        behind = connect(proxy.url, namespace=app._core.settings.namespace, connect_timeout_s=5)
        settings = WorkerSettings(queues=("default",), lease_s=0.001)  # it looks as often as it is told to
        keeper = Keeper(behind, settings, Outage(), worker_id="w1", lost=lambda: None, running=str)
        assert await keeper._beat()
        proxy.cut_all()
        await behind.read("nothing")  # another one found it broken, and connected anew

        assert await keeper._beat()
        assert "late" in await keys.workers()

        assert await keeper._beat()
        assert "late" not in await keys.workers()
        await behind.close()
    await store.retire("w1")


async def test_a_task_that_blocks_the_loop_for_good_is_named_while_it_does(app: App, events: Events) -> None:
    blocking = App(app.source().url, namespace=app._core.settings.namespace, max_block=0.6)
    said: list[float] = []

    @blocking.task
    async def endless() -> None:
        end_s = monotonic() + WITHIN_S
        while not events.of("blocked") and monotonic() < end_s:
            threading.Event().wait(0.01)
        said.extend(vars(line)["blocked_s"] for line in events.of("blocked"))

    async with blocking, blocking.worker():
        await (await endless.delay()).result(timeout=2 * WITHIN_S)
    assert 0.6 <= said[0] < WITHIN_S
