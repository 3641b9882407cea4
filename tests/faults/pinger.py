"""How long a server takes to answer somebody who has nothing to do with aiotq: PINGs from a process of their own.

As a program it has one connection and no event loop, so that it measures the server and not the test. What the machine
adds is taken off: the time in which one of the two wanted to run and got no core, as Linux counts it (schedstat).
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import threading
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

EVERY_S = 0.002
ENDS_WITHIN_S = 20.0


def p99(took_s: Sequence[float]) -> float:
    """Of all, the one that 99 in a hundred do not exceed."""
    return sorted(took_s)[len(took_s) * 99 // 100]


@asynccontextmanager
async def pinged(path: str, server: int) -> AsyncIterator[list[float]]:
    """Ask the server on that unix socket, of that pid, while the context lasts.

    Yields a list that is filled at its end: seconds for each PING, without those that the machine added.
    """
    took_s: list[float] = []
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", __file__, path, str(server)), stdin=pipe, stdout=pipe, limit=1 << 26
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"ready\n"
        yield took_s
        process.stdin.close()
        async with asyncio.timeout(ENDS_WITHIN_S):
            took_s += json.loads(await process.stdout.readline())
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert len(took_s) > 10, "nothing was measured"


def waited_s(*pids: int) -> float:
    """How long the main threads of processes have waited for a core so far, in seconds; 0 where nobody counts that."""
    try:
        return sum(int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_bytes().split()[1]) / 1e9 for pid in pids)
    except OSError:
        return 0.0


def measure(path: str, server: int) -> list[float]:
    """Ask until standard input ends."""
    over = threading.Event()

    def watch() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=watch, daemon=True).start()
    took_s: list[float] = []
    pids = os.getpid(), server
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(path)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while not over.wait(EVERY_S):
            before_s, began_s = waited_s(*pids), time.perf_counter()
            link.sendall(b"PING\r\n")
            answer = link.recv(64)
            passed_s = time.perf_counter() - began_s
            took_s.append(max(0.0, passed_s - (waited_s(*pids) - before_s)))
            assert answer == b"+PONG\r\n", answer
    return took_s


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(sys.argv[1], int(sys.argv[2]))) + "\n")
