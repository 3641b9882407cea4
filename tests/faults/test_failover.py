"""The master dies, or is told to make way: workers and senders go on at the next one, and what may be lost is bounded.

Redis replicates behind the answer: what was acknowledged in the last moment of the old master may be gone, as after a
crash with an AOF of `everysec`. Whatever the new master does not know was never queued there, or never ended.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest_asyncio
from redis.asyncio import Redis

from aiotq.errors import StoreError
from tests import servers
from tests.faults.proxy import FaultProxy
from tests.faults.sentinel_rig import SERVICE, Fleet, fleet, free_port, scripts_run
from tests.faults.stopwatch import Stopwatch
from tests.process.ledger import until
from tests.process.rig import Rig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiotq import Job

LEASE = ("--lease", "4")
WINDOW_S = 1.0  # of acknowledged writes that a failover may lose: as much as an AOF of `everysec`
SOON_S = 2.0  # from the promotion to the first job on the new master
CONNECT_TIMEOUT_S = 5.0


@pytest_asyncio.fixture
async def rig(server_folder: Path, namespace: str) -> AsyncIterator[Rig]:
    made = Rig(folder=server_folder, namespace=namespace)
    yield made
    await made.close()


@dataclass(kw_only=True)
class Sent:
    """What senders were told."""

    acked: dict[str, tuple[float, Job[Any]]] = field(default_factory=dict[str, Any])  # by id: when (monotonic)
    failed: list[StoreError] = field(default_factory=list[StoreError])
    longest_s: float = 0.0

    def since(self, at_s: float) -> list[Job[Any]]:
        """Those that were acknowledged after a moment."""
        return [job for acked_s, job in self.acked.values() if acked_s > at_s]


@asynccontextmanager
async def senders(rig: Rig, count: int = 3) -> AsyncIterator[Sent]:
    """Enqueue short jobs one after the other, as long as the context lasts."""
    sent, over = Sent(), asyncio.Event()

    async def send() -> None:
        while not over.is_set():
            began_s = time.monotonic()
            try:
                job = await rig.tasks.nap.delay(0.01)
                sent.acked[job.id] = (time.monotonic(), job)
            except StoreError as error:
                sent.failed.append(error)
            sent.longest_s = max(sent.longest_s, time.monotonic() - began_s)
            await asyncio.sleep(0.01)  # the pace of the load

    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(send())
        try:
            yield sent
        finally:
            over.set()


async def more_ends(rig: Rig, count: int) -> None:
    """Until so many more attempts have ended."""
    await rig.ledger.until(len(rig.ledger.ends()) + count, "end")


async def first_start_of(rig: Rig, sent: Sent, after_s: float) -> float:
    """When the first of the jobs started that were acknowledged after a moment."""

    async def started() -> bool:
        return bool((late := sent.since(after_s)) and rig.ledger.starts(*late))

    await until(started, "a job of after the promotion starts")
    return min(entry.at_s for entry in rig.ledger.starts(*sent.since(after_s)))


async def account(rig: Rig, sent: Sent, *, began_s: float, ended_s: float, window_s: float = WINDOW_S) -> int:
    """Check the ledger: what is gone or ran twice was acknowledged, or ran, within the failover. How many are gone.

    began_s, ended_s: from the last moment in which the old master was the only one, until nobody used it any more.
    window_s: how much of what was acknowledged before that may be gone.
    """
    jobs = {job_id: job for job_id, (_, job) in sent.acked.items()}
    known = await rig.raw.mget([f"{rig.prefix}job:{job_id}" for job_id in jobs])
    lost = {job_id for job_id, record in zip(jobs, known, strict=True) if record is None}
    early = {job_id for job_id in lost if not began_s - window_s <= sent.acked[job_id][0] <= ended_s}
    starts: dict[str, list[float]] = {}
    for entry in rig.ledger.starts():
        starts.setdefault(entry.job_id, []).append(entry.at_s)
    twice = {job_id for job_id, at_s in starts.items() if len(at_s) > 1}
    uncaused = {job_id for job_id in twice if not began_s - window_s <= starts[job_id][0] <= ended_s}
    # Each of those was running, or its end was lost, within the failover; none started more than once more.
    within = {job_id for job_id, at_s in starts.items() if began_s - window_s <= at_s[0] <= ended_s}
    rig.measured(
        f"{len(jobs)} acknowledged, {len(lost)} of them unknown to the new master, {len(twice)} ran twice; "
        f"{len(sent.failed)} delay() failed, the longest took {sent.longest_s:.2f} s"
    )
    assert not early, f"lost although they were acknowledged long before, or after: {early}"
    assert not uncaused, f"ran twice without cause: {uncaused}"
    assert sent.longest_s < CONNECT_TIMEOUT_S + 1
    left = [job for job_id, job in jobs.items() if job_id not in lost]
    await rig.check(left, may_repeat=within, most_repeats=len(twice))
    return len(lost)


async def enlist(rig: Rig, ships: Fleet) -> list[Any]:
    """An app and two workers that know nothing but the sentinels; the raw client looks at the next master."""
    rig.url = ships.url
    await rig.send_through(ships.url)
    rig.raw = Redis(host="127.0.0.1", port=ships.new.port)
    return await asyncio.gather(*(rig.worker(*LEASE, url=ships.url) for _ in range(2)))


def said(worker: Any, event: str) -> int:
    return worker.text.count(f'"event":"{event}"')


async def test_workers_and_senders_follow_their_service_when_its_master_is_killed(rig: Rig):
    async with fleet(rig.folder) as ships:
        workers = await enlist(rig, ships)
        async with senders(rig) as sent:
            await more_ends(rig, 100)
            ships.kill_master()
            promoted_s = await ships.promoted()
            watch = Stopwatch()
            again_s = await first_start_of(rig, sent, promoted_s) - promoted_s
            rig.measured(
                f"promoted {promoted_s - ships.killed_s:.2f} s after the kill, consuming {again_s:.2f} s later"
            )
            assert again_s < SOON_S + min(watch.starved_s, 3.0)
            await ships.agree()
            ships.old.start()  # with nothing, and in the belief that it is the master
            await ships.follows(ships.old)
            await more_ends(rig, 50)
        await rig.all_ended([job for _, job in sent.acked.values()])
        await rig.stop(*workers)
        assert await scripts_run(ships.old) == 0, "somebody has worked on the old master after its return"
        for worker in workers:
            assert (said(worker, "store_down"), said(worker, "store_up"), said(worker, "master")) == (1, 1, 1), (
                worker.text
            )
            assert f"/{SERVICE}" in worker.text
        await account(rig, sent, began_s=ships.killed_s, ended_s=promoted_s + again_s)


async def test_workers_and_senders_follow_a_failover_that_somebody_asked_for(rig: Rig):
    async with fleet(rig.folder) as ships:
        workers = await enlist(rig, ships)
        async with senders(rig) as sent:
            await more_ends(rig, 50)
            # Without it nobody would know, until the old master is told, that its writes are lost.
            await ships.client(ships.old).config_set("min-replicas-to-write", 1)
            began_s = time.monotonic()
            await ships.fail_over()
            promoted_s = await ships.promoted()
            await ships.follows(ships.old)
            ended_s = time.monotonic()
            before = await scripts_run(ships.old)
            watch = Stopwatch()
            again_s = await first_start_of(rig, sent, ended_s) - ended_s
            rig.measured(
                f"promoted {promoted_s - began_s:.2f} s after it was asked for, the old master follows "
                f"{ended_s - promoted_s:.2f} s later; consuming {again_s:.2f} s after that"
            )
            assert again_s < SOON_S + min(watch.starved_s, 3.0)
            await more_ends(rig, 50)
        await rig.all_ended([job for _, job in sent.acked.values()])
        await rig.stop(*workers)
        assert await scripts_run(ships.old) == before, "somebody still works on the old master"
        # What the old master acknowledged in the instant of the promotion may be lost all the same: 3 of 430 once.
        await account(rig, sent, began_s=began_s, ended_s=ended_s + again_s)


async def test_roles_changed_by_hand_while_writes_wait_lose_nothing_and_repeat_nothing_under_load(rig: Rig):
    """As an operator does it who has the time: hold writes back, wait for the replica, promote it, lead all there."""
    port = free_port()
    await rig.start_server("--port", str(port), "--bind", "127.0.0.1")
    folder = rig.folder / "new"
    folder.mkdir()
    with servers.running("valkey", folder, "--replicaof", "127.0.0.1", str(port), "--repl-diskless-sync-delay", "0"):
        new: Any = Redis(unix_socket_path=str(folder / "s"))
        async with FaultProxy(rig.folder / "s", rig.folder / "p") as proxy, new:
            await rig.send_through(proxy.url)
            workers = [await rig.worker(*LEASE, "-c", "20", url=proxy.url) for _ in range(2)]
            held = await rig.app.enqueue_many([rig.tasks.hold.s() for _ in range(10)])

            async def has_all() -> bool:
                old, copy = await rig.raw.info("replication"), await new.info("replication")
                same = old["master_repl_offset"] == copy.get("slave_repl_offset")
                return same and copy["master_link_status"] == "up"

            async with senders(rig) as sent:
                await more_ends(rig, 100)
                began_s = time.monotonic()
                await rig.raw.execute_command("CLIENT", "PAUSE", 10_000, "WRITE")
                await until(has_all, "the replica has it all")
                await new.execute_command("REPLICAOF", "NO", "ONE")
                proxy.upstream = folder / "s"
                await rig.raw.execute_command("REPLICAOF", "127.0.0.1", "1")
                await rig.raw.execute_command("CLIENT", "UNPAUSE")  # they are told READONLY now
                ended_s = time.monotonic()
                watch = Stopwatch()
                again_s = await first_start_of(rig, sent, ended_s) - ended_s
                rig.measured(f"changed within {ended_s - began_s:.2f} s, consuming {again_s:.2f} s later")
                assert again_s < SOON_S + min(watch.starved_s, 3.0)
                await more_ends(rig, 100)
            rig.open_gate()
            await rig.raw.aclose()
            rig.raw = Redis(unix_socket_path=str(folder / "s"))
            await rig.all_ended([*held, *(job for _, job in sent.acked.values())])
            await rig.stop(*workers)
            assert [said(worker, "lease_lost") for worker in workers] == [0, 0]
            assert len(rig.ledger.starts(*held)) == 10
            sent.acked |= {job.id: (0.0, job) for job in held}
            lost = await account(rig, sent, began_s=began_s, ended_s=ended_s + again_s, window_s=0.0)
            starts = [entry.job_id for entry in rig.ledger.starts()]
            assert (lost, len(starts)) == (0, len(set(starts)))


async def test_an_idle_worker_and_one_who_waits_follow_their_address_when_roles_are_changed_by_hand(rig: Rig):
    """The old master goes on answering, as a replica of nobody: what was published elsewhere is never heard on it."""
    port = free_port()
    await rig.start_server("--port", str(port), "--bind", "127.0.0.1")
    folder = rig.folder / "new"
    folder.mkdir()
    with servers.running("valkey", folder, "--replicaof", "127.0.0.1", str(port), "--repl-diskless-sync-delay", "0"):
        new: Any = Redis(unix_socket_path=str(folder / "s"))
        async with FaultProxy(rig.folder / "s", rig.folder / "p") as proxy, new:
            await rig.send_through(proxy.url)
            worker = await rig.worker(*LEASE, "-c", "2", url=proxy.url)
            held = await rig.tasks.hold.delay()
            await rig.ledger.until(1)

            async def quiet() -> bool:  # it sleeps on its queue, and all it did has reached the replica
                old, copy = await rig.raw.info(), await new.info("replication")
                same = old["master_repl_offset"] == copy.get("slave_repl_offset")
                return same and copy["master_link_status"] == "up" and old["blocked_clients"] >= 1

            waiting = asyncio.create_task(held.result(timeout=20))
            await until(quiet, "the worker sleeps")
            await new.execute_command("REPLICAOF", "NO", "ONE")
            proxy.upstream = folder / "s"
            await rig.raw.execute_command("REPLICAOF", "127.0.0.1", "1")
            watch = Stopwatch()
            job = await rig.tasks.note.delay()
            assert await job.result(timeout=10) == worker.pid
            took = watch.took("a job on the new master, from the change to its end", SOON_S)
            assert took.took_s < took.limit_s
            rig.open_gate()
            assert await waiting == worker.pid
            await rig.stop(worker)
            assert said(worker, "lease_lost") == 0
            await rig.raw.aclose()
            rig.raw = Redis(unix_socket_path=str(folder / "s"))
            await rig.check([held, job])
