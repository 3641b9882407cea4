"""Programs that enqueue: with a server that is away or refuses, with several loops, threads, a fork, and no goodbye."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Collection

import pytest

from aiotq import App
from aiotq.errors import StoreError, StoreFull, StoreRefused, StoreUnavailable
from aiotq.store.scripts import ENQUEUE
from tests import servers
from tests.faults.invariants import Told
from tests.faults.proxy import Fault, FaultProxy
from tests.faults.stopwatch import Stopwatch
from tests.process.rig import Rig
from tests.process.tasks import Tasks
from tests.processes import PATH, ROOT, die_with_parent

CONNECT_TIMEOUT_S = 1.0
MARGIN_S = 1.0  # for a machine that has other things to do


def hasty(rig: Rig, url: str | None = None) -> App:
    """An app on the rig's server that waits for a second."""
    return App(url or rig.url, namespace=rig.namespace, connect_timeout=CONNECT_TIMEOUT_S)


class Within:
    """Fails if what it is around takes much longer than the app's `connect_timeout`."""

    def __enter__(self) -> None:
        self.watch = Stopwatch()

    def __exit__(self, *_: object) -> None:
        took = self.watch.took("the call", CONNECT_TIMEOUT_S + MARGIN_S)
        assert took.took_s < took.limit_s


async def drained(rig: Rig, *acked: str, refused: Collection[str] = (), unsure: Collection[str] = ()) -> None:
    """A worker runs all that was queued: check the invariants. acked: ids; none: those of all records."""
    records = [key.decode().partition(":job:")[2] async for key in rig.raw.scan_iter(f"{rig.prefix}job:*")]
    worker = await rig.worker("--until-empty", ready=False)
    assert await worker.exit() == 0
    await rig.check([], told=Told(acked=acked or set(records) - set(unsure), refused=refused, unsure=unsure))


# --- a server that refuses, or is away --------------------------------------------------------------------------------


async def test_enqueuing_on_a_replica_is_refused_and_says_that_nothing_was_done(rig: Rig):
    await rig.start_server()
    async with hasty(rig) as app:
        await rig.raw.execute_command("REPLICAOF", "127.0.0.1", "1")
        with Within(), pytest.raises(StoreRefused, match="READONLY; nothing was done") as caught:
            await Tasks(app).note.options(job_id="refused").delay()
    assert caught.value.code == "READONLY"
    assert await rig.raw.dbsize() == 0
    await rig.raw.execute_command("REPLICAOF", "NO", "ONE")
    await drained(rig, refused=("refused",))


async def test_opening_on_a_replica_is_refused_too(rig: Rig):
    await rig.start_server()
    await rig.raw.execute_command("REPLICAOF", "127.0.0.1", "1")
    with Within(), pytest.raises(StoreRefused, match="read-only replica"):
        await Tasks(hasty(rig)).note.options(job_id="refused").delay()
    await rig.check([], told=Told(refused=("refused",)))


async def test_enqueuing_on_a_full_server_is_refused_and_leaves_no_key(rig: Rig):
    await rig.start_server()
    async with hasty(rig) as app:
        await rig.raw.config_set("maxmemory", 1)
        with Within(), pytest.raises(StoreFull, match="nothing was done"):
            await Tasks(app).note.delay()
        with Within(), pytest.raises(StoreFull, match="nothing was done"):
            await Tasks(app).note.options(countdown=60).delay()
        with Within(), pytest.raises(StoreFull, match="nothing was done"):
            await app.enqueue_many([Tasks(app).note.s() for _ in range(3)])
    assert await rig.raw.dbsize() == 0
    await rig.check([])


async def test_enqueuing_on_a_server_that_loads_is_refused_in_time_and_works_later(rig: Rig):
    servers.skip_if_it_loads_in_one_go("valkey")
    await rig.start_server()
    async with rig.raw.pipeline(transaction=False) as pipe:
        for number in range(4_000):
            pipe.set(f"other:{number}", "x" * 30)
        await pipe.execute()
    async with hasty(rig) as app:
        await rig.raw.save()
        await rig.kill_server()
        with pytest.raises(StoreUnavailable):  # now it knows that its connection is no more
            await Tasks(app).note.delay()
        slowly = ("--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")
        loading = asyncio.create_task(rig.start_server(*slowly))
        await rig.until_loading()
        error: StoreError | None = None
        while error is None or "no answer in time" in str(error):  # it answers now and then only
            with Within(), pytest.raises(StoreError) as caught:
                await Tasks(app).note.delay()
            error = caught.value
        assert isinstance(error, StoreRefused)
        assert "LOADING; nothing was done" in str(error)
        assert error.code == "LOADING"
        # One that has never been connected; a server that loads answers now and then only, and connecting takes a few.
        with Within(), pytest.raises(StoreError, match=r"LOADING|no answer in time"):
            await Tasks(hasty(rig)).note.delay()
        assert not loading.done()
        await loading
        await Tasks(app).note.delay()
    assert await rig.raw.llen(f"{rig.prefix}line:default:5") == 1
    await drained(rig)


async def test_a_refusal_after_a_lost_answer_does_not_hide_that_the_job_may_be_queued(rig: Rig):
    await rig.start_server()
    async with FaultProxy(rig.folder / "s", rig.folder / "p") as proxy, hasty(rig, proxy.url) as app:
        await Tasks(app).note.delay()
        proxy.arm(Fault.DROP_REPLY, ENQUEUE.sha)
        enqueuing = asyncio.create_task(Tasks(app).note.options(job_id="open").delay())
        await proxy.struck()
        proxy.freeze()
        await rig.raw.execute_command("REPLICAOF", "127.0.0.1", "1")
        proxy.thaw()
        with pytest.raises(StoreUnavailable, match=r"got lost.*READONLY.*may have been queued") as caught:
            await enqueuing
        assert caught.value.sent
    assert await rig.raw.llen(f"{rig.prefix}line:default:5") == 2
    await rig.raw.execute_command("REPLICAOF", "NO", "ONE")
    await drained(rig, unsure=("open",))


async def test_no_answer_leaves_the_effect_open_and_the_same_id_makes_it_safe_to_repeat(rig: Rig):
    await rig.start_server()
    async with hasty(rig) as app:
        note = Tasks(app).note.options(job_id="once")
        os.kill(rig.pid, signal.SIGSTOP)
        with (
            Within(),
            pytest.raises(StoreUnavailable, match="may have been queued; repeating it") as caught,
        ):
            await note.delay()
        assert caught.value.sent
        os.kill(rig.pid, signal.SIGCONT)
        repeated = await note.delay()
        assert not repeated.existed  # it is the caller's own job, from an earlier request or from this one
    assert await rig.raw.llen(f"{rig.prefix}line:default:5") == 1
    await drained(rig, "once")


# No server is left whose keys the invariants could look at, here as in the next test.
async def test_without_a_server_it_says_in_time_that_nothing_was_queued(rig: Rig):
    with Within(), pytest.raises(StoreUnavailable, match="the job was not queued") as caught:
        await Tasks(hasty(rig)).note.delay()
    assert not caught.value.sent


async def test_a_server_that_goes_in_between_is_said_not_to_have_been_sent_the_job(rig: Rig):
    await rig.start_server()
    async with hasty(rig) as app:
        await Tasks(app).note.delay()
        await rig.kill_server()
        with Within(), pytest.raises(StoreUnavailable):
            await Tasks(app).note.delay()
        with Within(), pytest.raises(StoreUnavailable, match="the job was not queued"):
            await Tasks(app).note.delay()


# --- loops, threads, forks, and the end -------------------------------------------------------------------------------

PRELUDE = """\
import asyncio, os, sys, threading
from aiotq import App
from tests.process.tasks import Tasks
app = App(os.environ["URL"], namespace=os.environ["NAMESPACE"])
note = Tasks(app).note

async def five():
    return [await note.delay() for _ in range(5)]
"""

PROGRAMS = {
    "one_loop_after_the_other": """
for _ in range(4):
    asyncio.run(five())
""",
    "two_loops_at_once": """
async def some():
    for _ in range(2):
        await asyncio.gather(*(note.delay() for _ in range(5)))

threads = [threading.Thread(target=lambda: asyncio.run(some())) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
""",
    "a_fork_after_connecting": """
async def main():
    await five()
    child = os.fork()
    if child == 0:
        asyncio.run(five())
        os._exit(0)
    await five()
    assert os.waitpid(child, 0)[1] == 0
    await five()

asyncio.run(main())
""",
    "a_fork_after_enqueuing_from_sync_code": """
for _ in range(5):
    note.delay_sync()
child = os.fork()
for _ in range(5):
    note.delay_sync()
if child:
    assert os.waitpid(child, 0)[1] == 0
    for _ in range(5):
        note.delay_sync()
""",
    "threads_without_loops": """
def five_times():
    for _ in range(5):
        note.delay_sync()

async def main():
    await asyncio.gather(*(asyncio.to_thread(five_times) for _ in range(3)))
    await five()

asyncio.run(main())
""",
    "no_goodbye_while_waiting_for_a_result": """
async def main():
    for _ in range(19):
        await note.delay()
    job = await note.delay()
    waiting = asyncio.create_task(job.result())
    await asyncio.sleep(0.1)  # it is waiting by then, and if not, that has to work as well
    sys.exit(0)

asyncio.run(main())
""",
    "no_goodbye_and_a_job_on_its_way": """
async def main():
    for _ in range(20):
        await note.delay()
    asyncio.create_task(five())

asyncio.run(main())
""",
}

# Python 3.12 and later warn of what is tried here on purpose.
FORKS_BESIDE_A_THREAD = "ignore:This process:DeprecationWarning"


def environment(rig: Rig) -> dict[str, str]:
    """What a program of these needs to know."""
    return {**os.environ, "PYTHONPATH": PATH, "URL": rig.url, "NAMESPACE": rig.namespace}


@pytest.mark.parametrize("name", PROGRAMS)
async def test_a_program_enqueues_all_its_jobs_and_ends_silently_with(rig: Rig, name: str):
    await rig.start_server()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "dev", "-W", "error", "-W", FORKS_BESIDE_A_THREAD, "-c", PRELUDE + PROGRAMS[name]),
        cwd=ROOT,
        env={**environment(rig), "PYTHONASYNCIODEBUG": "1"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        preexec_fn=die_with_parent,
    )
    async with asyncio.timeout(30):
        said, _ = await process.communicate()
    # asyncio's debug mode reports what takes longer than 0.1 s: importing redis does, and anything on a busy machine.
    lines = [line for line in said.decode().splitlines() if not line.startswith("Executing <")]
    assert (process.returncode, lines) == (0, [])
    queued = await rig.raw.llen(f"{rig.prefix}line:default:5")
    assert queued in ((20,) if name != "no_goodbye_and_a_job_on_its_way" else range(20, 26))
    await drained(rig)
    assert len(rig.ledger.ends()) == queued


async def test_a_killed_sender_leaves_whole_jobs_or_none(rig: Rig):
    await rig.start_server()
    await rig.watch_ends()
    program = PRELUDE + "while True:\n    asyncio.run(five())\n    print('five', flush=True)"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program),
        cwd=ROOT,
        env=environment(rig),
        stdout=asyncio.subprocess.PIPE,
        preexec_fn=die_with_parent,
    )
    assert process.stdout is not None
    for _ in range(3):
        assert await process.stdout.readline() == b"five\n"
    process.kill()
    await process.wait()
    keys = [key.decode() async for key in rig.raw.scan_iter(f"{rig.prefix}job:*")]
    jobs = [rig.app.job(key.removeprefix(f"{rig.prefix}job:")) for key in keys]
    assert len(jobs) >= 15
    worker = await rig.worker()
    await rig.all_ended(jobs)
    await rig.stop(worker)
    await rig.check(jobs)
