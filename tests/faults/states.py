"""The states in which a server does not serve: how each is made and ended, and what is made of it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redis.asyncio import Redis

from aiotq.errors import StoreError, StoreRefused, StoreUnavailable, StoreUnusable
from tests.faults.server_rig import DURABLE, SLOWLY, ServerRig
from tests.process.ledger import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Act = Callable[[ServerRig], Awaitable[object]]


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
    options=("--save", "900", "1"),
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
