"""The server restarts, is emptied, refuses, forgets its scripts, cuts every connection: workers lose nothing."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from aiotq.errors import StoreFull
from tests import servers
from tests.faults.invariants import Load, Told
from tests.faults.proxy import FaultProxy
from tests.faults.scale import scaled
from tests.faults.stopwatch import Stopwatch
from tests.faults.vitals import load_of
from tests.process.ledger import until
from tests.process.rig import DURABLE, Rig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

LEASE_S = 1.0
JOBS, AWAY_S = scaled(3_000, 10_000), scaled(0.5, 3.0)
AGAIN_S = 2.0  # from a server that answers to the first job
FULL_S = scaled(2.0, 20.0)  # how long a server stays full
RETRY_S = 0.05  # of a sender that does not give up


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
            await asyncio.sleep(every_s)  # the pace of the fault

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
    workers = await rig.workers(2, "-c", "50")  # both work by then, and so slowly that they can't be done by the fault
    jobs = await rig.app.enqueue_many([rig.tasks.nap.s(0.1) for _ in range(JOBS)])
    await rig.ledger.until(500, "end")
    before, clients = [load_of(worker) for worker in workers], len(await rig.raw.client_list())
    samples = [await rig.sample()]
    await (rig.shut_server_down() if ends == "shutdown" else rig.kill_server())
    went_s = time.monotonic()
    for worker in workers:
        await worker.line("store_down")
    during = [load_of(worker) for worker in workers]
    await asyncio.sleep(max(0.0, went_s + AWAY_S - time.monotonic()))  # the fault
    back = [load_of(worker) for worker in workers]
    assert len(rig.ledger.ends()) < JOBS
    await rig.start_server(*durable)
    assert await rig.raw.ping()
    answers, known = Stopwatch(), len(rig.ledger.starts())
    await rig.ledger.until(known + 1)
    first = rig.ledger.starts()[known]
    times = [answers.took(f"{ends}, from the first PING to the first start", AGAIN_S, until_s=first.at_s)]
    samples.append(await rig.sample())
    await rig.all_ended(jobs)
    after = [load_of(worker) for worker in workers]
    assert len(await rig.raw.client_list()) <= clients + 2  # two may not have been there yet
    await rig.stop(*workers)
    assert [(said(worker, "store_down"), said(worker, "store_up")) for worker in workers] == [(1, 1)] * 2
    await rig.check(
        jobs,
        earlier=samples,
        away=list(zip(during, back, strict=True)),
        settled=list(zip(before, after, strict=True)),
        times=times,
    )


async def test_the_first_worker_back_after_a_long_outage_takes_no_other_workers_jobs(rig: Rig):
    await rig.start_server(*DURABLE)
    lease_s = 3 * LEASE_S  # who comes back half a heartbeat later than another one is taken for dead
    workers = await rig.workers(3, "--lease", f"{lease_s:g}", "-c", "5")
    jobs = await rig.app.enqueue_many([rig.tasks.hold.s() for _ in range(15)])
    await rig.ledger.until(15)
    await rig.baseline()
    await rig.kill_server()
    await asyncio.sleep(1.2 * lease_s)  # every lease has ended
    await rig.start_server(*DURABLE)
    for worker in workers:
        await rig.heartbeats_of(worker, 2)
    rig.open_gate()
    await rig.all_ended(jobs)
    await rig.stop(*workers)
    await rig.check(jobs)


@pytest.mark.parametrize("how", ["flushed", "started with nothing"])
async def test_workers_outlive_an_emptied_server_and_bring_nothing_back(rig: Rig, how: str):
    await rig.start_server()
    workers = await rig.workers(2, "--lease", "4", "-c", "5")
    vanished = await rig.app.enqueue_many([rig.tasks.hold.s() for _ in range(20)])
    await rig.ledger.until(10)
    if how == "flushed":
        await rig.raw.flushall()
    else:
        await rig.kill_server()
        await rig.start_server()
    emptied = Stopwatch()
    await rig.watch_ends()
    jobs = await rig.enqueue(100)
    await rig.all_ended(jobs)
    # Told by the first exchange, and not by the end of a blocking wait (4 s).
    times = [emptied.took(f"{how}: until 100 new jobs have ended", AGAIN_S)]
    rig.open_gate()
    await rig.until_registered(2)
    later = await rig.enqueue(100)
    await rig.all_ended(later)
    assert [said(worker, "lease_lost") for worker in workers] == [1, 1]
    await rig.stop(*workers)
    assert await rig.raw.exists(*(f"{rig.prefix}job:{job.id}" for job in vanished)) == 0
    await rig.check([*jobs, *later], times=times)


async def test_no_error_surfaces_while_the_scripts_are_flushed_in_a_loop(rig: Rig):
    await rig.start_server()
    await rig.watch_ends()
    workers = await rig.workers(2)
    async with rig.sampling(), again_and_again(rig.raw.script_flush, every_s=0.0) as flushes:
        jobs = await rig.enqueue(1_000)
        while len(flushes) < 100:
            jobs += await asyncio.gather(*(rig.tasks.note.delay() for _ in range(20)))
        jobs += [await rig.tasks.note.options(countdown=0.2).delay() for _ in range(20)]
        await rig.all_ended(jobs)
    await rig.stop(*workers)
    for worker in workers:
        # But for what a worker says of its server as it starts.
        lines = [line for line in worker.output if '"event":"server"' not in line]
        assert not [line for line in lines if '"level":"error"' in line or '"level":"warning"' in line], worker.text
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
    async with rig.sampling(), again_and_again(cut, every_s=0.05) as cuts:
        while len(cuts) < 40:
            jobs += await rig.app.enqueue_many([rig.tasks.nap.s(0.03) for _ in range(30)])
            jobs.append(await rig.tasks.note.options(countdown=0.05).delay())
            jobs.append(await rig.tasks.carry.delay("x" * 20_000))
            stumbling = await rig.tasks.stumble.delay(2)
            failures[stumbling.id] = 2
            jobs.append(stumbling)
            results.append(asyncio.create_task(stumbling.result(timeout=30)))
            await asyncio.sleep(0.03)  # the pace of the load
    assert {await result for result in results} <= {worker.pid for worker in workers}
    await rig.all_ended(jobs)
    rig.measured(f"{len(jobs)} jobs, {len(cuts)} times all connections cut")
    await rig.stop(*workers)
    await rig.check(jobs, failures=failures)


async def test_workers_drain_a_full_server_and_keep_their_leases(rig: Rig):
    """For three leases: jobs end, fail and are tried again, are given back and taken back.

    What has ended takes hardly more than what waited, and its memory becomes free as its record's time is over.
    """
    lease = ("--lease", f"{LEASE_S:g}")
    await rig.start_server()
    worker = await rig.worker(*lease, "-c", "150")
    held = await rig.app.enqueue_many([rig.tasks.hold.s() for _ in range(100)])
    stops, dies = [await rig.worker(*lease, "--grace", "0.2", "-q", queue) for queue in ("stops", "dies")]
    moving = [await rig.tasks.hold.options(queue=queue).delay() for queue in ("stops", "dies") for _ in range(3)]
    await rig.ledger.until(106)
    other = await rig.worker(*lease, "-q", "stops,dies")
    store = rig.app._core.client().store
    await store.pause("default")
    large = await rig.app.enqueue_many([rig.tasks.carry.s("x" * 10_000) for _ in range(500)])
    stumbling = [await rig.tasks.stumble.delay(2) for _ in range(10)]
    queued = [await rig.tasks.note.options(countdown=0.5).delay() for _ in range(20)]

    async def used() -> int:
        return (await rig.raw.info("memory"))["used_memory"]

    full = await used()
    await rig.raw.config_set("maxmemory", 1)
    with pytest.raises(StoreFull, match="nothing was done"):
        await rig.tasks.note.delay()
    await store.resume("default")
    await rig.stop(stops)
    killed = Stopwatch()
    await dies.kill()
    await rig.all_ended([*large, *queued, *stumbling])
    await rig.ledger.until(6, pid=other.pid)
    last_s = max(entry.at_s for entry in rig.ledger.starts(pid=other.pid))
    times = [
        killed.took("full: from a kill to the last start elsewhere", LEASE_S * (1 + 2 * 4 / 15) + 0.3, until_s=last_s)
    ]
    await rig.heartbeats_of(worker, 12)  # three leases and more
    drained = await used()
    for job in large:
        await rig.raw.pexpire(f"{rig.prefix}job:{job.id}", 1)  # as after its `result_ttl`

    async def freed() -> bool:
        return await used() < full - len(large) * 9_000

    await until(freed, "the memory of what has ended is free")
    rig.measured(
        f"used_memory: full {full >> 10} KiB, drained {drained >> 10} KiB, in the end {await used() >> 10} KiB"
    )
    assert drained < full + len(large) * 500
    assert len(rig.ledger.ends(*large)) == len(large)
    rig.open_gate()
    await rig.all_ended([*held, *moving])
    await rig.stop(worker, other)
    assert said(other, "reclaimed") + said(worker, "reclaimed") == 1
    assert [said(one, event) for one in (worker, other) for event in ("lease_lost", "store_refuses", "store_down")] == [
        0
    ] * 6
    await rig.raw.config_set("maxmemory", 0)
    await rig.check(
        [*held, *moving, *large, *queued, *stumbling],
        may_vanish={job.id for job in large},
        may_repeat={job.id for job in moving},
        most_repeats=6,
        failures={job.id: 2 for job in stumbling},
        times=times,
    )


async def test_a_full_server_makes_neither_workers_nor_senders_hurry(rig: Rig):
    """A worker that works, one that comes meanwhile, and a sender that goes on trying."""
    await rig.start_server()
    await rig.watch_ends()
    worker = await rig.worker()
    held = await rig.tasks.hold.delay()
    await rig.ledger.until(1)
    accepted, refused = [held], list[str]()
    over = asyncio.Event()

    async def send() -> None:
        while not over.is_set():
            job_id = f"sent-{len(refused)}-{len(accepted)}"
            try:
                accepted.append(await rig.tasks.note.options(job_id=job_id).delay())
            except StoreFull:
                refused.append(job_id)
                await asyncio.sleep(RETRY_S)  # the pace of the load
            else:
                await asyncio.sleep(RETRY_S)  # the pace of the load

    def sender() -> Load:
        return Load(pid=0, cpu_s=time.process_time(), at_s=time.monotonic())

    async with asyncio.TaskGroup() as group:
        group.create_task(send())
        await rig.ledger.until(5, "end")
        await rig.raw.config_set("maxmemory", 1)
        comes = await rig.worker(ready=False)
        await comes.line("ready")
        before, calls = [load_of(worker), load_of(comes), sender()], await rig.raw.info("commandstats")
        await asyncio.sleep(FULL_S)  # the fault
        after, later = [load_of(worker), load_of(comes), sender()], await rig.raw.info("commandstats")
        rig.open_gate()  # it ends while the server is full
        await rig.all_ended([held])
        await rig.raw.config_set("maxmemory", 0)
        freed, sent = Stopwatch(), len(accepted)

        async def more() -> bool:
            return len(accepted) > sent

        await until(more, "the sender is heard again")
        times = [freed.took("once there is memory, until a job is accepted", AGAIN_S)]
        over.set()
    tries = sum(facts["calls"] - calls.get(name, {"calls": 0})["calls"] for name, facts in later.items())
    rig.measured(f"{tries / FULL_S:.0f} commands/s at the full server, inside of scripts too; {len(refused)} refused")
    assert tries / FULL_S < 1 / RETRY_S * 20
    await rig.all_ended(accepted)
    await rig.stop(worker, comes)
    told = Told(acked=[job.id for job in accepted], refused=refused)
    await rig.check([], told=told, away=list(zip(before, after, strict=True)), times=times)


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
            await rig.raw.aclose()
            rig.raw = Redis(unix_socket_path=str(folder / "s"))
            await rig.check([after])
            assert len(rig.ledger.ends(*before)) == 10
