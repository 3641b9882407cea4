"""A dashboard as a server of its own: uvicorn, which says nothing by itself and ends when it is told to."""

from __future__ import annotations

import asyncio
import signal
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType

    from aiotq.app import App
    from aiotq.web.dashboard import Dashboard

GRACE_S = 3  # for pages that are on their way as it stops
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def serve(dashboard: Dashboard, app: App, listening: socket.socket, *, root_path: str = "") -> None:
    """Answer until SIGINT or SIGTERM. Closes the app's connections."""
    # asyncio does it only for sockets that name their protocol; without it each answer waits 40 ms for an ACK.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = uvicorn.Config(
        dashboard,
        log_config=None,
        access_log=False,
        lifespan="off",
        root_path=root_path,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    asyncio.run(_serve(_Server(config, dashboard), dashboard, app, listening))


async def _serve(server: _Server, dashboard: Dashboard, app: App, listening: socket.socket) -> None:
    try:
        await server.serve(sockets=[listening])
    finally:
        await dashboard.running.end()
        await app.__aexit__(None, None, None)  # whoever reads first has opened it


class _Server(uvicorn.Server):
    """Ends its streams as it stops, and returns then; uvicorn's own would raise the signal once more."""

    def __init__(self, config: uvicorn.Config, dashboard: Dashboard) -> None:
        super().__init__(config)
        self._hub = dashboard.hub

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Within it, signals end the server."""
        before = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> Any:
        """A signal came."""
        self._hub.close()
        return super().handle_exit(sig, frame)
