"""A master, a replica and three sentinels of the test's own, in a hurry.

async with fleet(folder) as ships:
    ...
    ships.kill_master()                     # SIGKILL, by its pid
    await ships.promoted()                  # the sentinels have agreed on another one
    ships.old.start()
    await ships.follows(ships.old)          # it is back, and a replica
"""

from __future__ import annotations

import socket
import subprocess
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from tests import servers
from tests.process.ledger import until
from tests.processes import die_with_parent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SERVICE = "jobs"
DOWN_AFTER_MS = 400
# Sentinel looks around once a second and once in ten; a test has no time for that. A server that it has not heard of
# for three or five of these periods is no good replica, so they are not too short for a machine that is busy elsewhere;
# which is no reason either to distrust the clock for half a minute (TILT).
HURRY = {
    "info-period": 300,
    "ping-period": 300,
    "ask-period": 100,
    "publish-period": 200,
    "election-timeout": 1_000,
    "min-link-reconnect-period": 300,
    "tilt-trigger": 60_000,
}


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@dataclass(kw_only=True)
class Ship:
    """One process: a server or a sentinel."""

    folder: Path
    command: list[str]
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, by the path of its program."""
        with (self.folder / "said").open("ab") as said:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd=self.folder,
                preexec_fn=die_with_parent,  # noqa: PLW1509  all that it calls is one system call
            )

    def kill(self) -> None:
        """SIGKILL, by its pid."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def client(self) -> Any:
        """To look at it."""
        return Redis(host="127.0.0.1", port=self.port, socket_timeout=5)

    async def answers(self) -> None:
        """Until it answers."""

        async def pong() -> bool:
            try:
                async with self.client() as client:
                    return bool(await client.ping())
            except RedisError:
                return False

        await until(pong, f"an answer on port {self.port}")


@dataclass(kw_only=True)
class Fleet:
    """All of them. `servers` never change their places; `master` and `old` are who was what at the beginning."""

    servers: list[Ship]
    sentinels: list[Ship]
    clients: list[Any] = field(default_factory=list[Any])
    killed_s: float = 0.0  # when the master was (monotonic)

    @property
    def url(self) -> str:
        """What an app is given."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}"

    @property
    def old(self) -> Ship:
        """The first master."""
        return self.servers[0]

    @property
    def new(self) -> Ship:
        """Its replica, the next master."""
        return self.servers[1]

    def client(self, ship: Ship) -> Any:
        """A client that is closed at the end."""
        self.clients.append(made := ship.client())
        return made

    async def fail_over(self) -> None:
        """As an operator asks for it; again, if the replica has not been heard of just now."""

        async def agreed() -> bool:
            try:
                await self._asked(self.sentinels[0], "FAILOVER")
            except ResponseError as error:
                if "NOGOODSLAVE" in str(error):
                    return False
                raise
            return True

        await until(agreed, "the sentinel begins a failover")

    async def agree(self) -> None:
        """Until all sentinels name the new master."""

        async def all_do() -> bool:
            named = [await self._asked(sentinel, "GET-MASTER-ADDR-BY-NAME") for sentinel in self.sentinels]
            return {int(address[1]) for address in named} == {self.new.port}

        await until(all_do, "the sentinels agree on the new master")

    async def promoted(self) -> float:
        """Until the new master has its role: when that was (monotonic)."""

        async def master() -> bool:
            async with self.new.client() as client:
                role: Any = await client.execute_command("ROLE")
                return role[0] == b"master"

        await until(master, "the replica is promoted")
        return time.monotonic()

    async def follows(self, ship: Ship) -> None:
        """Until a server is a replica that has all that its master has."""

        async def linked() -> bool:
            async with ship.client() as client:
                said = await client.info("replication")
            return said["role"] == "slave" and said.get("master_link_status") == "up"

        await until(linked, f"the server on port {ship.port} follows")

    async def settled(self) -> None:
        """Until all sentinels know of each other, of the master and of its replica."""
        await self.follows(self.new)

        async def know() -> bool:
            for sentinel in self.sentinels:
                facts = _facts(await self._asked(sentinel, "MASTER"))
                replicas = [_facts(one) for one in await self._asked(sentinel, "REPLICAS")]
                fit = [one["flags"] == "slave" and one["master-link-status"] == "ok" for one in replicas]
                if fit != [True] or int(facts["num-other-sentinels"]) != len(self.sentinels) - 1:
                    return False
            return True

        await until(know, "the sentinels know all")

    async def _asked(self, sentinel: Ship, what: str) -> Any:
        async with sentinel.client() as client:
            return await client.execute_command("SENTINEL", what, SERVICE)

    def kill_master(self) -> None:
        """SIGKILL."""
        self.old.kill()
        self.killed_s = time.monotonic()

    async def close(self) -> None:
        """End all."""
        for client in self.clients:
            await client.aclose()
        for ship in (*self.sentinels, *self.servers):
            if ship.process is not None:
                ship.kill()


@asynccontextmanager
async def fleet(folder: Path) -> AsyncIterator[Fleet]:
    """Started and settled; ended by their pids."""
    binary = servers.find("valkey")
    assert binary is not None
    master, replica = (_server(str(binary), folder / name) for name in ("a", "b"))
    replica.command += ["--replicaof", "127.0.0.1", str(master.port)]
    ships = Fleet(servers=[master, replica], sentinels=[])
    try:
        for server in ships.servers:
            server.start()
        for server in ships.servers:
            await server.answers()
        for number in range(3):
            ships.sentinels.append(_sentinel(str(binary), folder / f"s{number}", master.port))
            ships.sentinels[-1].start()
        for sentinel in ships.sentinels:
            await sentinel.answers()
            async with sentinel.client() as client:
                if servers.at_least("valkey", 7):  # older ones take their time
                    hurry = [str(word) for pair in HURRY.items() for word in pair]
                    await client.execute_command("SENTINEL", "DEBUG", *hurry)
        await ships.settled()
        yield ships
    finally:
        await ships.close()


def _server(binary: str, folder: Path) -> Ship:
    folder.mkdir()
    port = free_port()
    command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    command += ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"]
    return Ship(folder=folder, command=command, port=port)


def _sentinel(binary: str, folder: Path, master: int) -> Ship:
    folder.mkdir()
    port = free_port()
    lines = (
        f"port {port}",
        "bind 127.0.0.1",
        f"dir {folder}",
        f"sentinel monitor {SERVICE} 127.0.0.1 {master} 2",
        f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}",
        f"sentinel failover-timeout {SERVICE} 1500",
    )
    (folder / "conf").write_text("\n".join(lines) + "\n")
    return Ship(folder=folder, command=[binary, str(folder / "conf"), "--sentinel"], port=port)


def _facts(flat: Any) -> dict[str, str]:
    """A map, as either protocol gives it."""
    pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
    return {_text(name): _text(value) for name, value in pairs}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


async def scripts_run(ship: Ship) -> int:
    """How many scripts a server has run so far: nobody works on one where that does not grow."""
    async with ship.client() as client:
        stats = await client.info("commandstats")
    return sum(facts["calls"] for name, facts in stats.items() if name.startswith("cmdstat_evalsha"))
