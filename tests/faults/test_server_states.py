"""Every state in which a server does not serve: what a worker and a sender make of it, and how they come back.

For each: the worker is live and not ready, with that state as the reason; it says so once, however often it tries, and
once that it is over; it is calm meanwhile; what it held is stored when the state ends; `delay()` has one deadline.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from aiotq.errors import StoreError, StoreFull, StoreRefused, StoreUnavailable, StoreUnusable
from tests import servers
from tests.faults.server_rig import CONNECT_TIMEOUT_S, DURABLE, SLOWLY, ServerRig, Watched, ended_within, refused
from tests.process.ledger import until
from tests.process.tasks import Tasks

Act = Callable[[ServerRig], Awaitable[object]]
BACK_WITHIN_S = 1.0
MARGIN_S = 2.0  # for a machine that has other things to do
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


@dataclass(frozen=True, kw_only=True)
class State:
    """One state: how it is made and ended, and what is made of it."""

    name: str
    begin: Act
    end: Act
    reason: str  # of a worker that is not ready
    error: type[StoreError]  # of `delay()`
    code: str | None = None
    first_code: str | None = None  # of the `delay()` of an app that has never connected, if it is another one
    options: tuple[str, ...] = ()  # of the server
    hasty: bool = False  # it ends the connection at once, perhaps before its answer is read: then it is as one away

    def __str__(self) -> str:
        return self.name


# --- the states ---------------------------------------------------------------------------------------------------


async def stop_process(rig: ServerRig) -> None:
    os.kill(rig.pid, signal.SIGSTOP)


async def let_process_run(rig: ServerRig) -> None:
    os.kill(rig.pid, signal.SIGCONT)


async def demote(rig: ServerRig) -> None:
    await rig.raw.execute_command("REPLICAOF", "127.0.0.1", "1")


async def demote_without_data(rig: ServerRig) -> None:
    await rig.config(replica_serve_stale_data="no")
    await demote(rig)


async def promote(rig: ServerRig) -> None:
    await rig.raw.execute_command("REPLICAOF", "NO", "ONE")


async def break_disk(rig: ServerRig) -> None:
    rig.lose_data_folder()
    await rig.raw.bgsave()

    async def failed() -> bool:
        return (await rig.raw.info("persistence"))["rdb_last_bgsave_status"] != "ok"

    await until(failed, "a snapshot that failed")


async def crowd(rig: ServerRig) -> None:
    await rig.config(maxclients=1)
    await rig.kill_clients()


async def close_door(rig: ServerRig) -> None:
    await rig.raw.execute_command("ACL", "SETUSER", "default", "resetpass", ">other")
    await rig.kill_clients()


def run(*command: str) -> Act:
    async def act(rig: ServerRig) -> None:
        await rig.raw.execute_command(*command)

    return act


def config(**settings: object) -> Act:
    async def act(rig: ServerRig) -> None:
        await rig.config(**settings)

    return act


def refusal(code: str) -> str:
    return f"the store refuses ({code})"


AWAY = State(
    name="away",
    begin=lambda rig: rig.kill_server(),
    end=lambda rig: rig.start_server(*DURABLE),
    reason="the store is away",
    error=StoreUnavailable,
    options=DURABLE,
)
FROZEN = State(
    name="frozen",
    begin=stop_process,
    end=let_process_run,
    reason="the store is away",
    error=StoreUnavailable,
)
READONLY = State(
    name="READONLY",
    begin=demote,
    end=promote,
    reason=refusal("READONLY"),
    error=StoreRefused,
    code="READONLY",
)
MASTERDOWN = State(
    name="MASTERDOWN",
    begin=demote_without_data,
    end=promote,
    reason=refusal("MASTERDOWN"),
    error=StoreRefused,
    code="MASTERDOWN",
    first_code="READONLY",
)
NOREPLICAS = State(
    name="NOREPLICAS",
    begin=config(min_replicas_to_write=1),
    end=config(min_replicas_to_write=0),
    reason=refusal("NOREPLICAS"),
    error=StoreRefused,
    code="NOREPLICAS",
)
MISCONF = State(
    name="MISCONF",
    begin=break_disk,
    end=config(stop_writes_on_bgsave_error="no"),
    reason=refusal("MISCONF"),
    error=StoreRefused,
    code="MISCONF",
    options=("--save", "900 1"),
)
BUSY = State(
    name="BUSY",
    begin=lambda rig: rig.run_endless_script(),
    end=lambda rig: rig.kill_script(),
    reason=refusal("BUSY"),
    error=StoreRefused,
    code="BUSY",
)
MAXCLIENTS = State(
    name="maxclients",
    begin=crowd,
    end=config(maxclients=10_000),
    reason=refusal("MAXCLIENTS"),
    error=StoreRefused,
    code="MAXCLIENTS",
    hasty=True,
)
NOPERM = State(
    name="NOPERM",
    begin=run("ACL", "SETUSER", "default", "-evalsha"),
    end=run("ACL", "SETUSER", "default", "+evalsha"),
    reason="the store can't be used (NOPERM)",
    error=StoreUnusable,
    code="NOPERM",
)
NOAUTH = State(
    name="NOAUTH",
    begin=close_door,
    end=run("ACL", "SETUSER", "default", "nopass"),
    reason="the store can't be used (NOAUTH)",
    error=StoreUnusable,
    code="NOAUTH",
)
ALL = (AWAY, FROZEN, READONLY, MASTERDOWN, NOREPLICAS, MISCONF, BUSY, MAXCLIENTS, NOPERM, NOAUTH)
OTHER_WORDS = (MASTERDOWN, NOREPLICAS, MISCONF, BUSY, MAXCLIENTS, NOPERM)  # each server's own
CASES = [pytest.param("valkey", state, id=f"valkey-{state}") for state in ALL]
CASES += [pytest.param("redis", state, id=f"redis-{state}") for state in OTHER_WORDS]


# --- a worker that works, and a sender ------------------------------------------------------------------------------


@pytest.mark.parametrize(("rig", "state"), CASES, indirect=["rig"])
async def test_a_worker_is_unready_and_calm_and_says_it_once_and_is_back_at_once(rig: ServerRig, state: State):
    await rig.start_server(*state.options)
    watched = await Watched.start(rig)
    tasks, stranger = await rig.sender(), rig.stranger()
    held = await rig.tasks.hold.delay()
    await rig.ledger.until(1)
    await state.begin(rig)
    rig.open_gate()  # it has an outcome to store, and so meets the state
    await watched.unready(state.reason)
    began_s = time.monotonic()
    async with watched.calm():
        await refused(stranger, state.error, state.first_code or state.code, or_away=state.hasty)
        while time.monotonic() - began_s < WATCHED_S:
            await refused(tasks, state.error, state.code, or_away=state.hasty)
            await asyncio.sleep(0.1)
    await watched.unready(state.reason)
    assert sum(watched.said().values()) <= 1 + state.hasty
    await state.end(rig)
    began_s = time.monotonic()
    back_s = await ended_within(rig, held, began_s)
    ready_s = await watched.probe.until(200, "ok")
    rig.measured(
        f"{rig.kind}, {state}: the outcome is stored {back_s:.2f} s after its end, ready {ready_s:.2f} s later"
    )
    assert back_s < BACK_WITHIN_S + MARGIN_S
    await watched.worker.line("store_up")
    said = watched.said()
    assert said in ONCE or (state.hasty and said == {"store_down": 1, "store_refuses": 1, "store_up": 1})
    later = await tasks.note.delay()
    await rig.all_ended([later])
    assert len(rig.ledger.starts(held)) == 1
    await rig.stop(watched.worker)


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
    began_s = time.monotonic()
    await worker.line("store_up")
    await worker.line("ready")
    rig.measured(f"{state}: ready {time.monotonic() - began_s:.2f} s after its end")
    assert time.monotonic() - began_s < BACK_WITHIN_S + MARGIN_S
    assert worker.text.count('"event":"store_refuses"') == 1
    await rig.stop(worker)


# --- LOADING, and one state after another ---------------------------------------------------------------------------


@asynccontextmanager
async def restarting_slowly(rig: ServerRig) -> AsyncIterator[None]:
    """The server starts again, and loads as long as the context lasts."""
    loading = asyncio.create_task(rig.start_server(*SLOWLY))
    await rig.until_loading()
    try:
        yield
        assert not loading.done(), "it loaded too fast for this test"
    finally:
        async with Redis.from_url(rig.url) as client:
            await client.config_set("key-load-delay", 0)
        await loading


@pytest.mark.parametrize("rig", ["valkey", "redis"], indirect=True)
async def test_a_server_that_loads_its_data_is_waited_for_and_each_state_is_said_once(rig: ServerRig):
    await rig.start_server()
    await rig.fill()
    watched = await Watched.start(rig)
    tasks = await rig.sender()
    held = await rig.tasks.hold.delay()
    await rig.ledger.until(1)
    await rig.raw.save()
    await rig.kill_server()
    rig.open_gate()
    await watched.unready("the store is away")
    async with restarting_slowly(rig):
        await watched.unready("the store refuses (LOADING)")
        early = await rig.worker(ready=False)
        async with watched.calm():
            await refused(tasks, StoreRefused, "LOADING", or_away=True)  # it answers slowly, perhaps too late
        await early.line("store_refuses", code="LOADING")
    began_s = time.monotonic()
    back_s = await ended_within(rig, held, began_s)
    await watched.probe.until(200, "ok")
    await early.line("ready")
    rig.measured(f"{rig.kind}, LOADING: the outcome is stored {back_s:.2f} s after its end")
    assert back_s < BACK_WITHIN_S + MARGIN_S
    await watched.worker.line("store_up")
    assert watched.said() == {"store_down": 1, "store_refuses": 1, "store_up": 1}
    await rig.stop(watched.worker, early)


async def test_states_that_follow_each_other_are_each_said_once_and_their_end_once(rig: ServerRig):
    await rig.start_server()
    watched = await Watched.start(rig)
    await rig.tasks.hold.delay()
    await rig.ledger.until(1)
    states = (NOREPLICAS, NOPERM, READONLY, NOREPLICAS, NOPERM)
    await states[0].begin(rig)
    rig.open_gate()
    await watched.unready(states[0].reason)
    for before, state in pairwise(states):
        await state.begin(rig)
        await before.end(rig)
        await watched.unready(state.reason)
    await states[-1].end(rig)
    await watched.worker.line("store_up")
    await watched.probe.until(200, "ok")
    assert watched.said() == {"store_refuses": 3, "store_up": 1}
    await rig.stop(watched.worker)


# --- what is no outage ----------------------------------------------------------------------------------------------


async def test_a_full_server_refuses_new_jobs_at_once_and_workers_are_ready_and_drain_it(rig: ServerRig):
    await rig.start_server()
    watched = await Watched.start(rig)
    tasks = await rig.sender()
    held = await rig.tasks.hold.delay()
    await rig.ledger.until(1)
    await rig.config(maxmemory=1)
    for _ in range(3):
        await refused(tasks, StoreFull, "OOM")
    rig.open_gate()
    await rig.all_ended([held])
    await watched.probe.until(200, "ok")
    await rig.config(maxmemory=0)
    assert not watched.said()
    await rig.stop(watched.worker)


async def test_scripts_that_were_flushed_are_no_trouble(rig: ServerRig):
    await rig.start_server()
    watched = await Watched.start(rig)
    for _ in range(20):
        await rig.raw.script_flush()
        job = await rig.tasks.note.delay()
        await rig.all_ended([job])
    assert not watched.said()
    await rig.stop(watched.worker)


async def test_clients_that_are_unblocked_with_an_error_go_on_waiting(rig: ServerRig):
    await rig.start_server()
    watched = await Watched.start(rig)

    async def blocked() -> list[str]:
        return [client["id"] for client in await rig.raw.client_list() if "b" in client["flags"]]

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
    await rig.stop(watched.worker)


async def test_a_storm_of_killed_connections_does_not_flood_the_log_and_loses_nothing(rig: ServerRig):
    await rig.start_server()
    watched = await Watched.start(rig, "-c", "2")
    jobs = await rig.app.enqueue_many([rig.tasks.nap.s(0.02) for _ in range(200)])
    kills = 0
    async with watched.few_warnings():
        began_s = time.monotonic()
        while time.monotonic() - began_s < 2.0:
            await rig.kill_clients()
            kills += 1
            await asyncio.sleep(0.02)
    await rig.all_ended(jobs)
    await watched.probe.until(200, "ok")
    said = watched.said()
    rig.measured(f"{kills} times every connection killed: {dict(said)}")
    assert said["store_down"] <= 5
    assert said["store_up"] <= said["store_down"]
    await rig.stop(watched.worker)
    await rig.check(jobs)


async def test_clients_that_are_paused_for_a_while_wait_and_say_nothing(rig: ServerRig):
    await rig.start_server()
    watched = await Watched.start(rig)
    tasks = await rig.sender()
    await rig.raw.execute_command("CLIENT", "PAUSE", "2500", "ALL")
    began_s = time.monotonic()
    error = await refused(tasks, StoreUnavailable, None)
    assert isinstance(error, StoreUnavailable)
    assert error.sent
    job = await rig.tasks.note.delay()  # this one waits for 5 s
    back_s = await ended_within(rig, job, began_s + 2.5)
    rig.measured(f"CLIENT PAUSE: a job that was enqueued meanwhile has ended {back_s:.2f} s after it")
    assert back_s < BACK_WITHIN_S + MARGIN_S
    await watched.probe.until(200, "ok")
    assert watched.said() == Counter()
    await rig.stop(watched.worker)


# --- the deadline of delay() ----------------------------------------------------------------------------------------


async def test_a_call_that_waited_behind_another_one_has_the_same_deadline(rig: ServerRig):
    """The server freezes under the first call; the second goes out once that one has failed, with what is left."""
    await rig.start_server()
    tasks = await rig.sender()
    await stop_process(rig)
    first = asyncio.create_task(refused(tasks, StoreUnavailable, None))
    second = asyncio.create_task(later(0.5, tasks))
    await first
    took_s = await second
    rig.measured(f"the second call has failed after {took_s:.2f} s")
    assert took_s < OVERDUE_S
    await let_process_run(rig)


async def later(
    delay_s: float, tasks: Tasks, kind: type[StoreError] = StoreUnavailable, code: str | None = None
) -> float:
    """Call after a while; how long the call took, in seconds."""
    await asyncio.sleep(delay_s)
    began_s = time.monotonic()
    await refused(tasks, kind, code, or_away=True)
    return time.monotonic() - began_s


async def test_a_server_that_refuses_and_then_freezes_does_not_lengthen_the_deadline(rig: ServerRig):
    await rig.start_server()
    tasks = await rig.sender()
    await demote(rig)
    call = asyncio.create_task(later(0.0, tasks, StoreRefused, "READONLY"))
    await asyncio.sleep(0.6)
    await stop_process(rig)
    took_s = await call
    rig.measured(f"READONLY for 0.6 s, then frozen: failed after {took_s:.2f} s")
    assert took_s < OVERDUE_S
    await let_process_run(rig)
