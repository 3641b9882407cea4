"""Workers killed at every point between the store and a job: nothing is lost, and what it did not hold runs once."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import pytest

from aiotq.store import scripts
from tests.faults.crash import WHENS
from tests.faults.stopwatch import Stopwatch
from tests.process.ledger import until

if TYPE_CHECKING:
    from aiotq import Job
    from tests.process.rig import Rig
    from tests.processes import WorkerProcess

LEASE_S = 1.0
HEARTBEAT_S = LEASE_S * 4 / 15
MARGIN_S = 4.0  # for a machine that has other things to do
QUICK = ("--lease", f"{LEASE_S:g}", "--grace", "0.1")
POINTS = [
    *(f"{when}:{what}" for what in ("claim", "finish", "renew", "promote", "retire") for when in WHENS),
    *("before:start", "after:start", "before:decide", "after:decide", "after:register", "sent:register"),
]
WHATS = list(dict.fromkeys(point.partition(":")[2] for point in POINTS))


async def some_jobs(rig: Rig, queue: str, *, stay: bool) -> tuple[list[Job[Any]], dict[str, int]]:
    """A few of each kind on one queue, and how often which of them fails. stay: such as run until the gate opens."""
    tasks = rig.tasks
    kinds: list[Any] = [tasks.hold, tasks.hold_in_thread] if stay else [tasks.note, tasks.note]
    jobs = [await task.options(queue=queue).delay() for task in kinds]
    jobs += [await tasks.nap.options(queue=queue).delay(0.02) for _ in range(3)]
    jobs.append(await tasks.carry.options(queue=queue).delay("x" * 20_000))
    jobs.append(await tasks.note.options(queue=queue, countdown=0.05).delay())
    stumbling = await tasks.stumble.options(queue=queue).delay(1)
    return [*jobs, stumbling], {stumbling.id: 1}


async def reclaimed(rig: Rig, workers: int) -> None:
    """Until no more workers than that are registered."""

    async def few() -> bool:
        return await rig.raw.zcard(f"{rig.prefix}workers") <= workers

    await until(few, f"{workers} registered workers")


async def rescued(rig: Rig, jobs: list[Job[Any]], dead: list[WorkerProcess], failures: dict[str, int]) -> None:
    """A worker that is well takes over, and all ends as if nothing had happened."""
    known = await rig.raw.zcard(f"{rig.prefix}workers")
    await rig.raw.delete(f"{rig.prefix}poller")  # as its lease's end would, 5 s later (test_leader.py)
    rig.open_gate()
    rescuer = await rig.worker(*QUICK, "-q", ",".join(WHENS))
    watch = Stopwatch()
    await rig.all_ended(jobs)
    await reclaimed(rig, 1)
    times = [watch.took("recovery, from when another worker is ready", LEASE_S + 2 * HEARTBEAT_S + MARGIN_S)]
    rig.measured(f"{len(dead)} killed, {known} of them known to the store; all over {times[0].took_s:.2f} s later")
    await rig.stop(rescuer)
    await rig.check(jobs, excused={worker.pid for worker in dead}, failures=failures, times=times)


async def known_scripts(rig: Rig) -> None:
    """So that the command to die at is the one that runs, and not one that is answered by NOSCRIPT."""
    for script in scripts.ALL:
        await rig.raw.script_load(script.text)


@pytest.mark.parametrize("what", WHATS)
async def test_a_worker_killed_around_a_step_loses_no_job(rig: Rig, what: str):
    """One worker for each point of the step, each on a queue of its own."""
    await rig.start_server()
    await rig.watch_ends()
    await known_scripts(rig)
    whens = [point.partition(":")[0] for point in POINTS if point.endswith(f":{what}")]
    jobs: list[Job[Any]] = []
    failures: dict[str, int] = {}
    for when in whens:
        more, stumbling = await some_jobs(rig, when, stay=what in {"renew", "retire"})
        jobs += more
        failures |= stumbling
    doomed = [await rig.worker(*QUICK, "-q", when, crash=f"{when}:{what}", ready=False) for when in whens]
    if what == "retire":
        for worker in doomed:
            await worker.line("ready")
            await rig.ledger.until(2, pid=worker.pid)
            worker.send_signal(signal.SIGTERM)
    assert [await worker.exit() for worker in doomed] == [-signal.SIGKILL] * len(doomed)
    await rescued(rig, jobs, doomed, failures)


async def test_workers_killed_around_a_reclaim_lose_no_job(rig: Rig):
    """Each takes back what the one before it held, and dies at it: the last one has them all to take back."""
    await rig.start_server()
    await rig.watch_ends()
    await known_scripts(rig)
    jobs, failures = await some_jobs(rig, "sent", stay=True)
    victim = await rig.worker(*QUICK, "-q", "sent", ready=False)
    await rig.ledger.until(2, pid=victim.pid)
    await victim.kill()
    doomed = await asyncio.gather(
        *(rig.worker(*QUICK, "-q", "elsewhere", crash=f"{when}:reclaim", ready=False) for when in WHENS)
    )
    assert [await worker.exit() for worker in doomed] == [-signal.SIGKILL] * len(doomed)
    await rescued(rig, jobs, [victim, *doomed], failures)
