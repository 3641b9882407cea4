"""A password is in no output in any state of a server: logs, health pages, errors."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from aiotq import App
from aiotq.errors import StoreFull, StoreRefused, StoreUnavailable
from tests.faults.canary import CANARY, quiet
from tests.faults.proxy import Fault, FaultProxy
from tests.faults.scale import only_full
from tests.faults.server_rig import SLOWLY, ServerRig
from tests.faults.states import ALL, AWAY, NOAUTH, READONLY, State, config, run
from tests.probing import Probe
from tests.process.ledger import until
from tests.process.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.processes import WorkerProcess


async def start_loading(rig: ServerRig) -> None:
    await rig.fill()
    await rig.raw.save()
    await rig.kill_server()
    rig.busy = asyncio.create_task(rig.start_server(*SLOWLY))
    await rig.until_loading()


async def load_at_once(rig: ServerRig) -> None:
    async with Redis.from_url(rig.url) as client:
        await client.config_set("key-load-delay", 0)
    assert rig.busy is not None
    await rig.busy


async def swallow(rig: ServerRig) -> None:
    """No script's answer comes through, and nothing behind it."""
    assert isinstance(rig, LockedRig)
    rig.proxy.arm(Fault.BLACK_HOLE, b"EVALSHA", times=1_000_000)


async def spit_out(rig: ServerRig) -> None:
    assert isinstance(rig, LockedRig)
    rig.proxy.arm(Fault.BLACK_HOLE, b"EVALSHA", times=0)
    rig.proxy.cut_all()


LOADING = State(
    name="LOADING",
    begin=start_loading,
    end=load_at_once,
    reason="the store refuses (LOADING)",
    error=StoreRefused,
    options=("--save", "900", "1"),
    hasty=True,  # it answers slowly, perhaps too late
)
OOM = State(name="OOM", begin=config(maxmemory=1), end=config(maxmemory=0), reason="ok", error=StoreFull)
WRONGPASS = replace(
    NOAUTH,
    name="WRONGPASS",
    end=run("ACL", "SETUSER", "default", "resetpass", f">{CANARY}"),
    reason="the store can't be used (WRONGPASS)",
)
BLACK_HOLE = State(
    name="black hole",
    begin=swallow,
    end=spit_out,
    reason="the store is away",
    error=StoreUnavailable,
)


@dataclass(kw_only=True)
class LockedRig(ServerRig):
    """A server with a password, and a proxy through which all others come."""

    proxy: FaultProxy = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.locked = ("--requirepass", CANARY)
        self.proxy = FaultProxy(self.folder / "s", self.folder / "p")
        self.url += f"?password={CANARY}"
        self.app = App(self.url, namespace=self.namespace)
        self.tasks = type(self.tasks)(self.app)

    @property
    def way(self) -> str:
        """The URL of the proxy, with the password."""
        return f"{self.proxy.url}?password={CANARY}"


@pytest_asyncio.fixture
async def locked(server_folder: Path, namespace: str) -> AsyncIterator[LockedRig]:
    made = LockedRig(folder=server_folder, namespace=namespace)
    async with made.proxy:
        yield made
        await made.close()


async def failures_of(app: App) -> list[BaseException]:
    """What its calls raise now."""
    note = Tasks(app).note
    calls = (note.delay(), app.enqueue_many([note.s()]), app.job("j1").info(), app.job("j1").result(timeout=0.3))
    found = await asyncio.gather(*calls, return_exceptions=True)
    return [one for one in found if isinstance(one, BaseException)]


async def health_of(worker: WorkerProcess) -> Probe:
    """Its health port, whatever form its log has."""
    found: list[str] = []

    async def said() -> bool:
        found[:] = re.findall(r"http://127\.0\.0\.1:\d+", worker.text)
        return bool(found)

    await until(said, "the worker says where its health port is")
    return Probe.of(found[0])


STATES = [*(state for state in ALL if state is not NOAUTH), WRONGPASS, LOADING, OOM, BLACK_HOLE]
A_FEW = (AWAY, READONLY, WRONGPASS, LOADING, BLACK_HOLE)


@pytest.mark.parametrize(
    "state",
    [pytest.param(state, id=str(state), marks=() if state in A_FEW else only_full) for state in STATES],
)
async def test_no_state_of_a_server_makes_anybody_say_it(locked: LockedRig, state: State):
    """Two workers, one that logs for people and one for machines; their health pages; two senders, one a stranger."""
    rig = locked
    await rig.start_server(*state.options)
    options = ("-v", "--health-port", "0", "-c", "1", "--log-format")
    workers = [await rig.worker(*options, form, url=rig.way, ready=False) for form in ("text", "json")]
    probes = [await health_of(worker) for worker in workers]
    known, stranger = (App(rig.way, namespace=rig.namespace, connect_timeout=0.5) for _ in range(2))
    jobs = [await Tasks(known).hold.delay() for _ in workers]
    await rig.ledger.until(len(jobs))
    await state.begin(rig)
    rig.open_gate()  # each has an outcome to store, and so meets the state
    for probe in probes:
        await probe.until(200 if state is OOM else 503, "ok" if state is OOM else state.reason)
    pages = [await probe.get(page) for probe in probes for page in ("livez", "readyz")]
    errors = [*await failures_of(known), *await failures_of(stranger)]
    assert any(isinstance(error, (state.error, StoreUnavailable) if state.hasty else state.error) for error in errors)
    await state.end(rig)
    await rig.all_ended(jobs)
    for probe in probes:
        await probe.until(200, "ok")
    for app in (known, stranger):
        await app._core.close()
    await rig.stop(*workers)
    assert all("?password=***" in worker.text for worker in workers), "they do say which server they mean"
    quiet(*(worker.text for worker in workers), *pages, *errors)
