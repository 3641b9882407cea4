"""Very many at one moment: jobs due in one millisecond, in a dead worker's hands, in a line; killed connections.

What a PING of somebody else takes meanwhile is measured by a process of its own, without what the machine adds. How
long scripts took by the server's own word (SLOWLOG) is only printed, since that counts the time in which it had no
core, too; held to 5 ms is processor time: here where one script is called again and again, and batch by batch in
tests/contract/test_scripts.py.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App
from aiotq.errors import StoreUnavailable
from aiotq.store import scripts
from aiotq.store.contract import MAX_CLAIMED, MAX_RECLAIMED, WorkerCard
from tests.faults.invariants import SPARE_BYTES, Took
from tests.faults.pinger import p99, pinged, waited_s
from tests.faults.scale import scaled
from tests.faults.stopwatch import starved_s
from tests.faults.vitals import connects, load_of
from tests.meter import LIMIT_MS, Meter
from tests.process.ledger import until
from tests.process.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from aiotq import Job
    from tests.process.rig import Rig
    from tests.processes import WorkerProcess

DUE_AT_ONCE = 10_000
DUE_IN_S = 10  # time to enqueue them all, and to look at the server at rest
HELD = scaled(30_000, 100_000)
RUN_AFTERWARDS = scaled(10_000, HELD)
DRAINED = scaled(8_000, 20_000)
BACKLOG = scaled(100_000, 1_000_000)
SENDERS = 50
KILLS = scaled(20, 200)
KILL_EVERY_S = 0.1
CONNECT_TIMEOUT_S = 5.0
PING_P99_S = 0.010
SLOWER = 5  # ... or so many times what it takes without the storm, if the machine itself is slow
PART = DRAINED // 8  # jobs over which a cost is measured
BACK_MS = LIMIT_MS / 300  # of the server, for one job's way back
LEASE_S = 1.0
HEARTBEAT_S = LEASE_S / 3.75
MARGIN_S = 2.0  # for a machine that has other things to do
WITHIN_S = scaled(60.0, 300.0)
MOST_LOGGED = 100_000
# Copies of a job, record and ticket. ARGV: prefix, its id, its ticket up to the id, its line, first and last number.
COPY = """
local record = redis.call('GET', ARGV[1] .. 'job:' .. ARGV[2])
for i = ARGV[5], ARGV[6] do
  redis.call('SET', ARGV[1] .. 'job:' .. i, record)
  redis.call('RPUSH', ARGV[4], ARGV[3] .. i)
end
"""
COPIES_A_CALL = 1_000


@dataclass(kw_only=True)
class Storm:
    """What was measured during one."""

    pings_s: list[float] = field(default_factory=list[float])
    usual_s: list[float] = field(default_factory=list[float])  # before it
    scripts_ms: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    slower: float = 1.0  # how much the server was slower than usual, by `Meter`, before it or after it

    @property
    def pings(self) -> Took:
        """As the invariants want it."""
        limit_s = max(PING_P99_S * self.slower, SLOWER * p99(self.usual_s))
        return Took(what="PING p99", took_s=p99(self.pings_s), limit_s=limit_s)

    def __str__(self) -> str:
        slow = {name: f"{sorted(ms)[len(ms) // 2]:.1f} (most {max(ms):.1f})" for name, ms in self.scripts_ms.items()}
        return (
            f"PING p99 {p99(self.pings_s) * 1e3:.1f} ms of {len(self.pings_s)}, "
            f"{p99(self.usual_s) * 1e3:.1f} ms before; "
            f"the server {self.slower:.1f} times slower than usual; "
            f"scripts that took more than 0.2 ms, median (most): {slow}"
        )


@asynccontextmanager
async def measured(rig: Rig) -> AsyncIterator[Storm]:
    """What the storm within costs others. It is complete once the context has ended."""
    names = {script.sha.encode(): script.name for script in scripts.ALL}
    socket, storm, meter = str(rig.folder / "s"), Storm(), Meter(rig.raw)
    async with pinged(socket, rig.pid) as usual_s:
        await asyncio.sleep(0.5)  # the length of a measurement
    storm.usual_s = usual_s
    storm.slower = await slower(meter)
    await rig.raw.config_set("slowlog-max-len", MOST_LOGGED)
    await rig.raw.config_set("slowlog-log-slower-than", 200)  # µs: what is worth a line
    await rig.raw.slowlog_reset()
    async with pinged(socket, rig.pid) as pings_s:
        yield storm
    storm.pings_s = pings_s
    storm.slower = max(storm.slower, await slower(meter))
    await rig.raw.config_set("slowlog-log-slower-than", -1)
    for entry in await rig.raw.slowlog_get(MOST_LOGGED):
        verb, _, rest = entry["command"].partition(b" ")
        if verb.upper() == b"EVALSHA":
            took_ms = storm.scripts_ms.setdefault(names[rest[:40]], [])
            took_ms.append(entry["duration"] / 1_000)
    rig.measured(str(storm))


def said_nothing_of_unpack(*workers: WorkerProcess) -> bool:
    """A script whose batch has no bound ends with that."""
    return not any("too many results" in worker.text for worker in workers)


async def test_ten_thousand_jobs_due_at_one_millisecond_all_run_once_and_nobody_waits_for_the_server(rig: Rig):
    await rig.start_server()
    await rig.watch_ends()
    worker = await rig.worker()
    due = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=DUE_IN_S)
    jobs = await rig.app.enqueue_many([rig.tasks.note.options(eta=due).s() for _ in range(DUE_AT_ONCE)])
    async with measured(rig) as storm:
        assert not rig.ledger.starts(), "the machine is too slow: jobs were due before all were enqueued"
        await rig.ledger.until(DUE_AT_ONCE, "end", within_s=WITHIN_S)
    first, last = rig.ledger.starts()[0], rig.ledger.starts()[-1]
    rig.measured(f"{DUE_AT_ONCE} due at once: all started within {last.at_s - first.at_s:.2f} s")
    await rig.all_ended(jobs)
    await rig.stop(worker)
    assert said_nothing_of_unpack(worker)
    await rig.check(jobs, times=[storm.pings])


@pytest.mark.timeout(300)
async def test_a_hundred_thousand_jobs_of_a_dead_worker_come_back_in_time_and_all_run_once(rig: Rig):
    await rig.start_server()
    store = rig.app._core.client().store
    card = WorkerCard(worker_id="dead", label="dead", host="h", pid=1, queues=["default"], lease_ms=600_000)
    await store.register(card)
    meter, ids = Meter(rig.raw), await fill(rig, HELD)
    for _ in range(0, HELD, MAX_CLAIMED):
        await store.exchange("dead", [], queues=["default"], limit=MAX_CLAIMED)
    assert await rig.raw.scard(f"{rig.prefix}active:dead") == HELD
    reclaimer = await rig.worker("--lease", f"{LEASE_S:g}", "-q", "elsewhere")
    async with measured(rig) as storm:
        used_ms, queued_s, ended_s = await meter.cpu_ms(), queued(rig, reclaimer), time.monotonic()
        await rig.raw.hset(f"{rig.prefix}worker:dead", "lease_ms", int(LEASE_S * 1000))
        await rig.raw.zadd(f"{rig.prefix}workers", {"dead": 1})  # its lease has ended long ago
        await reclaimer.line("reclaimed", timeout_s=WITHIN_S)
        took_s, used_ms = time.monotonic() - ended_s, await meter.cpu_ms() - used_ms
        queued_s = queued(rig, reclaimer) - queued_s
        line = f"{rig.prefix}line:default:5"
    tickets = {ticket.decode().rpartition(":")[2] for ticket in await rig.raw.lrange(line, 0, -1)}
    assert (tickets, await rig.raw.llen(line)) == (set(ids), HELD)
    assert await rig.raw.hlen(f"{rig.prefix}lost") == HELD
    await shorten(rig, line, RUN_AFTERWARDS)
    worker = await rig.worker()
    await rig.ledger.until(RUN_AFTERWARDS, "end", within_s=WITHIN_S)
    jobs = [rig.app.job(job_id) for job_id in {entry.job_id for entry in rig.ledger.starts()}]
    await rig.all_ended(jobs, within_s=WITHIN_S)
    script_s = used_ms / 1e3 / (HELD / MAX_RECLAIMED) / storm.slower
    rig.measured(
        f"{HELD} jobs of a dead worker back after {took_s:.2f} s, {queued_s:.2f} s of them without a core; "
        f"a reclaim took {script_s * 1e3:.1f} ms of processor"
    )
    await rig.stop(reclaimer, worker)
    assert said_nothing_of_unpack(reclaimer, worker)
    assert len(jobs) == RUN_AFTERWARDS
    script = Took(what="a reclaim, of processor time,", took_s=script_s, limit_s=MAX_RECLAIMED * BACK_MS / 1_000)
    limit_s = 2 * HEARTBEAT_S + HELD * BACK_MS / 1_000 * storm.slower + MARGIN_S
    back = Took(what=f"the way back of {HELD} jobs", took_s=took_s - queued_s, limit_s=limit_s)
    await rig.check(jobs, times=[storm.pings, back, script])


@pytest.mark.timeout(600)
async def test_a_long_backlog_is_drained_as_fast_as_a_short_one_and_an_urgent_job_passes_it(rig: Rig):
    await rig.start_server()
    meter = Meter(rig.raw)
    await fill(rig, BACKLOG)
    line = f"{rig.prefix}line:default:5"
    assert await rig.raw.llen(line) == BACKLOG
    async with measured(rig) as storm:
        worker = await rig.worker()
        before = load_of(worker)
        many_ms = await cheapest_ms(rig, meter, DRAINED // 2)
        urgent = await rig.tasks.note.options(priority=0).delay()
        sent_s = time.monotonic()
        many_ms = min(many_ms, await cheapest_ms(rig, meter, DRAINED // 2))
        grown = load_of(worker).rss - before.rss
        await rig.stop(worker)
    await shorten(rig, line, DRAINED)
    drained = len(rig.ledger.ends())
    worker = await rig.worker()
    few_ms = await cheapest_ms(rig, meter, DRAINED)
    jobs = [rig.app.job(job_id) for job_id in {entry.job_id for entry in rig.ledger.starts()}]
    await rig.all_ended(jobs)
    await rig.stop(worker)
    (start,) = rig.ledger.starts(urgent)
    before_it = sum(sent_s < entry.at_s < start.at_s for entry in rig.ledger.starts())
    rig.measured(
        f"{BACKLOG} jobs wait: {many_ms * 1e3:.1f} µs of the server a job, {few_ms * 1e3:.1f} µs when {DRAINED} do; "
        f"{before_it} of them started before an urgent one; the worker grew by {grown >> 10} KiB"
    )
    assert len(jobs) == drained + DRAINED
    assert said_nothing_of_unpack(*rig.crew)
    assert before_it <= 1_000, "an urgent job waits for more than what is in hand"
    # What grew with the line would cost twelve times as much, or fifty; on a busy machine it differs by a half.
    assert many_ms < 2.5 * few_ms, "a claim costs more where more jobs wait"
    assert grown < 2 * SPARE_BYTES, "the worker holds more where more jobs wait"
    await rig.check(jobs, times=[storm.pings])


async def cheapest_ms(rig: Rig, meter: Meter, jobs: int) -> float:
    """The server's processor time a job, until so many more have ended: of the part in which it was least.

    What else the machine does adds to it, and takes nothing from it.
    """
    first = ended = len(rig.ledger.ends())
    used_ms, least_ms = await meter.cpu_ms(), float("inf")
    while ended < first + jobs:
        await rig.ledger.until(min(ended + PART, first + jobs), "end", within_s=WITHIN_S)
        now_ms, now = await meter.cpu_ms(), len(rig.ledger.ends())
        least_ms = min(least_ms, (now_ms - used_ms) / (now - ended))
        used_ms, ended = now_ms, now
    return least_ms


@pytest.mark.timeout(300)
async def test_while_all_connections_are_killed_again_and_again_fifty_senders_lose_nothing_and_hear_no_error(rig: Rig):
    await rig.start_server()
    workers = await rig.workers(2, "--lease", "20")  # nothing here lasts so long: no job may run twice
    await rig.baseline()
    settled = [load_of(worker) for worker in workers]
    over, jobs, calls_s = asyncio.Event(), list[Any](), list[float]()
    unsure: list[StoreUnavailable] = []

    async def send(number: int) -> None:
        app = App(rig.url, namespace=rig.namespace, connect_timeout=CONNECT_TIMEOUT_S)
        async with app:
            task, count = Tasks(app).note, 0
            while not over.is_set():
                count += 1
                job = await send_one(task.options(job_id=f"{number}-{count}"))
                if count % 10 == 0:  # one in ten is waited for: the listeners' connections are killed, too
                    await job.result(timeout=WITHIN_S)
                jobs.append(job)

    async def send_one(task: Any) -> Job[int]:
        while True:
            began_s = time.monotonic()
            try:
                job: Job[int] = await task.delay()
            except StoreUnavailable as error:  # again under its id, as the guide says
                unsure.append(error)
                continue
            finally:
                calls_s.append(time.monotonic() - began_s)
            return job

    async with asyncio.TaskGroup() as group:
        for number in range(SENDERS):
            group.create_task(send(number))
        await kill_connections(rig, calls_s)
        over.set()
    await rig.all_ended(jobs)
    rig.measured(
        f"{KILLS} times all connections killed; {len(jobs)} jobs of {SENDERS} senders, {len(unsure)} calls of "
        f"{len(calls_s)} without an answer, the longest took {max(calls_s):.2f} s"
    )
    later = await rig.enqueue(100)
    await rig.all_ended(later)

    async def connected() -> bool:
        return not any(map(connects, workers))

    await until(connected, "no connection is being made")  # the last of the storm was a moment ago
    after = [load_of(worker) for worker in workers]
    await rig.stop(*workers)
    assert len(unsure) <= len(calls_s) / 100
    longest = Took(what="delay()", took_s=max(calls_s), limit_s=CONNECT_TIMEOUT_S + 1)
    await rig.check([*jobs, *later], settled=list(zip(settled, after, strict=True)), times=[longest])


# --- what they use ------------------------------------------------------------------------------------------------


async def fill(rig: Rig, count: int) -> list[str]:
    """Put that many jobs in a line, in no time: copies of one that was enqueued. Returns their ids."""
    model = await rig.tasks.note.delay()
    line = f"{rig.prefix}line:default:5"
    ticket = (await rig.raw.lpop(line)).decode()
    copy = rig.raw.register_script(COPY)
    for first in range(0, count, COPIES_A_CALL):
        last = min(first + COPIES_A_CALL, count) - 1
        await copy(args=[rig.prefix, model.id, ticket.removesuffix(model.id), line, first, last])
    await rig.raw.delete(f"{rig.prefix}job:{model.id}")
    return [str(number) for number in range(count)]


async def shorten(rig: Rig, line: str, left: int) -> None:
    """Leave so many jobs in a line, the first ones, and nothing of all others."""
    tickets = await rig.raw.lrange(line, left, -1)
    await rig.raw.ltrim(line, 0, left - 1)
    for first in range(0, len(tickets), COPIES_A_CALL):
        ids = [ticket.decode().rpartition(":")[2] for ticket in tickets[first : first + COPIES_A_CALL]]
        await rig.raw.delete(*(f"{rig.prefix}job:{job_id}" for job_id in ids))
        await rig.raw.hdel(f"{rig.prefix}lost", *ids)


async def slower(meter: Meter) -> float:
    """How much slower than usual the server is, in the middle of some measurements."""
    return sorted([await meter.slower() for _ in range(5)])[2]


def queued(rig: Rig, worker: WorkerProcess) -> float:
    """How long the server and a worker have waited for a core so far, in seconds."""
    return waited_s(rig.pid) + starved_s(worker.pid)


async def _as_many(found: Sequence[object], count: int) -> bool:
    return len(found) >= count


async def kill_connections(rig: Rig, calls_s: Sequence[float]) -> None:
    """Kill every connection but the test's own, and again, as soon as there has been an answer a sender in between."""
    for _ in range(KILLS):
        for kind in ("normal", "pubsub"):
            await rig.raw.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
        before = len(calls_s)
        await until(partial(_as_many, calls_s, before + SENDERS), "answers")
        await asyncio.sleep(KILL_EVERY_S)  # so that something may be under way when they are killed again
