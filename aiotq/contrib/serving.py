"""A page over HTTP, for whoever scrapes it: one request a connection, and nothing that a caller does takes long."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from asyncio import StreamReader, StreamWriter
    from collections.abc import AsyncGenerator, Awaitable, Callable

    # Gets what the caller accepts; returns the body and its type.
    Page = Callable[[str], Awaitable[tuple[bytes, str]]]

MAX_CONNECTIONS = 32  # at once; more are closed
MAX_REQUEST = 8192  # bytes, headers included
HEARD_S = 2.0  # for the request
ANSWERED_S = 10.0  # for the page
PATH = b"/metrics"

log = logging.getLogger("aiotq.metrics")


@asynccontextmanager
async def serving(listening: socket.socket, page: Page) -> AsyncGenerator[None]:
    """Within it, GET /metrics is answered with a page, and /livez with a word. Closes the socket."""
    open_now: set[asyncio.Task[None]] = set()
    over: list[bool] = []
    one = asyncio.Lock()  # a page at a time: they ask the same server

    async def met(reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_now.add(task)
        try:
            if len(open_now) <= MAX_CONNECTIONS:
                await _answer(reader, writer, page, one)
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # its caller's business
        except asyncio.CancelledError:
            if not over:  # else it is ended below; asyncio would log it as a mistake
                raise
        finally:
            open_now.discard(task)
            writer.close()

    server = await asyncio.start_server(met, sock=listening, limit=MAX_REQUEST)
    try:
        yield
    finally:
        over.append(True)
        server.close()
        for task in tuple(open_now):
            task.cancel()
        if open_now:
            await asyncio.wait(tuple(open_now))


async def _answer(reader: StreamReader, writer: StreamWriter, page: Page, one: asyncio.Lock) -> None:
    async with asyncio.timeout(HEARD_S):
        request = await reader.readuntil(b"\r\n\r\n")
    first, *headers = request.split(b"\r\n")
    method, path, http = (*first.split(), b"", b"", b"")[:3]
    path, accept = path.partition(b"?")[0], _header(headers, b"accept")
    if not http.startswith(b"HTTP/1."):
        status, body, kind = b"400 Bad Request", b"this is no request; ask: GET /metrics\n", "text/plain"
    elif method not in {b"GET", b"HEAD"}:
        status, body, kind = b"405 Method Not Allowed", b"only GET and HEAD are answered\n", "text/plain"
    elif path == b"/livez":
        status, body, kind = b"200 OK", b"ok\n", "text/plain"
    elif path != PATH:
        status, body, kind = b"404 Not Found", b"there are /metrics and /livez\n", "text/plain"
    else:
        status, body, kind = await _made(page, accept, one)
    head = (
        b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\nCache-Control: no-store\r\n"
        b"X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    writer.write(head % (status, kind.encode(), len(body)) + (body if method != b"HEAD" else b""))
    async with asyncio.timeout(HEARD_S):
        await writer.drain()


async def _made(page: Page, accept: str, one: asyncio.Lock) -> tuple[bytes, bytes, str]:
    try:
        async with asyncio.timeout(ANSWERED_S), one:
            body, kind = await page(accept)
    except TimeoutError:
        return b"503 Service Unavailable", b"the server took too long to answer\n", "text/plain"
    except Exception:
        log.exception("the metrics can't be told, by a mistake in aiotq; please report it")
        return b"500 Internal Server Error", b"see the log\n", "text/plain"
    return b"200 OK", body, kind


def _header(lines: list[bytes], name: bytes) -> str:
    for line in lines:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip().decode("latin-1")
    return ""
