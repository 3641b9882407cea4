"""Connections that swallow everything and are never cut: noticed in time, by an idle worker and by a busy one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiotq.store.contract import BLOCK_S
from aiotq.store.redis import BLOCK_MARGIN_S
from tests.faults.proxy import Fault, FaultProxy
from tests.faults.scale import scaled
from tests.faults.stopwatch import Stopwatch
from tests.faults.vitals import load_of
from tests.process.ledger import until

if TYPE_CHECKING:
    from tests.process.rig import Rig

SOON_S = 0.5  # a new connection, an exchange, a start
PAUSE_S = 0.5  # of its ears, at most, before they try again
LEASE_S = 2.0
HEARTBEAT_S = LEASE_S * 4 / 15
SILENT_S = scaled(5.0, 60.0)
NOTICED_S = 12.0  # the end of a blocking wait, and of the call after it
BACK_S = 3.0  # from the end of the silence to the first job


async def sleepers(rig: Rig) -> set[int]:
    """The ids of the clients that sleep at the server: on tokens, for jobs or for the poller."""
    found = await rig.raw.client_list()
    return {int(client["id"]) for client in found if client["cmd"] == "blpop"}


def blpop(rig: Rig, queue: str) -> bytes:
    """How a worker's wait for news of a queue begins, on the wire: no other request holds these bytes."""
    key = f"{rig.prefix}wake:{queue}"
    return f"BLPOP\r\n${len(key)}\r\n{key}".encode()


async def test_an_idle_worker_whose_blocking_wait_is_swallowed_takes_a_job_within_its_limit(rig: Rig):
    await rig.start_server()
    await rig.watch_ends()
    async with FaultProxy(rig.folder / "s", rig.folder / "p") as proxy:
        worker = await rig.worker(url=proxy.url)
        proxy.arm(Fault.BLACK_HOLE, blpop(rig, "default"))
        async with asyncio.timeout(2 * BLOCK_S):
            await proxy.struck()  # its next wait
        swallowed = Stopwatch()

        async def asleep() -> bool:
            return bool(await sleepers(rig))

        await until(asleep, "the server has the wait")
        before, newest = load_of(worker), max([int(client["id"]) for client in await rig.raw.client_list()])
        job = await rig.tasks.note.delay()  # its token goes into the hole
        await rig.ledger.until(1)
        after = load_of(worker)
        (start,) = rig.ledger.starts()
        limit_s = BLOCK_S + BLOCK_MARGIN_S + PAUSE_S + SOON_S
        took = swallowed.took("an idle worker over a black hole starts a job", limit_s, until_s=start.at_s)
        assert took.took_s > 1, "the fault has not struck the wait that the job would have ended"
        again = await rig.tasks.note.delay()
        heard = Stopwatch()
        await rig.all_ended([job, again])
        later = heard.took("and the next one", SOON_S)

        async def anew() -> bool:
            return max(await sleepers(rig), default=0) > newest

        await until(anew, "it waits on a new connection")
        await rig.stop(worker)
        await rig.check([job, again], away=[(before, after)], times=[took, later])


async def test_a_long_silence_costs_a_lease_and_nothing_else_idle_or_busy(rig: Rig):
    """Two workers that hear nothing any more, one idle and one busy; a third goes on by another way."""
    await rig.start_server()
    await rig.watch_ends()
    lease = ("--lease", f"{LEASE_S:g}")
    async with (
        FaultProxy(rig.folder / "s", rig.folder / "p") as silent,
        FaultProxy(rig.folder / "s", rig.folder / "q") as clear,
    ):
        idle, busy = [await rig.worker(*lease, "-q", queue, url=silent.url) for queue in ("idle", "default")]
        jobs: list[Any] = await rig.app.enqueue_many([rig.tasks.hold.s() for _ in range(10)])
        await rig.ledger.until(10, pid=busy.pid)
        other = await rig.worker(*lease, url=clear.url)
        for worker in (idle, busy):
            await rig.heartbeats_of(worker, 2)
        cut_off = (idle, busy)
        former = {worker.pid: await rig.ids_of(worker) for worker in cut_off}
        before, clients = [load_of(worker) for worker in cut_off], len(await rig.raw.client_list())
        silent.freeze()
        silence = Stopwatch()
        await rig.ledger.until(10, pid=other.pid)
        last_s = max(entry.at_s for entry in rig.ledger.starts(pid=other.pid))
        times = [
            silence.took("the busy worker's jobs in other hands", LEASE_S + 2 * HEARTBEAT_S + SOON_S, until_s=last_s)
        ]
        rig.open_gate()
        await rig.all_ended(jobs)
        later = [await rig.tasks.note.options(queue="idle").delay() for _ in range(5)]
        if SILENT_S > NOTICED_S:
            for worker in cut_off:
                await worker.line("store_down")
            times.append(silence.took("both know that their store is away", NOTICED_S))
        await asyncio.sleep(max(0.0, silence.began_s + SILENT_S - asyncio.get_running_loop().time()))  # the fault
        during = [load_of(worker) for worker in cut_off]
        silent.thaw()
        thawed = Stopwatch()
        for worker, held in ((idle, 0), (busy, 10)):
            await worker.line("lease_lost", jobs=held)
        await rig.stop(other)
        later += [await rig.tasks.note.delay() for _ in range(5)]
        await rig.all_ended(later)
        times.append(thawed.took("both work again", BACK_S))
        assert [len(rig.ledger.ends(*later, pid=worker.pid)) for worker in cut_off] == [5, 5]
        await rig.until_registered(2)
        for worker in cut_off:
            assert not await rig.ids_of(worker) & former[worker.pid], "it works under the id whose lease was lost"

        async def few() -> bool:  # the third one's are gone
            return len(await rig.raw.client_list()) <= clients

        await until(few, f"no more than {clients} connections")
        after = [load_of(worker) for worker in cut_off]
        await rig.stop(*cut_off)
    await rig.check(
        [*jobs, *later],
        may_repeat={job.id for job in jobs},
        most_repeats=10,
        away=list(zip(before, during, strict=True)),
        settled=list(zip(before, after, strict=True)),
        times=times,
    )
