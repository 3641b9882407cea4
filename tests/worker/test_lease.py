"""A worker's right to its jobs: kept, and lost."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App, current_job
from aiotq.worker import fetch, keeper
from aiotq.worker.keeper import BLOCKED_AFTER_S, Keeper
from tests.faults.proxy import FaultProxy
from tests.worker.ghosts import SHORT_S, same
from tests.worker.kit import Gate, fetcher_of, until, within

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from aiotq.worker.worker import Worker
    from tests.servers import Server
    from tests.worker.kit import Events, Keys

# --- a worker that was reclaimed ----------------------------------------------------------------------------------


async def test_a_reclaimed_worker_drops_and_cancels_its_jobs_and_goes_on_under_a_new_id(
    app: App, keys: Keys, events: Events
) -> None:
    gates = [Gate(), Gate()]
    cancelled: list[int] = []
    fences: list[int] = []

    @app.task
    async def job() -> str:
        run = len(fences)
        fences.append(current_job().fence)
        try:
            await gates[run].pass_through()
        except asyncio.CancelledError:
            cancelled.append(run)
            raise
        return f"run {run}"

    async with app.worker(lease=SHORT_S) as worker:
        sent = await job.delay()
        await gates[0].reached()
        [old_id] = await keys.workers()
        await keys.reclaim(app._core.client().store, old_id)
        await events.line("lost", job_id=sent.id)
        await events.line("lease_lost", jobs=1)
        await gates[1].reached()
        assert cancelled == [0]
        [new_id] = await keys.workers()
        assert new_id != old_id
        gates[1].open()
        assert await sent.result(timeout=5) == "run 1"
        info = await sent.info()
        assert (info.attempt, info.lost) == (1, 1)  # to vanish uses no attempt
        assert fences[1] > fences[0]
        assert worker.tally["succeeded"] == 1
        assert await keys.active() == set()


async def test_the_outcome_of_an_attempt_that_was_reclaimed_is_not_stored(app: App, keys: Keys) -> None:
    gates = [Gate(), Gate()]
    runs = 0

    @app.task
    async def job() -> str:
        nonlocal runs
        mine, runs = runs, runs + 1
        try:
            await gates[mine].pass_through()
        except asyncio.CancelledError:
            return "of the lost attempt"
        return "of the new attempt"

    async with app.worker(lease=SHORT_S):
        sent = await job.delay()
        await gates[0].reached()
        [worker_id] = await keys.workers()
        await keys.reclaim(app._core.client().store, worker_id)
        await gates[1].reached()
        assert await sent.status() == "running"
        gates[1].open()
        assert await sent.result(timeout=5) == "of the new attempt"
        assert len((await sent.info()).attempts) == 1


async def test_a_job_that_ends_before_its_worker_knows_that_it_was_reclaimed_is_not_stored_either(
    app: App, keys: Keys, events: Events
) -> None:
    gates = [Gate(), Gate()]
    runs = 0

    @app.task
    async def job() -> int:
        nonlocal runs
        mine, runs = runs, runs + 1
        await gates[mine].pass_through()
        return mine

    async with app.worker():  # a long lease: the exchange is the first to tell
        sent = await job.delay()
        await gates[0].reached()
        [worker_id] = await keys.workers()
        await keys.reclaim(app._core.client().store, worker_id)
        gates[0].open()
        await events.line("lease_lost")
        gates[1].open()
        assert await sent.result(timeout=5) == 1


async def test_a_worker_reclaimed_while_it_idles_takes_the_next_job_under_a_new_id(app: App, keys: Keys) -> None:
    @app.task
    async def job() -> str:
        return "ran"

    async with app.worker(lease=SHORT_S) as worker:
        await until(fetcher_of(worker).thirsty.is_set)
        [old_id] = await keys.workers()
        await keys.reclaim(app._core.client().store, old_id)
        assert await (await job.delay()).result(timeout=5) == "ran"
        assert await keys.workers() != [old_id]


async def test_a_worker_that_can_not_renew_starts_nothing_after_its_lease_until_it_has_asked(
    app: App, keys: Keys, valkey: Server, server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "GIVE_BACK_S", 60)  # what waits for the thread stays in hand
    begun, let_go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    ran: list[str] = []
    async with FaultProxy(valkey.url.removeprefix("unix://"), server_folder / "p") as proxy:
        behind = same(app, proxy.url)

        @behind.task
        def job(name: str) -> None:
            ran.append(name)
            loop.call_soon_threadsafe(begun.set)
            if name == "first":
                let_go.wait(timeout=20)

        async with behind, behind.worker(threads=1, lease=SHORT_S) as worker:
            first = await job.delay("first")
            second = await job.delay("second")
            async with within():
                await begun.wait()
            fetcher = fetcher_of(worker)
            await until(lambda: len(fetcher.ready) == 1)
            proxy.freeze()
            [worker_id] = await keys.workers()
            await until(lambda: not fetcher._lease_good())
            await keys.reclaim(app._core.client().store, worker_id)
            let_go.set()  # the thread is free: the second could start
            await until(lambda: not fetcher._runner.running)
            assert ran == ["first"]
            proxy.thaw()
            for sent in (first, second):
                await app.job(sent.id).result(timeout=5)
    assert ran.count("second") == 1
    assert ran.count("first") == 2  # at least once: its first outcome could not be stored in time


async def test_a_claim_whose_reply_comes_after_the_lease_is_asked_about_before_it_is_started(
    app: App, keys: Keys, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    fences: list[int] = []

    @app.task
    async def job() -> int:
        fences.append(current_job().fence)
        return len(fences)

    store = app._core.client().store
    exchange, on_its_way, arrived = store.exchange, asyncio.Event(), asyncio.Event()

    async def slow_exchange(*args: Any, **options: Any) -> Any:
        reply = await exchange(*args, **options)
        if reply.claimed and not on_its_way.is_set():
            on_its_way.set()
            await arrived.wait()
        return reply

    monkeypatch.setattr(store, "exchange", slow_exchange)
    monkeypatch.setattr(Keeper, "lease_good", property(lambda self: arrived.is_set() and len(fences) > 0))
    async with app.worker(lease=SHORT_S):
        sent = await job.delay()
        async with within():
            await on_its_way.wait()
        [worker_id] = await keys.workers()
        asked_s = time.monotonic()
        await until(lambda: time.monotonic() - asked_s > SHORT_S / 2)  # longer than a heartbeat
        await keys.reclaim(store, worker_id)
        arrived.set()
        await events.line("lease_lost")
        assert not fences
        assert await sent.result(timeout=5) == 1
    assert (await sent.info()).lost == 1


# --- a worker that keeps it ---------------------------------------------------------------------------------------


class OtherLoop:
    """A worker in another thread, so that a task that blocks this loop does not block it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="other-loop", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._loop))

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def other_loop() -> Any:
    other = OtherLoop()
    yield other
    other.close()


async def test_a_task_that_blocks_the_loop_keeps_its_lease_is_named_and_delays_nobodys_jobs(
    app: App, keys: Keys, events: Events, other_loop: OtherLoop
) -> None:
    unblocked_s: list[float] = []
    ran_s: list[float] = []

    @app.task
    async def block() -> int:
        time.sleep(1.6 * SHORT_S)  # noqa: ASYNC251  what it is about
        unblocked_s.append(time.monotonic())
        return current_job().attempt

    @app.task
    async def idle_beside_it() -> None:
        await asyncio.Event().wait()

    elsewhere = same(app)

    @elsewhere.task(queue="elsewhere")
    async def on_time() -> None:
        ran_s.append(time.monotonic())

    beside = await idle_beside_it.delay()
    async with app.worker(["default"], lease=SHORT_S):  # it came first, so it promotes
        await until(lambda: keys.client.exists(f"{keys.prefix}poller"))
        other = elsewhere.worker(["elsewhere"], lease=SHORT_S)
        await other_loop.run(other.start())
        before = set(await keys.workers())
        await other_loop.run(_enqueue_later(on_time, 0.5))  # due while the loop of the leader is blocked
        blocking = await block.delay()
        assert await blocking.result(timeout=10) == 1
        line = await events.line("blocked")
        await beside.cancel()
        assert set(await keys.workers()) == before  # nobody was reclaimed
        await other_loop.run(_stopped(other))
        await other_loop.run(elsewhere._core.close())
    assert not events.of("lease_lost")
    assert vars(line)["blocked_s"] >= BLOCKED_AFTER_S
    assert "block blocked the event loop" in line.getMessage()
    assert "idle_beside_it" not in line.getMessage()
    assert "time.sleep(1.6 * SHORT_S)" in line.getMessage()
    assert len(ran_s) == 1
    assert ran_s[0] < unblocked_s[0]


async def test_a_loop_that_stays_blocked_is_said_while_it_lasts_and_where_it_stands(
    app: App, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "STILL_BLOCKED_S", 0.8)
    over = threading.Event()

    @app.task
    async def block() -> None:
        over.wait(20)

    def end_it() -> None:
        end_s = time.monotonic() + 20
        while not events.of("blocked") and time.monotonic() < end_s:
            time.sleep(0.01)
        over.set()

    async with app.worker():
        sent = await block.delay()
        watching = threading.Thread(target=end_it)
        watching.start()
        await sent.result(timeout=30)
        watching.join()
        await until(lambda: len(events.of("blocked")) == 2)
    still, ended = events.of("blocked")
    assert "block has blocked the event loop for" in still.getMessage()
    assert "it is at:" in still.getMessage()
    assert "over.wait(20)" in still.getMessage()
    assert "block blocked the event loop for" in ended.getMessage()


async def _enqueue_later(task: Any, after_s: float) -> None:
    await task.options(countdown=after_s).delay()


async def _stopped(worker: Worker) -> None:
    worker.stop()
    await worker.run()


async def test_a_worker_whose_loop_stands_still_for_max_block_lets_its_jobs_go(
    app: App, events: Events, other_loop: OtherLoop
) -> None:
    blocked, elsewhere = same(app, max_block=0.3), same(app)
    ran: list[str] = []
    taken = threading.Event()

    async def here() -> str:
        ran.append("blocked")
        other_loop.run(other.start())
        taken.wait(20)  # the fault: the loop stands still until another worker has taken the job over
        return "blocked"

    async def there() -> str:
        ran.append("elsewhere")
        taken.set()
        return "elsewhere"

    first = blocked.task(here, name="job")
    elsewhere.task(there, name="job")
    other = elsewhere.worker(lease=SHORT_S)
    async with blocked, blocked.worker(lease=SHORT_S):
        sent = await first.delay()
        await events.line("lease_lost")
        assert await sent.result(timeout=5) == "elsewhere"
        assert (await sent.info()).lost == 1
        await other_loop.run(_stopped(other))
        await other_loop.run(elsewhere._core.close())
    assert ran == ["blocked", "elsewhere"]


async def test_a_server_that_is_away_longer_than_the_lease_costs_nobody_theirs(
    app: App, keys: Keys, valkey: Server, server_folder: Path, events: Events
) -> None:
    gate = Gate(comers=2)
    async with FaultProxy(valkey.url.removeprefix("unix://"), server_folder / "p") as proxy:
        behind = same(app, proxy.url, connect_timeout=5)

        @behind.task
        async def job() -> str:
            await gate.pass_through()
            return "once"

        first = behind.worker(lease=SHORT_S, concurrency=1)
        second = behind.worker(lease=SHORT_S, concurrency=1)
        async with behind, first, second:
            jobs = [await job.delay() for _ in range(2)]
            await gate.reached()
            before = set(await keys.workers())
            proxy.freeze()
            await until(lambda: not fetcher_of(first)._lease_good() and not fetcher_of(second)._lease_good())
            gate.open()
            proxy.thaw()
            assert [await app.job(sent.id).result(timeout=5) for sent in jobs] == ["once", "once"]
            await until(lambda: fetcher_of(first)._lease_good() and fetcher_of(second)._lease_good())
            assert set(await keys.workers()) == before
    assert len(gate.here) == 2
    assert not events.of("lease_lost")
    assert not events.of("reclaimed")
