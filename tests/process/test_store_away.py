"""The server restarts, is emptied, refuses, forgets its scripts, cuts every connection: workers lose nothing."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from aiotq.errors import StoreFull
from tests import servers
from tests.faults.proxy import FaultProxy
from tests.process.rig import Rig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

LEASE_S = 1.0
HEARTBEAT_S = LEASE_S * 4 / 15


def said(worker: Any, event: str) -> int:
    """How often a worker has logged an event."""
    return worker.text.count(f'"event":"{event}"')


@asynccontextmanager
async def again_and_again(fault: Callable[[], Awaitable[object]], *, every_s: float) -> AsyncIterator[list[int]]:
    """Do it in the background as long as the context lasts; yields how often it was done, as the length of a list."""
    done: list[int] = []
    over = asyncio.Event()

    async def repeat() -> None:
        while not over.is_set():  # not cancelled: redis-py may swallow that
            await fault()
            done.append(1)
            await asyncio.sleep(every_s)

    async with asyncio.TaskGroup() as group:
        group.create_task(repeat())
        try:
            yield done
        finally:
            over.set()


@pytest.mark.parametrize(("ends", "fsync"), [("shutdown", "everysec"), ("kill", "always")])
async def test_a_restart_of_the_server_in_mid_drain_loses_nothing_and_repeats_nothing(rig: Rig, ends: str, fsync: str):
    durable = ("--appendonly", "yes", "--appendfsync", fsync)
    await rig.start_server(*durable)
    jobs = await rig.app.enqueue_many([rig.tasks.nap.s(0.02) for _ in range(3_000)])
    worker = await rig.worker("-c", "50")
    await rig.ledger.until(500, "end")
    await (rig.shut_server_down() if ends == "shutdown" else rig.kill_server())
    await worker.line("store_down")
    assert len(rig.ledger.ends()) < 3_000
    await rig.start_server(*durable)
    back = await worker.line("store_up")
    rig.measured(f"{ends}: away for {back['down_s']:.2f} s")
    await rig.all_ended(jobs)
    await rig.stop(worker)
    assert (said(worker, "store_down"), said(worker, "store_up")) == (1, 1)
    await rig.check(jobs)


async def test_the_first_worker_back_after_a_long_outage_takes_no_other_workers_jobs(rig: Rig):
    durable = ("--appendonly", "yes", "--appendfsync", "always")
    await rig.start_server(*durable)
    workers = await rig.workers(3, "--lease", f"{LEASE_S:g}", "-c", "5")
    jobs = await rig.app.enqueue_many([rig.tasks.hold.s() for _ in range(15)])
    await rig.ledger.until(15)
    await rig.kill_server()
    await asyncio.sleep(1.2 * LEASE_S)  # every lease has ended
    await rig.start_server(*durable)
    for worker in workers:
        await rig.heartbeats_of(worker, 2)
    rig.open_gate()
    await rig.all_ended(jobs)
    await rig.stop(*workers)
    await rig.check(jobs)


async def test_workers_outlive_an_emptied_server_and_bring_nothing_back(rig: Rig):
    await rig.start_server()
    await rig.watch_ends()
    workers = await rig.workers(2, "--lease", "4", "-c", "5")
    vanished = await rig.app.enqueue_many([rig.tasks.hold.s() for _ in range(20)])
    await rig.ledger.until(10)
    await rig.raw.flushall()
    await rig.say_somebody_waits()
    at_s = time.monotonic()
    jobs = await rig.enqueue(100)
    await rig.all_ended(jobs)
    took_s = time.monotonic() - at_s
    rig.measured(f"new jobs done {took_s:.2f} s after FLUSHALL")
    assert took_s < 3.0  # told by the first exchange, and not by the end of a blocking wait (4 s)
    rig.open_gate()
    await rig.until_registered(2)
    later = await rig.enqueue(100)
    await rig.all_ended(later)
    assert [said(worker, "lease_lost") for worker in workers] == [1, 1]
    await rig.stop(*workers)
    assert await rig.raw.exists(*(f"{rig.prefix}job:{job.id}" for job in vanished)) == 0
    await rig.check([*jobs, *later])


async def test_no_error_surfaces_while_the_scripts_are_flushed_in_a_loop(rig: Rig):
    await rig.start_server()
    await rig.watch_ends()
    workers = await rig.workers(2)
    async with again_and_again(rig.raw.script_flush, every_s=0.0) as flushes:
        jobs = await rig.enqueue(1_000)
        while len(flushes) < 100:
            jobs += await asyncio.gather(*(rig.tasks.note.delay() for _ in range(20)))
        jobs += [await rig.tasks.note.options(countdown=0.2).delay() for _ in range(20)]
        await rig.all_ended(jobs)
    await rig.stop(*workers)
    for worker in workers:
        assert '"level":"error"' not in worker.text, worker.text
        assert '"level":"warning"' not in worker.text, worker.text
    await rig.check(jobs)


async def test_connections_cut_every_50_ms_lose_nothing_and_repeat_nothing(rig: Rig):
    await rig.start_server()
    await rig.watch_ends()
    own = {await rig.raw.client_id()} | {int(client["id"]) for client in await rig.raw.client_list(_type="pubsub")}

    async def cut() -> None:
        for client in await rig.raw.client_list():
            if int(client["id"]) not in own and client["name"] != "test":
                await rig.raw.client_kill_filter(_id=client["id"], skipme=True)

    workers = await rig.workers(2)
    jobs: list[Any] = []
    failures: dict[str, int] = {}
    results: list[asyncio.Task[int]] = []
    rig.raw.connection_pool.connection_kwargs["client_name"] = "test"  # its further connections are no target
    async with again_and_again(cut, every_s=0.05) as cuts:
        while len(cuts) < 40:
            jobs += await rig.app.enqueue_many([rig.tasks.nap.s(0.03) for _ in range(30)])
            jobs.append(await rig.tasks.note.options(countdown=0.05).delay())
            jobs.append(await rig.tasks.carry.delay("x" * 20_000))
            stumbling = await rig.tasks.stumble.delay(2)
            failures[stumbling.id] = 2
            jobs.append(stumbling)
            results.append(asyncio.create_task(stumbling.result(timeout=30)))
            await asyncio.sleep(0.03)
    assert {await result for result in results} <= {worker.pid for worker in workers}
    await rig.all_ended(jobs)
    rig.measured(f"{len(jobs)} jobs, {len(cuts)} times all connections cut")
    await rig.stop(*workers)
    await rig.check(jobs, failures=failures)


async def test_workers_drain_a_full_server_and_keep_their_leases(rig: Rig):
    await rig.start_server()
    await rig.watch_ends()
    worker = await rig.worker("--lease", f"{LEASE_S:g}", "-c", "30")
    held = await rig.app.enqueue_many([rig.tasks.hold.s() for _ in range(20)])
    await rig.ledger.until(20)
    store = rig.app._core.client().store
    await store.pause("default")
    queued = await rig.enqueue(500)
    queued += [await rig.tasks.note.options(countdown=0.5).delay() for _ in range(20)]
    other = await rig.worker("--lease", f"{LEASE_S:g}", "-q", "elsewhere")
    await rig.raw.config_set("maxmemory", 1)
    with pytest.raises(StoreFull, match="nothing was done"):
        await rig.tasks.note.delay()
    await store.resume("default")
    await rig.all_ended(queued)
    await rig.heartbeats_of(worker, 5)  # for more than a lease
    rig.open_gate()
    await rig.all_ended(held)
    await rig.stop(worker, other)
    assert said(other, "reclaimed") == 0
    assert [said(worker, event) for event in ("lease_lost", "store_refuses", "store_down")] == [0, 0, 0]
    await rig.raw.config_set("maxmemory", 0)
    await rig.check([*held, *queued])


async def test_a_worker_and_a_sender_follow_their_address_to_the_new_primary(rig: Rig):
    """The old primary goes on answering as a replica on the connections that it has; new ones reach the new primary."""
    await rig.start_server()
    folder = rig.folder / "new"
    folder.mkdir()
    with servers.running("valkey", folder):
        async with FaultProxy(rig.folder / "s", rig.folder / "p") as proxy:
            await rig.send_through(proxy.url)
            worker = await rig.worker("--lease", f"{LEASE_S:g}", url=proxy.url)
            before = await rig.enqueue(10)
            await rig.all_ended(before)
            proxy.upstream = folder / "s"
            await rig.raw.execute_command("REPLICAOF", "127.0.0.1", "1")
            at_s = time.monotonic()
            after = await rig.tasks.note.delay()
            await after.result(timeout=10)
            rig.measured(f"a job on the new primary done after {time.monotonic() - at_s:.2f} s")
            await rig.stop(worker)
