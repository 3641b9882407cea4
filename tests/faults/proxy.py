"""A proxy between a store and its server that does wrong on demand.

    async with FaultProxy(upstream, folder / "p") as proxy:
        store = open_store(proxy.url)
        proxy.arm(Fault.DROP_REPLY, sha)      # the next request that holds these bytes: it runs, its reply is lost
        ...
        assert proxy.hits == 1                # the fault did strike

It looks at bytes, not at commands: a fault strikes the whole connection that a matching request came on.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import random
    from pathlib import Path

CHUNK = 1 << 16


class Fault(Enum):
    """What becomes of a matching request, and of its connection."""

    DROP_REQUEST = "the server never sees it; the connection is cut"
    DROP_REPLY = "the server answers; the connection is cut before the first byte of it"
    HALF_REPLY = "half of the answer's first bytes come through, then the connection is cut"
    BLACK_HOLE = "the server answers; nothing comes back on this connection any more, nor is it cut"


class _Link:
    """A client's connection and the server's one behind it."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client, self.server = client, server
        self.fault: Fault | None = None

    def cut(self) -> None:
        for writer in (self.client, self.server):
            writer.transport.abort()


class FaultProxy:
    """Listens on a unix socket, passes everything on to `upstream`, and does wrong once armed."""

    def __init__(self, upstream: str | Path | tuple[str, int], socket: Path) -> None:
        """upstream: the path of a unix socket, or host and port; may be changed, for connections to come."""
        self.upstream = upstream
        self.url = f"unix://{socket}"
        self.hits = 0  # how many requests a fault has struck
        self.came_s: list[float] = []  # when each connection came (monotonic)
        self.delay_s = 0.0  # how late each piece of an answer comes
        self._socket = socket
        self._links: dict[_Link, None] = {}  # in the order in which they came
        self._relays: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()
        self._fault, self._match, self._left = Fault.DROP_REPLY, b"", 0
        self._struck = asyncio.Event()
        self._holding = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._relay, self._socket, limit=CHUNK)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut_all()
        self.thaw()
        if self._relays:
            await asyncio.wait(self._relays)
        self._socket.unlink(missing_ok=True)

    def arm(self, fault: Fault, match: bytes | str, *, times: int = 1) -> None:
        """Let `fault` strike the next `times` requests in which the bytes `match` occur, in any case of letters."""
        self._fault, self._left = fault, times
        self._match = (match.encode() if isinstance(match, str) else match).lower()
        self._struck.clear()

    def disarm(self) -> None:
        """Let nothing more be struck."""
        self._left = 0

    @property
    def links(self) -> int:
        """How many connections there are."""
        return len(self._links)

    async def struck(self) -> None:
        """Wait until the last of the armed faults has struck."""
        await self._struck.wait()

    def freeze(self) -> None:
        """Hold everything back, both ways, without a word, until `thaw`."""
        self._open.clear()
        self._holding.clear()

    async def held(self) -> None:
        """Wait until something is held back by `freeze`."""
        await self._holding.wait()

    def thaw(self) -> None:
        """Let everything flow again."""
        self._open.set()

    def cut_all(self) -> None:
        """Cut every connection."""
        for link in tuple(self._links):
            link.cut()

    def cut_one(self, draw: random.Random) -> None:
        """Cut one connection of those that there are, as drawn."""
        if self._links:
            draw.choice(list(self._links)).cut()

    async def _relay(self, client_reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.came_s.append(monotonic())
        self._relays.add(task)
        task.add_done_callback(self._relays.discard)
        try:
            if isinstance(self.upstream, tuple):
                server_reader, server = await asyncio.open_connection(*self.upstream)
            else:
                server_reader, server = await asyncio.open_unix_connection(self.upstream)
        except OSError:
            client.transport.abort()
            return
        link = _Link(client, server)
        self._links[link] = None
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._requests(client_reader, link))
                both.create_task(self._answers(server_reader, link))
        finally:
            link.cut()
            self._links.pop(link, None)

    async def _requests(self, reader: asyncio.StreamReader, link: _Link) -> None:
        seam = b""  # the end of the last piece, since a match may lie across two
        with suppress(OSError):
            while piece := await reader.read(CHUNK):
                await self._pass()
                window = (seam + piece).lower()
                if self._left and self._match in window:
                    seam = b""
                    link.fault = self._strike()
                    if link.fault is Fault.DROP_REQUEST:
                        break
                else:
                    seam = window[1 - len(self._match) :] if len(self._match) > 1 else b""
                link.server.write(piece)
                await link.server.drain()
        link.cut()

    async def _pass(self) -> None:
        if not self._open.is_set():
            self._holding.set()
            await self._open.wait()

    def _strike(self) -> Fault:
        self.hits += 1
        self._left -= 1
        if not self._left:
            self._struck.set()
        return self._fault

    async def _answers(self, reader: asyncio.StreamReader, link: _Link) -> None:
        with suppress(OSError):
            while piece := await reader.read(CHUNK):
                await self._pass()
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)  # the fault
                if link.fault is Fault.BLACK_HOLE:
                    continue
                if link.fault is Fault.HALF_REPLY:
                    link.client.write(piece[: max(1, len(piece) // 2)])
                    await link.client.drain()
                    link.client.close()  # what was written still goes out
                    with suppress(OSError):
                        await link.client.wait_closed()
                if link.fault is not None:
                    break
                link.client.write(piece)
                await link.client.drain()
        link.cut()
