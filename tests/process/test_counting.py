"""What worker processes tell of their work arrives: of those that end, of several at once, of one that is killed."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from typing import Any

from aiotq import JobStatus
from tests.process.ledger import until
from tests.process.rig import Rig
from tests.process.team import start


async def counters(rig: Rig) -> Counter[str]:
    """Of all minutes together."""
    found = Counter[str]()
    for key in await rig.raw.keys("*:stats:m:*"):
        for name, number in (await rig.raw.hgetall(key)).items():
            found[name.decode()] += int(number) if name != b"folded" else 0
    return found


async def vitals(rig: Rig) -> list[dict[str, Any]]:
    """Of all workers that have said something."""
    said = [await rig.raw.hget(key, "vitals") for key in await rig.raw.keys("*:worker:*")]
    return [json.loads(one) for one in said if one]


async def test_what_several_processes_ran_and_ended_is_all_counted(rig: Rig):
    await rig.start_server()
    team = await start(rig, "-c", "5")
    jobs = await rig.enqueue(300)
    jobs += [await rig.tasks.stumble.delay(1)]
    await rig.all_ended(jobs)
    await rig.stop(team.supervisor)

    found = await counters(rig)
    kinds = {name: found[name] for name in ("e:default", "q:default", "started", "succeeded", "retried", "failed")}
    assert kinds == {"e:default": 301, "q:default": 301, "started": 302, "succeeded": 301, "retried": 1, "failed": 0}
    assert found["t:s:note"] == 300
    assert sum(found[f"r{index}"] for index in range(17)) == sum(found[f"w{index}"] for index in range(17)) == 302
    assert await rig.raw.llen(f"{rig.prefix}ended") == 301


async def test_each_process_says_for_itself_how_it_does(rig: Rig):
    await rig.start_server()
    team = await start(rig, "-c", "3")
    jobs = await rig.app.enqueue_many([rig.tasks.hold.s() for _ in range(4)])

    async def all_said() -> bool:
        return sorted(job[0] for one in await vitals(rig) for job in one["jobs"]) == sorted(job.id for job in jobs)

    await until(all_said, "all jobs are among those that workers say they run")
    first, second = await vitals(rig)
    assert (first["slots"], second["slots"], first["used"] + second["used"]) == (3, 3, 4)
    assert first["memory"] > 1 << 20
    rig.open_gate()
    await rig.all_ended(jobs)
    await rig.stop(team.supervisor)
    assert await vitals(rig) == []


async def test_what_a_killed_worker_had_told_stays_and_its_jobs_count_as_lost(rig: Rig):
    await rig.start_server()
    worker = await rig.worker("--lease", "1")
    jobs = await rig.enqueue(20)
    held = await rig.tasks.hold.delay()

    async def told() -> bool:
        return (await counters(rig))["started"] == 21

    await until(told, "all starts are told")
    worker.send_signal(signal.SIGKILL)
    other = await rig.worker("--lease", "1")

    async def lost() -> bool:
        return (await counters(rig))["lost"] == 1

    await until(lost, "the job that it held is lost")
    rig.open_gate()
    await rig.all_ended([*jobs, held])
    await rig.stop(other)
    found = await counters(rig)
    assert (found["started"], found["succeeded"]) == (22, 21)


async def test_a_worker_whose_loop_stands_still_says_so(rig: Rig):
    await rig.start_server()
    worker = await rig.worker("--lease", "1")
    sent = await rig.tasks.block.delay(4.0)

    async def blocked() -> bool:
        return any(one["blocked_s"] >= 1 for one in await vitals(rig))

    await until(blocked, "it says that it is blocked")
    await rig.all_ended([sent])
    await rig.stop(worker)


async def test_a_job_that_blocks_its_worker_and_is_cancelled_first_does_not_run_again_once_that_is_killed(rig: Rig):
    await rig.start_server()
    worker = await rig.worker("--lease", "1")
    sent = await rig.tasks.block.delay(600.0)

    async def told() -> bool:
        return "worker_blocked" in {finding.code for finding in (await rig.app.inspect.overview()).findings}

    await until(told, "it is found to be blocked")
    behind = await rig.tasks.note.delay()
    found = {finding.code: finding for finding in (await rig.app.inspect.overview()).findings}
    pid, hint = worker.process.pid, found["worker_blocked"].hint
    cancel, kill = hint.index(f"aiotq cancel {sent.id[-6:]}"), hint.index(f"kill -KILL {pid}")
    assert cancel < kill < hint.index("start it again")
    assert await rig.app.inspect.cancel(sent.id)
    os.kill(pid, signal.SIGKILL)
    other = await rig.worker("--lease", "1")
    await rig.all_ended([sent, behind])

    assert await sent.status() is JobStatus.CANCELLED
    assert len(rig.ledger.starts(sent)) == 1
    await rig.stop(other)
