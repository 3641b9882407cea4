"""The faults of a chaos run that strike the server, and so everybody."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.faults.causes import FOR_EVER
from tests.faults.crew import LEASE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from tests.faults.causes import Causes
    from tests.faults.place import Place

AWAY_S = (0.2, 1.0, 1.5 * LEASE_S)
STEPS_S = (-20, -3, 0, 3, 20)
SLOWLY = ("--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")  # 1 ms a command
PATIENCE_S = 5.0
STORM_S, STORM_EVERY_S = 1.0, 0.05
NOT_IN_STEP_S = 2.2  # a server of `everysec` writes so late at most when its disk is slow, and answers all the same
READ_LATE_S = 0.5  # an answer that a server gave before it was killed is read so much later at most
OWN_MODE = ("flush_data", "power")


class Blows:
    """Each method is a fault, by its name. One at a time: each ends before the next begins."""

    def __init__(self, place: Place, dice: random.Random, causes: Causes) -> None:
        self._place, self._dice, self._causes = place, dice, causes
        self._note = ""
        self._all: Mapping[str, Callable[[], Awaitable[None]]] = {
            name: getattr(self, name)
            for name in (
                *("cut", "flush", "restart", "pause", "full", "replica", "loading", "busy", "client_pause"),
                *("noperm", "clock", "failover", "storm", *OWN_MODE),
            )
        }

    @property
    def usual(self) -> list[str]:
        """Those that can strike any run; the others lose data, and the run has to be told so."""
        impossible = () if self._place.clock is not None else ("clock",)
        return [name for name in self._all if name not in (*OWN_MODE, *impossible)]

    async def strike(self, fault: str) -> str:
        """Let it strike. Returns how."""
        at_s, self._note = time.monotonic(), ""
        await self._all[fault]()
        self._causes.darkness(None, at_s, time.monotonic())
        return self._note

    async def cut(self) -> None:
        """Every connection."""
        for proxy in self._place.proxies:
            proxy.cut_all()

    async def storm(self) -> None:
        """Every connection, again and again, by the server itself."""
        until_s = time.monotonic() + STORM_S
        while time.monotonic() < until_s:
            await self._place.raw.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await asyncio.sleep(STORM_EVERY_S)  # the pace of the storm

    async def flush(self) -> None:
        """Its scripts are forgotten."""
        await self._place.raw.script_flush()

    async def restart(self) -> None:
        """SIGKILL, and up again with what is in its file."""
        await self._kill()
        await asyncio.sleep(self._dice.random())  # for so long it is away
        await self._place.start_server()

    async def power(self) -> None:
        """The same, and what had not reached the disk is gone."""
        await self._place.kill_server()
        killed_s = time.monotonic()
        since_s = self._place.lose_power()
        self._note = f"{killed_s - since_s:.2f} s lost"
        from_s = min(since_s - 0.1, killed_s - NOT_IN_STEP_S)
        self._causes.loss(from_s, killed_s + READ_LATE_S, spares_durable=True)
        await self._place.start_server()

    async def loading(self) -> None:
        """SIGKILL, and it takes its time to load what it has."""
        await self._kill()
        starting = asyncio.create_task(self._place.start_server(*SLOWLY))
        await self._for_a_while()
        while not starting.done():  # a client of redis-py would not get so far while it loads
            with suppress(OSError, TimeoutError):
                reader, writer = await asyncio.open_unix_connection(self._place.socket)
                writer.write(b"CONFIG SET key-load-delay 0\r\n")
                async with asyncio.timeout(PATIENCE_S):
                    await reader.read(100)
                writer.close()
            await asyncio.wait([starting], timeout=0.05)
        await starting

    async def _kill(self) -> None:
        await self._place.kill_server()
        if self._place.fsync != "always":
            killed_s = time.monotonic()
            self._causes.loss(killed_s - NOT_IN_STEP_S, killed_s + READ_LATE_S, spares_durable=True)

    async def pause(self) -> None:
        """Its process stands still."""
        os.kill(self._place.pid, signal.SIGSTOP)
        await self._for_a_while()
        os.kill(self._place.pid, signal.SIGCONT)

    async def client_pause(self) -> None:
        """It answers nobody, or nobody who writes, as during a failover that an operator asks for."""
        seconds, whom = self._dice.choice(AWAY_S), self._dice.choice(["ALL", "WRITE"])
        self._note = f"{whom} for {seconds} s"
        await self._place.raw.execute_command("CLIENT", "PAUSE", int(seconds * 1_000), whom)
        await asyncio.sleep(seconds)  # the fault
        await self._place.raw.ping()

    async def full(self) -> None:
        """At its maxmemory."""
        await self._place.raw.config_set("maxmemory", 1)
        await self._for_a_while()
        await self._place.raw.config_set("maxmemory", 0)

    async def replica(self) -> None:
        """It serves no writes."""
        await self._place.raw.execute_command("REPLICAOF", "127.0.0.1", "1")
        await self._for_a_while()
        await self._place.raw.execute_command("REPLICAOF", "NO", "ONE")

    async def noperm(self) -> None:
        """Its user may not call scripts, or not wait for tokens."""
        right = self._dice.choice(["evalsha", "blpop"])
        await self._place.raw.execute_command("ACL", "SETUSER", "default", f"-{right}")
        await self._for_a_while()
        await self._place.raw.execute_command("ACL", "SETUSER", "default", f"+{right}")
        self._note = f"{right} {self._note}"

    async def busy(self) -> None:
        """Somebody's script does not end."""
        await self._place.raw.config_set("lua-time-limit", 100)
        looping: Any = Redis.from_url(f"unix://{self._place.socket}", socket_timeout=None)

        async def loop() -> None:
            with suppress(RedisError):  # it is killed
                await looping.eval("while true do end", 0)
            await looping.aclose()

        endless = asyncio.create_task(loop())
        await self._for_a_while()
        while not endless.done():
            with suppress(RedisError):
                await self._place.raw.script_kill()
            await asyncio.wait([endless], timeout=0.05)
        await self._place.raw.config_set("lua-time-limit", 5_000)

    async def clock(self) -> None:
        """Its clock jumps, forward or back, and goes on from there."""
        assert self._place.clock is not None
        step_s = self._dice.choice(STEPS_S)
        self._note = f"to {step_s:+} s"
        self._place.clock.step(step_s)

    async def failover(self) -> None:
        """A replica takes over. What was acknowledged as it did may be lost: Redis replicates behind the answer."""
        demote_for_s = self._dice.choice([None, 0.3, 1.0])
        from_s, until_s = await self._place.fail_over(demote_for_s=demote_for_s)
        self._causes.loss(from_s, until_s)
        self._note = f"{until_s - from_s:.2f} s may be lost, the old one demoted for {demote_for_s} s"

    async def flush_data(self) -> None:
        """FLUSHALL: all is gone."""
        await self._place.deafen()
        await self._place.raw.flushall()
        self._causes.loss(-FOR_EVER, time.monotonic())
        await self._place.listen()

    async def _for_a_while(self) -> None:
        seconds: float = self._dice.choice(AWAY_S)
        self._note = f"for {seconds} s"
        await asyncio.sleep(seconds)  # the fault
