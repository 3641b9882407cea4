"""A rolling upgrade: producers and workers of the release before and of this one, on one server, at once.

The code of the release before comes out of the repository's history. The scripts of the two differ, and so do their
SHAs: both live on one server.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import zipfile
from collections import Counter
from functools import cache
from hashlib import sha1
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from aiotq.record import VERSION
from aiotq.store import scripts
from tests.faults.scale import scaled
from tests.process.ledger import until
from tests.processes import PATH, ROOT, die_with_parent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiotq import Job
    from tests.process.rig import Rig
    from tests.processes import WorkerProcess

BEFORE = "049e07a"  # the last commit of the release before
LEASE_S = 2.0
SOON = ("--lease", f"{LEASE_S:g}")
EACH = scaled(50, 1_000)  # jobs of a producer
PAIRS = scaled(1, 2)  # workers of each version, and producers
Version = Literal["before", "this"]

# Prints the ids of what it has enqueued, one by one and many at once, and what it heard of the first one's end.
PRODUCER = """
import asyncio
import os
import aiotq
from tests.process.tasks import Tasks

app = aiotq.App(namespace=os.environ["AIOTQ_NAMESPACE"])
tasks = Tasks(app)

async def main():
    calls = []
    for number in range({each} // 5):
        calls.append(tasks.note.s())
        calls.append(tasks.carry.s("x" * (number % 3 * 12_000)))
        calls.append(tasks.stumble.s(1))
        calls.append(tasks.note.options(countdown=0.2, priority=number % 10).s())
        calls.append(tasks.nap_in_thread.options(lifo=True).s(0.01))
    async with app:
        one = await tasks.nap.delay(0.05)
        jobs = [one, *await app.enqueue_many(calls)]
        assert await one.result(timeout=20) > 0
        info = await one.info()
        assert info.status == "succeeded", info
    print(aiotq.__file__)
    for job in jobs:
        print(job.id)

asyncio.run(main())
"""


@cache
def _archived() -> bytes | str:
    """The package of the release before, or why there is none."""
    if not (ROOT / ".git").exists():
        return "no git history here: the code of the release before comes out of it"
    command = ["git", "archive", "--format=zip", BEFORE, "aiotq"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    except FileNotFoundError:
        return "no git on PATH: the code of the release before comes out of the history"
    if done.returncode:
        return f"the history holds no commit {BEFORE} ({done.stderr.decode().strip()}): a shallow clone?"
    return done.stdout


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """A folder with the package of the release before."""
    archive = _archived()
    if isinstance(archive, str):
        pytest.skip(archive)
    with zipfile.ZipFile(BytesIO(archive)) as files:
        files.extractall(tmp_path)
    return tmp_path


class Versions:
    """Starts programs of either version on a rig."""

    def __init__(self, rig: Rig, before: Path) -> None:
        self.rig = rig
        self._environments: dict[Version, Mapping[str, str]] = {
            "before": {"PYTHONPATH": f"{before}{os.pathsep}{PATH}", "PYTHONSAFEPATH": "1"},  # not where it is started
            "this": {"PYTHONPATH": PATH},
        }
        self._packages: dict[Version, Path] = {"before": before / "aiotq", "this": ROOT / "aiotq"}

    async def worker(self, version: Version, *options: str) -> WorkerProcess:
        """A worker process that works."""
        return await self.rig.worker(*SOON, *options, env=self._environments[version])

    async def produce(self, version: Version) -> list[Job[Any]]:
        """Run a producer to its end: the handles of its jobs."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-c", PRODUCER.format(each=EACH)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env={
                **os.environ,
                "AIOTQ_URL": self.rig.url,
                "AIOTQ_NAMESPACE": self.rig.namespace,
                "PYTHONSAFEPATH": "1",
                **self._environments[version],
            },
            preexec_fn=die_with_parent,
        )
        said, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        package, *ids = said.decode().split()
        assert Path(package).parent == self._packages[version]
        assert len(ids) == EACH + 1
        return [self.rig.app.job(job_id) for job_id in ids]

    def exchange_sha(self, version: Version) -> str:
        """Of the script that a worker of that version lives by."""
        lua = self._packages[version] / "store" / "lua"
        text = (lua / "lib.lua").read_text("utf-8") + (lua / "exchange.lua").read_text("utf-8")
        return sha1(text.encode(), usedforsecurity=False).hexdigest()


@pytest.fixture
def versions(rig: Rig, before: Path) -> Versions:
    """Both versions, on the rig's server."""
    return Versions(rig, before)


def stumbled(rig: Rig, jobs: list[Job[Any]]) -> dict[str, int]:
    """How often each job's task has failed, by what the ledger says of `stumble`: its starts without an end."""
    starts = Counter(entry.job_id for entry in rig.ledger.starts())
    return {job.id: 1 for job in jobs if starts[job.id] == 2}


async def test_producers_and_workers_of_two_versions_work_together_at_once(rig: Rig, versions: Versions):
    await rig.start_server()
    await rig.watch_ends()
    both: tuple[Version, ...] = ("before", "this") * PAIRS
    few = ("-c", "3")  # else the first one runs them all
    workers = await asyncio.gather(*[versions.worker(version, *few) for version in both])
    produced = await asyncio.gather(*map(versions.produce, both))
    jobs = [job for some in produced for job in some]
    await rig.all_ended(jobs)
    shas = [versions.exchange_sha("before"), versions.exchange_sha("this")]
    assert shas[0] != shas[1] == scripts.EXCHANGE.sha
    assert await rig.raw.script_exists(*shas) == [True, True]

    pids = {worker.pid: version for worker, version in zip(workers, both, strict=True)}
    ran = {
        (sender, pids[entry.pid])
        for sender, some in zip(both, produced, strict=True)
        for entry in rig.ledger.starts(*some)
    }
    assert len(ran) == 4, "each version has run jobs of each"
    rig.measured(f"{len(jobs)} jobs of {len(both)} producers through {len(both)} workers of two versions: 0 repeats")
    for job in (some[index] for some in produced for index in (0, 1, 2)):
        assert (await job.info()).status == "succeeded"
        assert await job.result(timeout=1) is not None
    failures = stumbled(rig, jobs)
    assert len(failures) == len(both) * EACH // 5
    await rig.stop(*workers)
    await rig.check(jobs, failures=failures)


@pytest.mark.parametrize("killed", ["before", "this"])
async def test_what_a_killed_worker_of_one_version_held_is_run_by_the_other(
    rig: Rig, versions: Versions, killed: Version
):
    await rig.start_server()
    await rig.watch_ends()
    victim = await versions.worker(killed)
    jobs = await rig.app.enqueue_many([rig.tasks.hold.s() for _ in range(20)])
    await rig.ledger.until(20, pid=victim.pid)
    in_hand = rig.ledger.unended(victim.pid)
    heir = await versions.worker("this" if killed == "before" else "before")
    killed_s = time.monotonic()
    await victim.kill()
    rig.open_gate()
    await rig.all_ended(jobs)
    rig.measured(f"run again {time.monotonic() - killed_s:.2f} s after the kill; lease {LEASE_S:g} s")
    assert {entry.job_id for entry in rig.ledger.ends(pid=heir.pid)} == in_hand
    await rig.stop(heir)
    await rig.check(jobs, may_repeat=in_hand)


@pytest.mark.parametrize("leaver", ["before", "this"])
async def test_a_worker_of_one_version_that_stops_hands_its_jobs_to_the_other(
    rig: Rig, versions: Versions, leaver: Version
):
    await rig.start_server()
    await rig.watch_ends()
    going = await versions.worker(leaver, "--grace", "0")
    jobs = await rig.app.enqueue_many([rig.tasks.hold.s() for _ in range(20)])
    await rig.ledger.until(20, pid=going.pid)
    in_hand = rig.ledger.unended(going.pid)
    heir = await versions.worker("this" if leaver == "before" else "before")
    await rig.stop(going)
    await rig.ledger.until(20, pid=heir.pid)
    rig.open_gate()
    await rig.all_ended(jobs)
    await rig.stop(heir)
    await rig.check(jobs, may_repeat=in_hand)


async def test_a_job_with_headers_is_left_by_the_version_before_to_one_that_knows_them(rig: Rig, versions: Versions):
    await rig.start_server()
    await rig.watch_ends()
    old = await versions.worker("before")
    job = await rig.tasks.told.options(headers={"trace": "a1f9c2"}).delay()
    key = f"{rig.prefix}job:{job.id}"

    async def put_back() -> bool:
        return await rig.raw.zcard(f"{rig.prefix}schedule") == 1

    await until(put_back, "the job is in the schedule")
    kept = await rig.raw.get(key)
    assert kept[:2] == b"2w"
    assert b"a1f9c2" in kept
    await rig.stop(old)
    assert not rig.ledger.starts(job)
    new = await versions.worker("this")
    assert await job.result(timeout=20) == {"trace": "a1f9c2"}
    assert [entry.pid for entry in rig.ledger.starts(job)] == [new.pid]
    await rig.stop(new)
    await rig.check([job])


async def test_a_record_of_a_newer_version_is_left_by_both_to_a_newer_worker(rig: Rig, versions: Versions):
    """Neither spoils it: it comes back a little later each time, its bytes kept."""
    await rig.start_server()
    workers = [await versions.worker("before"), await versions.worker("this")]
    job = await rig.tasks.note.options(countdown=3600).delay()
    key = f"{rig.prefix}job:{job.id}"
    newer = b"%d" % (VERSION + 1) + (await rig.raw.get(key))[1:19] + b"\x00what no version knows yet"
    await rig.raw.set(key, newer)
    (ticket,) = await rig.raw.zrange(f"{rig.prefix}schedule", 0, -1)
    await rig.raw.zadd(f"{rig.prefix}schedule", {ticket: 0})
    await rig.raw.rpush(f"{rig.prefix}wake::poller", "1")

    async def put_back() -> bool:
        return (await rig.raw.get(key))[2:6] != newer[2:6] and await rig.raw.zcard(f"{rig.prefix}schedule") == 1

    await until(put_back, "the job is back in the schedule, under another generation")
    kept = await rig.raw.get(key)
    assert (kept[:2], kept[6:]) == (newer[:2], newer[6:])
    await rig.stop(*workers)
    assert not rig.ledger.starts(job)
    await rig.raw.flushall()
