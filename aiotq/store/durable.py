"""Whether what was enqueued over a connection is safe: on the server's disk, or on a replica.

How that is found out depends on the server (`choose`). WAITAOF alone won't do: with `appendfsync everysec` every Valkey
so far (measured up to 9.1), and Redis before 8, acknowledges writes that it has not brought to its disk (redis #13793),
and the built-in server has no fsync of its own (decision 7). So:

    FSYNC     the built-in server: its file is on this machine, and is brought to disk from here
    WATCH     `appendfsync always`: an answer means it. `everysec`: it is on disk once the server was seen without a
              pending fsync, a second has passed, and it is seen so again
    WAITAOF   Redis 8 and newer
    WAIT      no append-only file, but a replica

All that wait at the same time share each question. Nobody but durable jobs uses this connection, since WAIT blocks it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, cast

from redis.exceptions import RedisError

from aiotq.errors import NotDurable, StoreError, StoreUnavailable
from aiotq.store import embedded, facts
from aiotq.store.connection.wire import WireBroken
from aiotq.store.url import redact

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from aiotq.store.connection.wire import Wire

LOOK_EVERY_S = 0.05
# The server fsyncs as soon as it sees that a second has passed since the last time; it looks every 0.1 s at the latest.
EVERYSEC_S = 1.2
SLICE_MS = 50  # how long a WAIT holds up what is enqueued meanwhile (the server's timer makes up to 100 of it)
MARK_AGAIN_S = 1.0  # for so long newcomers join those for whom the server is asked already
MARK_TTL_MS = 60_000
_POLICY = ("CONFIG", "GET", "*appendfsync*")
PAUSES = (
    "pauses"  # no-appendfsync-on-rewrite: for as long as a child writes nothing is brought to disk, nor called pending
)


class Means(Enum):
    """How a server can make a job safe."""

    FSYNC = "fsync from here"
    WATCH = "watching the server's own fsyncs"
    WAITAOF = "WAITAOF"
    WAIT = "WAIT"


def choose(fields: Mapping[str, str], *, policy: str | None, built_in: bool) -> Means | None:
    """By a server's INFO, and its `appendfsync` (None: it may not be read; or PAUSES). None: see `why_not`."""
    kind, _, numbers = facts.which(fields)
    if fields.get("aof_enabled") == "1":
        if built_in and (kind == "Valkey" or numbers >= (7,)):
            return Means.FSYNC
        if policy != "no" and kind == "Redis" and numbers >= (8,):
            return Means.WAITAOF
        if policy in ("always", "everysec") and not built_in:
            return Means.WATCH
    if any(name.startswith("slave") and "state=online" in value for name, value in fields.items()):
        return Means.WAIT
    return None


def why_not(fields: Mapping[str, str], *, policy: str | None, built_in: bool) -> str:
    """Why a server can't make anything safe, and what to do."""
    kind, version, _ = facts.which(fields)
    if built_in:
        return f"{kind} {version} keeps its file in a way that can't be made safe from here; install aiotq[embedded]"
    if fields.get("aof_enabled") != "1":
        return "its append-only file is off and it has no replica; set appendonly yes there, or use embedded://"
    if policy == PAUSES:
        return (
            "it brings nothing to disk while it rewrites its file or saves a snapshot (no-appendfsync-on-rewrite yes); "
            "set that to no there"
        )
    if policy == "no":
        return "it never brings its file to disk by itself (appendfsync no); set appendfsync everysec or always there"
    return (
        f"WAITAOF of {kind} {version} can't be relied on with every appendfsync, and this user may not read which it "
        "has; extend its ACL by +config|get"
    )


@dataclass(slots=True, kw_only=True, eq=False)
class _Waiter:
    """Somebody who wants to know whether all that went over a connection so far is safe."""

    link: int
    told: asyncio.Future[None]
    quiet: tuple[float, str] | None = None  # WATCH: when no fsync was pending, and how often the file was rewritten
    due: bool = False  # WATCH: the server has begun an fsync since then, if there was anything to bring to disk


class Durable:
    """The connection of durable jobs, and who waits for what went over it. Used from one event loop."""

    def __init__(self, wire: Wire, *, url: str, mark: str) -> None:
        """mark: a key to write to, so that there is a write to wait for even where a job was there already."""
        self.wire, self._url, self._mark = wire, redact(url), mark
        self._directory = embedded.parse(url) if url.startswith("embedded://") else None
        self._done: dict[int, tuple[int, int]] = {}  # see `bring_to_disk`
        self._in_process = url.startswith("memory://")
        self._means: Means | None = None
        self._looked_at = 0  # the connection whose server is known by `_means`
        self._coming: list[_Waiter] = []  # for whom nothing has been asked yet
        self._waiting: list[_Waiter] = []
        self._since_s = 0.0  # since when the oldest of these waits
        self._owner: asyncio.Task[None] | None = None  # asks; this owns it

    async def means(self) -> Means:
        """How this connection's server makes a job safe. Raises NotDurable, and what a wire raises."""
        if self._means is None or self._looked_at != self.wire.epoch:
            self._means = await self._look()
            self._looked_at = self.wire.epoch
        return self._means

    async def settled(self, link: int, *, timeout_s: float) -> None:
        """Wait until all that went over that connection is safe. Raises StoreError, and what a wire raises."""
        loop = asyncio.get_running_loop()
        waiter = _Waiter(link=link, told=loop.create_future())
        self._coming.append(waiter)
        if self._owner is None:
            self._owner = loop.create_task(self._serve())
            self._owner.add_done_callback(self._served)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter.told
        except TimeoutError:
            raise self._broken(f"no word within {timeout_s:.1f} s that it is safe") from None

    async def close(self) -> None:
        """Drop the connection; who waits is told that it broke."""
        await self.wire.close()
        owner = self._owner
        if owner is not None:
            owner.cancel()
            await asyncio.wait([owner])

    # --- asking -------------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        """Ask for as long as anybody waits. An error is the answer of all who wait; they begin anew if they can."""
        while self._stay():
            try:
                await self._ask(await self.means())
            except (StoreError, WireBroken, RedisError) as error:
                self._means = None
                self._tell(error)
            except OSError as error:
                self._tell(self._broken(f"its file can't be brought to disk ({error.strerror})"))
        self._owner = None  # at once: the next one who comes starts another

    async def _ask(self, means: Means) -> None:
        """Ask once. Whoever is told of nothing is asked about again."""
        match means:
            case Means.FSYNC:
                await self._sync()
            case Means.WATCH:
                await self._watch()
            case Means.WAITAOF:
                await self._block("WAITAOF", 1, 0)
            case Means.WAIT:
                await self._block("WAIT", 1)

    def _served(self, owner: asyncio.Task[None]) -> None:
        if self._owner is owner:  # it was cancelled, perhaps before its first step
            self._owner = None
            self._tell(self._broken("the store was closed"))

    def _stay(self) -> bool:
        """Forget those that went away; tell those whose connection broke. Returns whether anybody is left."""
        for waiters in (self._coming, self._waiting):
            for waiter in waiters:
                if waiter.link != self.wire.epoch and not waiter.told.done():
                    waiter.told.set_exception(self._broken("the connection broke before it was known to be safe"))
            waiters[:] = [waiter for waiter in waiters if not waiter.told.done()]
        return bool(self._coming or self._waiting)

    def _join(self) -> bool:
        """Those who come are among those for whom is asked from now on. Returns whether there are any."""
        if not self._waiting:
            self._since_s = asyncio.get_running_loop().time()
        joined, self._coming = self._coming, []
        self._waiting += joined
        return bool(joined)

    def _tell(self, error: Exception | None = None, *, who: list[_Waiter] | None = None) -> None:
        """Safe, or an error; to these, or to all."""
        for waiter in (*self._waiting, *self._coming) if who is None else who:
            if waiter.told.done():
                continue
            if error is not None:
                waiter.told.set_exception(error)
            elif waiter.link == self.wire.epoch:  # else it is another server, perhaps, that was asked: see `_stay`
                waiter.told.set_result(None)

    async def _sync(self) -> None:
        """What the server has answered it had written before (`appendfsync no`), unless it says that it could not."""
        self._join()
        who, directory = list(self._waiting), self._directory
        assert directory is not None
        self._checked(facts.parsed(await self.wire.call("INFO", "persistence")))
        await asyncio.to_thread(bring_to_disk, directory, self._done)
        self._tell(who=who)

    async def _watch(self) -> None:
        """Look at the server once. A look begins after whatever is asked about was answered."""
        self._join()
        loop = asyncio.get_running_loop()
        sent_s = loop.time()
        policy, info = await asyncio.gather(*self.wire.calls(_POLICY, ("INFO", "persistence")))
        fields = facts.parsed(info)
        self._checked(fields)
        if _policy(policy) == "always":
            return self._tell(who=self._waiting)
        if _policy(policy) != "everysec":
            self._means = None  # somebody has changed it
            return None
        rewrites = f"{fields.get('aof_rewrite_in_progress')} {fields.get('aof_rewrites')}"  # each changes the file
        pending = fields.get("aof_pending_bio_fsync") != "0"
        again_at = loop.time() + LOOK_EVERY_S
        for waiter in self._waiting:
            if waiter.quiet is None or waiter.quiet[1] != rewrites:
                waiter.due, waiter.quiet = False, None if pending else (loop.time(), rewrites)
            elif waiter.due:
                if not pending:
                    self._tell(who=[waiter])
            elif sent_s >= waiter.quiet[0] + EVERYSEC_S:
                # The server has looked at its clock before it sent this answer: what had to be begun has begun.
                waiter.due, again_at = True, loop.time()
        await asyncio.sleep(again_at - loop.time())
        return None

    async def _block(self, *command: str | int) -> None:
        """Wait for a moment for the last mark: it says that all before it is safe."""
        commands: list[tuple[str | int, ...]] = [(*command, SLICE_MS)]
        # Not again and again: each mark may just miss an fsync, and so put off all who wait.
        fresh = asyncio.get_running_loop().time() - self._since_s < MARK_AGAIN_S
        if (fresh or not self._waiting) and self._join():
            commands.insert(0, ("SET", self._mark, "1", "PX", MARK_TTL_MS))
        *_, reply = await asyncio.gather(*self.wire.calls(*commands))
        if (reply[0] if isinstance(reply, list) else reply) >= 1:
            self._tell(who=self._waiting)

    # --- looking ------------------------------------------------------------------------------------------------

    async def _look(self) -> Means:
        if self._in_process:
            raise self._not_durable("it lives in this process's memory; use embedded:// or a server")
        info, policy = await asyncio.gather(*self.wire.calls(("INFO",), _POLICY), return_exceptions=True)
        for reply in (info, policy):
            if isinstance(reply, WireBroken):
                raise WireBroken(str(reply), sent=False)  # a question is no job
        if isinstance(info, BaseException):
            raise info
        fields, built_in = facts.parsed(info), self._directory is not None
        found = choose(fields, policy=_policy(policy), built_in=built_in)
        if found is None:
            raise self._not_durable(why_not(fields, policy=_policy(policy), built_in=built_in))
        return found

    def _checked(self, fields: Mapping[str, str]) -> None:
        """Raises StoreUnavailable if the server has no file any more, or could not write to it."""
        if fields.get("aof_enabled") != "1" or fields.get("aof_last_write_status") != "ok":
            raise self._broken("its append-only file was switched off, or could not be written; see its log")

    def _not_durable(self, why: str) -> NotDurable:
        return NotDurable(
            f"enqueue: {self._url} can't make sure that a job outlives its crash ({why}, or leave durable=True out); "
            "an append-only file or a replica was expected; nothing was queued",
            verb="enqueue",
            url=self._url,
        )

    def _broken(self, why: str) -> StoreUnavailable:
        return StoreUnavailable(f"{self._url}: {why}", verb="enqueue", url=self._url, sent=True)


def _policy(reply: Any) -> str | None:
    """What CONFIG GET answered, or PAUSES; None if it may not be asked."""
    if not isinstance(reply, list):
        return None
    words = [word.decode() for word in cast("list[bytes]", reply)]
    found = dict(zip(words[::2], words[1::2], strict=False))
    policy = found.get("appendfsync")
    return PAUSES if found.get("no-appendfsync-on-rewrite") == "yes" and policy != "no" else policy


def bring_to_disk(directory: Path, done: dict[int, tuple[int, int]]) -> None:
    """Wait until all that the built-in server in that directory has written is on disk. Blocks. Raises OSError.

    done: by inode, the size and the time of change that are known to be there; kept from one call to the next.
    """
    folder = directory / "appendonlydir"
    for path in (*folder.glob("*.aof"), folder, directory):
        try:
            file = os.open(path, os.O_RDONLY)
        except FileNotFoundError:  # rewritten meanwhile: the server has brought the one in its place to disk
            continue
        try:
            found = os.fstat(file)
            if done.get(found.st_ino) != (found.st_size, found.st_mtime_ns):
                _sync_file(file)
                done[found.st_ino] = found.st_size, found.st_mtime_ns
        finally:
            os.close(file)


def _sync_file(file: int) -> None:
    """On macOS fsync ends at the drive's own memory."""
    os.fsync(file)
    if sys.platform == "darwin":
        fcntl.fcntl(file, fcntl.F_FULLFSYNC)
