"""Clocks that jump by an hour, on either side: no lease is lost, nothing is lost, and who has died is still found."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.faults.clocks import ShiftedClock
from tests.faults.invariants import Told, Took
from tests.faults.stopwatch import Stopwatch
from tests.faults.test_crash_points import reclaimed
from tests.process.ledger import until
from tests.processes import PATH, ROOT, die_with_parent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.process.rig import Rig

HOUR_S = 3_600
LEASE_S = 1.0
HEARTBEAT_S = LEASE_S * 4 / 15
MARGIN_S = 3.0  # for a machine that has other things to do
LEASE = ("--lease", f"{LEASE_S:g}")
STEPS = pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S], ids=["forward", "back"])


@pytest.fixture
def clock(shim: Path, server_folder: Path) -> ShiftedClock:
    return ShiftedClock(library=shim, file=server_folder / "clock")


@pytest_asyncio.fixture
async def jumping(rig: Rig, clock: ShiftedClock) -> AsyncIterator[Rig]:
    """A rig whose server has the clock that jumps."""
    await rig.start_server(env=clock.env)
    clock.step(60)
    seconds, _ = await rig.raw.time()
    assert 50 < seconds - time.time() < 70, "the shim does not reach this server"
    clock.step(0)
    yield rig


@STEPS
@pytest.mark.parametrize("other", [LEASE, ("--lease", f"{4 * LEASE_S:g}")], ids=["one lease", "another lease"])
async def test_no_worker_loses_its_lease_when_the_servers_clock_jumps(
    jumping: Rig, clock: ShiftedClock, step_s: int, other: tuple[str, ...]
):
    rig = jumping
    await rig.watch_ends()
    workers = await asyncio.gather(*(rig.worker(*lease, "-c", "5") for lease in (LEASE, other)))
    jobs = await rig.app.enqueue_many([rig.tasks.hold.s() for _ in range(10)])
    await rig.ledger.until(10)
    await rig.baseline()
    await in_step(rig)
    clock.step(step_s)
    await rig.say_somebody_waits()  # a key with a TTL, which an hour ends
    for worker in workers:
        await rig.heartbeats_of(worker, 4)
    later = await rig.enqueue(20)
    delayed = [await rig.tasks.note.options(countdown=0.3).delay() for _ in range(5)]
    rig.open_gate()
    await rig.all_ended([*jobs, *later, *delayed])
    await rig.stop(*workers)
    for worker in workers:
        assert "lease_lost" not in worker.text
        assert "reclaimed" not in worker.text
    await rig.check([*jobs, *later, *delayed])


@STEPS
async def test_a_worker_that_dies_as_the_servers_clock_jumps_is_reclaimed_in_time(
    jumping: Rig, clock: ShiftedClock, step_s: int
):
    rig = jumping
    doomed = await rig.worker(*LEASE)
    other = await rig.worker(*LEASE, "-q", "elsewhere")
    jobs = [await rig.tasks.hold.delay() for _ in range(3)]
    await rig.ledger.until(3)
    await doomed.kill()
    clock.step(step_s)
    killed_s = time.monotonic()
    await reclaimed(rig, 1)
    took_s = time.monotonic() - killed_s
    rig.measured(f"reclaimed {took_s:.2f} s after its death, the clock having jumped by {step_s:+} s")
    rig.open_gate()
    last = await rig.worker(*LEASE)
    await rig.all_ended(jobs)
    await rig.stop(other, last)
    # A lease end an hour ahead is pulled in first, and then runs out: a heartbeat to see it, a lease, two heartbeats.
    limit_s = LEASE_S + 4 * HEARTBEAT_S + MARGIN_S
    await rig.check(jobs, excused={doomed.pid}, times=[Took(what="reclaim", took_s=took_s, limit_s=limit_s)])


async def in_step(rig: Rig) -> None:
    """Until one has just renewed its lease: whoever looks next has not long ago done so, and the other is about to."""
    seen = await rig.raw.zrange(f"{rig.prefix}workers", 0, -1, withscores=True)

    async def moved() -> bool:
        return await rig.raw.zrange(f"{rig.prefix}workers", 0, -1, withscores=True) != seen

    await until(moved, "a heartbeat")


async def is_behind(rig: Rig) -> bool:
    """Whether the server's clock is an hour behind that of this machine."""
    seconds, _ = await rig.raw.time()
    return abs(seconds + HOUR_S - time.time()) < HOUR_S / 2


async def test_delayed_jobs_keep_to_the_servers_clock_when_it_jumps(jumping: Rig, clock: ShiftedClock):
    """Due times are instants of that clock: set back, they are further off; set right again, they come on time."""
    rig = jumping
    worker = await rig.worker(*LEASE)
    jobs = [await rig.tasks.note.options(countdown=HOUR_S / 2).delay() for _ in range(5)]
    clock.step(HOUR_S)
    await rig.all_ended(jobs)  # half an hour ago, now
    clock.step(-HOUR_S)
    # The server looked at its clock as it fell asleep, and the first commands still see that time.
    await until(lambda: is_behind(rig), "the server's clock")
    near = await rig.tasks.note.options(countdown=0.5).delay()
    await rig.all_ended([near])
    await rig.stop(worker)
    await rig.check([*jobs, near])


@STEPS
async def test_a_workers_own_clock_means_nothing(rig: Rig, clock: ShiftedClock, step_s: int):
    await rig.start_server()
    await rig.watch_ends()
    odd = await rig.worker(*LEASE, env=clock.env)
    held = await rig.tasks.hold.delay()
    await rig.ledger.until(1)
    clock.step(step_s)
    other = await rig.worker(*LEASE, "-q", "elsewhere")
    await rig.baseline()
    await rig.heartbeats_of(odd, 4)
    sent_s = time.monotonic()
    delayed = await rig.tasks.note.options(countdown=0.5, expires=60).delay()
    await rig.all_ended([delayed])
    (start,) = rig.ledger.starts(delayed)
    assert 0.45 < start.at_s - sent_s < 0.5 + MARGIN_S
    stumbling = await rig.tasks.stumble.delay(2)
    rig.open_gate()
    await rig.all_ended([held, stumbling])
    info = await stumbling.info()
    assert info.finished_at is not None
    assert abs(info.finished_at.timestamp() - time.time()) < HOUR_S / 2
    await rig.stop(odd, other)
    assert "reclaimed" not in other.text
    await rig.check([held, delayed, stumbling], failures={stumbling.id: 2})


SENDER = """\
import asyncio, os, time
from aiotq import App
from tests.process.tasks import Tasks

async def main():
    async with App(os.environ["URL"], namespace=os.environ["NAMESPACE"]) as app:
        note = Tasks(app).note
        print(time.time(), flush=True)
        await note.options(job_id="warm").delay()
        print(time.monotonic())
        await note.options(job_id="due", countdown=0.5, expires=30).delay()
        print(time.monotonic())
        await note.options(job_id="fresh", expires=30).delay()
        await note.options(job_id="stale", queue="late", expires=0.2).delay()
        print("sent", flush=True)

asyncio.run(main())
"""


@STEPS
async def test_a_senders_own_clock_means_nothing_for_countdown_and_expires(rig: Rig, clock: ShiftedClock, step_s: int):
    """A delay and a time to live are lengths, and they begin when the server has the job."""
    await rig.start_server()
    await rig.watch_ends()
    worker = await rig.worker(*LEASE)
    clock.step(step_s)
    sender = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SENDER),
        cwd=ROOT,
        env={**os.environ, **clock.env, "PYTHONPATH": PATH, "URL": rig.url, "NAMESPACE": rig.namespace},
        stdout=asyncio.subprocess.PIPE,
        preexec_fn=die_with_parent,
    )
    assert sender.stdout is not None
    its_time_s = float(await sender.stdout.readline())
    assert abs(its_time_s - time.time() - step_s) < 60, "the shim does not reach the sender"
    before_s, after_s = float(await sender.stdout.readline()), float(await sender.stdout.readline())
    assert await sender.stdout.readline() == b"sent\n"
    sent = Stopwatch(began_s=after_s)  # the shim shifts no monotonic clock
    assert await sender.wait() == 0
    warm, due, fresh, stale = [rig.app.job(job_id) for job_id in ("warm", "due", "fresh", "stale")]
    await rig.all_ended([warm, due, fresh])
    (start,) = rig.ledger.starts(due)
    assert start.at_s - before_s > 0.5 - 0.01, "it came too early"
    times = [sent.took(f"a countdown of 0.5 s by a clock off by {step_s:+} s", 0.5 + 0.1, until_s=start.at_s)]
    assert [(await job.info()).status for job in (due, fresh)] == ["succeeded"] * 2

    async def over() -> bool:
        return time.monotonic() - sent.began_s > 0.2

    await until(over, "its time to live is over")
    late = await rig.worker(*LEASE, "-q", "late")
    await rig.all_ended([stale])
    info = await stale.info()
    assert (info.status, info.reason) == ("cancelled", "expired")
    for job in (due, fresh, stale):
        enqueued = (await job.info()).enqueued_at
        assert enqueued is not None
        assert abs(enqueued.timestamp() - time.time()) < HOUR_S / 2, "that is the sender's time"
    await rig.stop(worker, late)
    told = Told(acked=[job.id for job in (warm, due, fresh, stale)], cancelled=[stale.id])
    await rig.check([], told=told, times=times)


async def test_the_shifted_clock_is_seen_by_a_worker(rig: Rig, clock: ShiftedClock):
    """Else the tests above would try nothing."""
    await rig.start_server()
    clock.step(HOUR_S)
    worker = await rig.worker(*LEASE, env=clock.env, ready=False)
    ready = await worker.line("ready")
    assert HOUR_S - 600 < datetime.fromisoformat(ready["ts"]).timestamp() - time.time() < HOUR_S + 600
    await rig.stop(worker)
