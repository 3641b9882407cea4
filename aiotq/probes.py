"""`/livez` and `/readyz` over HTTP: a tiny server in a thread of its own; it answers while the event loop is blocked.

What it says is two booleans and a few words (health.py), to whoever asks: so it reads a request no further than its
path, and nothing that a caller does takes more than a bounded time, memory and number of connections.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from aiotq.health import Health

    Metrics = Callable[[str], tuple[bytes, str]]

MAX_CONNECTIONS = 32  # at once; of more the oldest is ended: a probe is through in a millisecond
MAX_REQUEST = 8192  # bytes, headers included
BACKLOG = 64  # that wait to be let in
WITHIN_S = 2.0  # for a connection, from its beginning to its end
THREAD = "aiotq-health"
_ACCEPT = re.compile(rb"^accept:([^\n]*)$", re.IGNORECASE | re.MULTILINE)

log = logging.getLogger("aiotq.health")


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at a port; 0: at any that is free. Raises OSError, UnicodeError for a host that is none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host == "::" and socket.has_dualstack_ipv6()
    return socket.create_server((host, port), family=family, backlog=BACKLOG, dualstack_ipv6=both)


def address_of(listening: socket.socket) -> str:
    """Its URL, without a path."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


@contextmanager
def answering(listening: socket.socket, look: Callable[[], Health], metrics: Metrics | None = None) -> Generator[None]:
    """Within it, probes are answered by what `look` says; it is called in another thread. Closes the socket.

    metrics: gets what a caller accepts, and returns a page and its type, for /metrics; in another thread too.
    """
    server = _Server(listening, look, metrics)
    server.start()
    try:
        yield
    finally:
        server.stop()


class _Server:
    """The thread."""

    def __init__(self, listening: socket.socket, look: Callable[[], Health], metrics: Metrics | None) -> None:
        self._listening, self._look, self._metrics = listening, look, metrics
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, name=THREAD, daemon=True)
        self._open: dict[_Caller, None] = {}  # the oldest first
        self._failed = False  # that `look` fails has been said

    def start(self) -> None:
        self._thread.start()
        self._up.wait()

    def stop(self) -> None:
        if self._loop is not None and self._over is not None:
            try:
                self._loop.call_soon_threadsafe(self._over.set)
            except RuntimeError:
                pass  # it has ended by itself
        self._thread.join()

    # --- in the thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        finally:
            self._up.set()
            self._listening.close()

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        # What goes wrong on a connection is its caller's business, and would fill the log of one who is attacked.
        self._loop.set_exception_handler(lambda _loop, _context: None)
        server = await self._loop.create_server(lambda: _Caller(self), sock=self._listening, backlog=BACKLOG)
        self._up.set()
        await self._over.wait()
        server.close()
        for caller in tuple(self._open):
            caller.end()

    def came(self, caller: _Caller) -> None:
        """A connection has been made."""
        if len(self._open) >= MAX_CONNECTIONS:
            next(iter(self._open)).end()
        self._open[caller] = None

    def went(self, caller: _Caller) -> None:
        """It has ended."""
        self._open.pop(caller, None)

    def answer(self, request: bytes) -> bytes:
        """What is answered to the lines of a request."""
        method, path, http = (*request.partition(b"\n")[0].split(), b"", b"", b"")[:3]
        if not http.startswith(b"HTTP/1."):
            return _response(b"400 Bad Request", "this is no request; ask: GET /readyz")
        if method not in (b"GET", b"HEAD"):
            return _response(b"405 Method Not Allowed", "only GET and HEAD are answered", b"Allow: GET, HEAD\r\n")
        path = path.partition(b"?")[0]
        if path == b"/metrics" and self._metrics is not None:
            return self._page(self._metrics, request, whole=method == b"GET")
        if path not in (b"/livez", b"/readyz"):
            more = "" if self._metrics is None else ", and /metrics"
            return _response(b"404 Not Found", f"there are /livez and /readyz{more}", whole=method == b"GET")
        health = self._health()
        good, said = (False, "unknown") if health is None else (health.ready, health.reason or "ok")
        if health is not None and path == b"/livez":
            good, said = health.live, "ok" if health.live else said
        status = b"200 OK" if good else b"503 Service Unavailable"
        return _response(status, said, whole=method == b"GET")

    def _page(self, metrics: Metrics, request: bytes, *, whole: bool) -> bytes:
        found = _ACCEPT.search(request)
        try:
            body, kind = metrics("" if found is None else found[1].strip().decode("latin-1"))
        except Exception:
            log.exception("the metrics can't be told; see what the observer's metrics_page() raises")
            return _response(b"500 Internal Server Error", "see the log", whole=whole)
        return _response(b"200 OK", body, kind=kind.encode(), whole=whole)

    def _health(self) -> Health | None:
        try:
            return self._look()
        except Exception:
            if not self._failed:
                self._failed = True
                log.exception("how the worker does can't be told, by a mistake in aiotq; please report it")
            return None


class _Caller(asyncio.Protocol):
    """One connection: one request, one answer."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self._heard = bytearray()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no asyncio.Transport
        self._timer = asyncio.get_running_loop().call_later(WITHIN_S, self.end)
        self._server.came(self)

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._heard += data[: MAX_REQUEST + 1 - len(self._heard)]
        heard = self._heard.replace(b"\r\n", b"\n")
        if b"\n\n" in heard or len(self._heard) > MAX_REQUEST or not _begins_well(heard):
            transport.write(self._server.answer(bytes(heard)))
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  the protocol's
        if self._timer is not None:
            self._timer.cancel()
        self._server.went(self)

    def end(self) -> None:
        """Without a further word."""
        self._server.went(self)
        if self._transport is not None:
            self._transport.abort()


def _begins_well(heard: bytes | bytearray) -> bool:
    """Whether it may still become a request: its first line is not over, or is the one of a request."""
    line, over, _ = heard.partition(b"\n")
    return not over or line.split()[-1:] in ([b"HTTP/1.1"], [b"HTTP/1.0"])


def _response(
    status: bytes,
    said: str | bytes,
    more: bytes = b"",
    *,
    kind: bytes = b"text/plain; charset=utf-8",
    whole: bool = True,
) -> bytes:
    body = said if isinstance(said, bytes) else f"{said}\n".encode()
    head = (
        b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n"
        b"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n%bConnection: close\r\n\r\n"
    )
    return head % (status, kind, len(body), more) + (body if whole else b"")
