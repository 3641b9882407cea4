"""Every state in which a server does not serve: what a worker and a sender make of it, and how they come back.

For each: the worker is live and not ready, with that state as the reason; it says so once, however often it tries, and
once that it is over; it is calm meanwhile; what it held is stored when the state ends; `delay()` has one deadline.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from aiotq import Job
from aiotq.errors import StoreError, StoreFull, StoreRefused, StoreUnavailable
from tests import rights, servers
from tests.faults.scale import only_full, scaled
from tests.faults.server_rig import CONNECT_TIMEOUT_S, ServerRig, Watched, refused
from tests.faults.states import (
    ALL,
    BUSY,
    MASTERDOWN,
    MAXCLIENTS,
    MISCONF,
    NOPERM,
    NOREPLICAS,
    READONLY,
    State,
    demote,
    let_process_run,
    promote,
    restarting_slowly,
    stop_process,
)
from tests.faults.stopwatch import Stopwatch
from tests.process.ledger import until
from tests.process.tasks import Tasks
from tools import acl

BACK_WITHIN_S = 1.0
PAUSED_S = 2.5
WITHOUT_S = scaled(0.15, 1.0)  # how long a worker is without a right
OVERDUE_S = 1.35 * CONNECT_TIMEOUT_S  # with a deadline for each try these calls take 1.5 s and more
WATCHED_S = 1.5  # how long a worker is watched while it can't work
ONCE = {"store_down": 1, "store_up": 1}, {"store_refuses": 1, "store_up": 1}


@pytest_asyncio.fixture
async def rig(request: pytest.FixtureRequest, server_folder: Path, namespace: str) -> AsyncIterator[ServerRig]:
    """A rig whose server has not been started; of the kind that the test names, else Valkey."""
    kind: servers.Kind = getattr(request, "param", "valkey")
    if servers.find(kind) is None:
        pytest.skip(f"no {kind} server here")
    made = ServerRig(folder=server_folder, namespace=namespace, kind=kind)
    yield made
    await made.close()


OTHER_WORDS = (MASTERDOWN, NOREPLICAS, MISCONF, BUSY, MAXCLIENTS, NOPERM)  # each server's own
CASES = [pytest.param("valkey", state, id=f"valkey-{state}") for state in ALL]
CASES += [pytest.param("redis", state, id=f"redis-{state}", marks=only_full) for state in OTHER_WORDS]


# --- a worker that works, and a sender ------------------------------------------------------------------------------


@pytest.mark.parametrize(("rig", "state"), CASES, indirect=["rig"])
async def test_a_worker_is_unready_and_calm_and_says_it_once_and_is_back_at_once(rig: ServerRig, state: State):
    await rig.start_server(*state.options)
    watched = await Watched.start(rig)
    tasks, stranger = await rig.sender(), rig.stranger()
    first, held = await tasks.note.delay(), await rig.tasks.hold.delay()
    await rig.ledger.until(2)
    await rig.baseline()
    async with rig.sampling():
        await state.begin(rig)
        rig.open_gate()  # it has an outcome to store, and so meets the state
        await watched.unready(state.reason)
        began_s = time.monotonic()
        async with watched.calm():
            await refused(rig, stranger, state.error, state.first_code or state.code, or_away=state.hasty)
            while time.monotonic() - began_s < WATCHED_S:
                await refused(rig, tasks, state.error, state.code, or_away=state.hasty)
                await asyncio.sleep(0.1)  # the pace of the load
        await watched.unready(state.reason)
        assert sum(watched.said().values()) <= 1 + state.hasty
        await state.end(rig)
        back = Stopwatch(watched.worker.pid, rig.pid)
        await rig.all_ended([held])
        rig.took(back, f"the outcome stored after {state}", BACK_WITHIN_S)
        await watched.probe.until(200, "ok")
        rig.took(back, f"ready after {state}", BACK_WITHIN_S)
    await watched.worker.line("store_up")
    said = watched.said()
    assert said in ONCE or (state.hasty and said == {"store_down": 1, "store_refuses": 1, "store_up": 1})
    later = await tasks.note.delay()
    await rig.over([first, held, later], watched.worker)


@pytest.mark.parametrize(
    ("rig", "state"),
    [pytest.param("valkey", state, id=state.name) for state in (READONLY, NOREPLICAS, MISCONF, BUSY, MAXCLIENTS)],
    indirect=["rig"],
)
async def test_a_worker_that_starts_meanwhile_says_it_once_is_live_and_begins_as_it_ends(rig: ServerRig, state: State):
    await rig.start_server(*state.options)
    await state.begin(rig)
    if state is BUSY:
        await rig.until_says("BUSY")
    worker = await rig.worker("--health-port", "0", ready=False)
    await worker.line("store_refuses")
    await asyncio.sleep(1.0)  # it tries again and again
    assert worker.text.count('"event":"store_refuses"') == 1
    assert worker.text.count('"event":"store_down"') <= state.hasty
    await state.end(rig)
    back = Stopwatch(worker.pid, rig.pid)
    await worker.line("store_up")
    await worker.line("ready")
    rig.took(back, f"ready after {state}", BACK_WITHIN_S)
    assert worker.text.count('"event":"store_refuses"') == 1
    await rig.over([await rig.tasks.note.delay()], worker)


# --- LOADING, and one state after another ---------------------------------------------------------------------------


@pytest.mark.parametrize("rig", ["valkey", "redis"], indirect=True)
async def test_a_server_that_loads_its_data_is_waited_for_and_each_state_is_said_once(rig: ServerRig):
    await rig.start_server()
    await rig.fill()
    watched = await Watched.start(rig)
    tasks = await rig.sender()
    held = await rig.tasks.hold.delay()
    await rig.ledger.until(1)
    await rig.baseline()
    await rig.raw.save()
    await rig.kill_server()
    rig.open_gate()
    await watched.unready("the store is away")
    async with restarting_slowly(rig):
        await watched.unready("the store refuses (LOADING)")
        early = await rig.worker(ready=False)
        async with watched.calm():
            await refused(rig, tasks, StoreRefused, "LOADING", or_away=True)  # it answers slowly, perhaps too late
        await early.line("store_refuses", code="LOADING")
    back = Stopwatch(watched.worker.pid, early.pid, rig.pid)
    await rig.all_ended([held])
    rig.took(back, "the outcome stored after LOADING", BACK_WITHIN_S)
    await watched.probe.until(200, "ok")
    await early.line("ready")
    rig.took(back, "all ready after LOADING", BACK_WITHIN_S)
    await watched.worker.line("store_up")
    assert watched.said() == {"store_down": 1, "store_refuses": 1, "store_up": 1}
    await rig.over([held], watched.worker, early)


async def test_states_that_follow_each_other_are_each_said_once_and_their_end_once(rig: ServerRig):
    await rig.start_server()
    watched = await Watched.start(rig)
    held = await rig.tasks.hold.delay()
    await rig.ledger.until(1)
    await rig.baseline()
    states = (NOREPLICAS, NOPERM, READONLY, NOREPLICAS, NOPERM)
    async with rig.sampling():
        await states[0].begin(rig)
        rig.open_gate()
        await watched.unready(states[0].reason)
        for before, state in pairwise(states):
            await state.begin(rig)
            await before.end(rig)
            await watched.unready(state.reason)
        await states[-1].end(rig)
        back = Stopwatch(watched.worker.pid, rig.pid)
        await watched.worker.line("store_up")
        await watched.probe.until(200, "ok")
        rig.took(back, "ready after the last state", BACK_WITHIN_S)
    assert watched.said() == {"store_refuses": 3, "store_up": 1}
    await rig.over([held], watched.worker)


# --- rights that go while it works --------------------------------------------------------------------------------


async def test_a_right_that_goes_while_a_worker_runs_leaves_nothing_half_done(rig: ServerRig):
    """Redis rolls nothing back: whatever `exchange` may not call any more, no job falls out of every place."""
    await rig.start_server()
    server = servers.Server(kind="valkey", url=rig.url)
    jobs: list[Job[Any]] = []
    dead: set[str] = set()
    failures: dict[str, int] = {}
    commands = sorted(acl.commands_of_script("exchange"))
    async with rights.user(rig.raw, server, rig.namespace) as url:
        name = f"user-{rig.namespace}"
        watched = await Watched.start(rig, "-c", "4", "--lease", "60", url=url)
        for command in commands:
            tasks, began = rig.tasks, len(rig.ledger.starts())
            more: list[Job[Any]] = await rig.app.enqueue_many([tasks.nap.s(0.01) for _ in range(30)])
            more += [await tasks.note.options(countdown=0.05 * number).delay() for number in range(1, 6)]
            again = [await tasks.stumble.options(priority=priority).delay(1) for priority in (0, 0, 5, 5)]
            fail = [await tasks.stumble.options(retries=0, priority=priority).delay(1) for priority in (0, 5)]
            failures |= dict.fromkeys((job.id for job in (*again, *fail)), 1)
            dead |= {job.id for job in fail}
            more += [*again, *fail]
            await rig.ledger.until(began + 5)
            async with rig.sampling():
                await rig.raw.execute_command("ACL", "SETUSER", name, f"-{command.lower()}")
                await asyncio.sleep(WITHOUT_S)  # the length of the fault
                await rig.raw.execute_command("ACL", "SETUSER", name, f"+{command.lower()}")
                try:
                    await rig.all_ended(more, within_s=10)
                except AssertionError as error:
                    raise AssertionError(f"after {command} had gone and come back: {error}") from None
            jobs += more
        await watched.probe.until(200, "ok")
        rig.measured(f"{len(jobs)} jobs while each of {len(commands)} commands went: {dict(watched.said())}")
        await rig.stop(watched.worker)
    await rig.check(jobs, dead=dead, failures=failures)


# --- what is no outage ----------------------------------------------------------------------------------------------


async def test_a_full_server_refuses_new_jobs_at_once_and_workers_are_ready_and_drain_it(rig: ServerRig):
    await rig.start_server()
    watched = await Watched.start(rig)
    tasks = await rig.sender()
    held = await rig.tasks.hold.delay()
    await rig.ledger.until(1)
    await rig.baseline()
    async with rig.sampling():
        await rig.config(maxmemory=1)
        async with watched.calm():
            began_s = time.monotonic()
            while time.monotonic() - began_s < WATCHED_S:
                await refused(rig, tasks, StoreFull, "OOM")
                await asyncio.sleep(0.1)  # the pace of the load
        rig.open_gate()
        await rig.all_ended([held])
        await watched.probe.until(200, "ok")
        await rig.config(maxmemory=0)
    assert not watched.said()
    await rig.over([held], watched.worker)


async def test_scripts_that_were_flushed_are_no_trouble(rig: ServerRig):
    await rig.start_server()
    watched = await Watched.start(rig)
    jobs = [await rig.tasks.note.delay()]
    await rig.all_ended(jobs)
    await rig.baseline()
    for _ in range(20):
        await rig.raw.script_flush()
        jobs.append(await rig.tasks.note.delay())
        await rig.all_ended(jobs[-1:])
    assert not watched.said()
    await rig.over(jobs, watched.worker)


async def test_clients_that_are_unblocked_with_an_error_go_on_waiting(rig: ServerRig):
    await rig.start_server()
    watched = await Watched.start(rig)

    async def blocked() -> list[str]:
        return [client["id"] for client in await rig.raw.client_list() if "b" in client["flags"]]

    await rig.baseline()
    for _ in range(5):

        async def some_block() -> bool:
            return bool(await blocked())

        await until(some_block, "a worker that waits")
        for client in await blocked():
            await rig.raw.client_unblock(client, error=True)
    job = await rig.tasks.note.delay()
    await rig.all_ended([job])
    await watched.probe.until(200, "ok")
    assert not watched.said()
    await rig.over([job], watched.worker)


async def test_a_storm_of_killed_connections_does_not_flood_the_log_and_loses_nothing(rig: ServerRig):
    await rig.start_server()
    watched = await Watched.start(rig, "-c", "2")
    jobs = await rig.app.enqueue_many([rig.tasks.nap.s(0.02) for _ in range(200)])
    await rig.ledger.until(2, "end")
    await rig.baseline()
    kills = 0
    async with rig.sampling(), watched.few_warnings():
        began_s = time.monotonic()
        while time.monotonic() - began_s < 2.0:
            await rig.kill_clients()
            kills += 1
            await asyncio.sleep(0.02)  # the pace of the fault
    await rig.all_ended(jobs)
    await watched.probe.until(200, "ok")
    said = watched.said()
    rig.measured(f"{kills} times every connection killed: {dict(said)}")
    assert said["store_down"] <= 5
    assert said["store_up"] <= said["store_down"]
    await rig.over(jobs, watched.worker)


async def test_clients_that_are_paused_for_a_while_wait_and_say_nothing(rig: ServerRig):
    await rig.start_server()
    watched = await Watched.start(rig)
    tasks = await rig.sender()
    await rig.baseline()
    await rig.raw.execute_command("CLIENT", "PAUSE", f"{PAUSED_S * 1000:.0f}", "ALL")
    began_s = time.monotonic()
    error = await refused(rig, tasks, StoreUnavailable, None)
    assert isinstance(error, StoreUnavailable)
    assert error.sent
    job = await rig.tasks.note.delay()  # this one waits for 5 s
    await asyncio.sleep(max(0.0, began_s + PAUSED_S - time.monotonic()))  # the length of the fault
    back = Stopwatch(watched.worker.pid, rig.pid)
    await rig.all_ended([job])
    rig.took(back, "a job enqueued meanwhile, after CLIENT PAUSE,", BACK_WITHIN_S)
    await watched.probe.until(200, "ok")
    assert watched.said() == Counter()
    await rig.over([job], watched.worker)


# --- the deadline of delay() ----------------------------------------------------------------------------------------


async def test_a_call_that_waited_behind_another_one_has_the_same_deadline(rig: ServerRig):
    """The server freezes under the first call; the second goes out once that one has failed, with what is left."""
    await rig.start_server()
    tasks = await rig.sender()
    await stop_process(rig)
    first = asyncio.create_task(refused(rig, tasks, StoreUnavailable, None))
    second = asyncio.create_task(later(rig, 0.5, tasks))
    await first
    took_s = await second
    rig.measured(f"the second call has failed after {took_s:.2f} s")
    assert took_s < OVERDUE_S
    await let_process_run(rig)
    await rig.over([await tasks.note.delay()], await rig.worker())


async def later(
    rig: ServerRig, delay_s: float, tasks: Tasks, kind: type[StoreError] = StoreUnavailable, code: str | None = None
) -> float:
    """Call after a while; how long the call took, in seconds."""
    await asyncio.sleep(delay_s)  # the fault begins before or after it
    watch = Stopwatch(rig.pid)
    await refused(rig, tasks, kind, code, or_away=True)
    return time.monotonic() - watch.began_s - watch.starved_s


async def test_a_server_that_refuses_and_then_freezes_does_not_lengthen_the_deadline(rig: ServerRig):
    await rig.start_server()
    tasks = await rig.sender()
    await demote(rig)
    call = asyncio.create_task(later(rig, 0.0, tasks, StoreRefused, "READONLY"))
    await asyncio.sleep(0.6)  # the fault: for so long it is refused
    await stop_process(rig)
    took_s = await call
    rig.measured(f"READONLY for 0.6 s, then frozen: failed after {took_s:.2f} s")
    assert took_s < OVERDUE_S
    await let_process_run(rig)
    await promote(rig)
    await rig.over([await tasks.note.delay()], await rig.worker())
