"""Reading a stream of events from an ASGI app, for as long as one likes."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

WITHIN_S = 10.0


class Stream:
    """An open stream: the events as they come."""

    def __init__(self) -> None:
        self.status = 0
        self.events: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self.gone = asyncio.Event()
        self.ended = asyncio.Event()

    async def next(self, name: str | None = None) -> Any:
        """The next event, or the next of that name."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                got, value = await self.events.get()
                if name in (None, got):
                    return value

    async def send(self, message: Mapping[str, Any]) -> None:
        """What the app sends."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            return
        for block in message["body"].decode().split("\n\n"):
            lines = dict(
                line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(":")
            )
            if "event" in lines:
                self.events.put_nowait((lines["event"], json.loads(lines["data"])))


@asynccontextmanager
async def stream(
    asgi: Any, query: str = "page=overview", headers: Mapping[str, str] | None = None
) -> AsyncIterator[Stream]:
    """Open one; leaving closes it, as a browser that goes."""
    opened = Stream()
    begun = False

    async def receive() -> dict[str, Any]:
        nonlocal begun
        if begun:
            await opened.gone.wait()
            return {"type": "http.disconnect"}
        begun = True
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "method": "GET",
        "path": "/events",
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(b"host", b"127.0.0.1:8383"), *((k.encode(), v.encode()) for k, v in (headers or {}).items())],
        "client": ("127.0.0.1", 1),
    }

    async def run() -> None:
        await asgi(scope, receive, opened.send)
        opened.ended.set()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(run())
        try:
            yield opened
        finally:
            opened.gone.set()
            async with asyncio.timeout(WITHIN_S):
                await task
