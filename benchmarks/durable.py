"""`python -m benchmarks.durable`: what `options(durable=True)` costs, as docs/guarantees.md shows it. A minute."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from aiotq import App
from aiotq.store import embedded
from benchmarks.server import find_server

if TYPE_CHECKING:
    from collections.abc import Iterator

MEASURED_S = 4.0
CALLERS = (1, 100)
FILE = ("--appendonly", "yes", "--appendfsync")


@contextlib.contextmanager
def server(folder: Path, *options: str) -> Iterator[str]:
    """A server on a unix socket in a new folder; ended by its pid."""
    folder.mkdir()
    path = folder / "s"
    command = [find_server(), "--port", "0", "--unixsocket", str(path), "--dir", str(folder), "--save", "", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 10
        while not _listens(path) and time.monotonic() < until:
            time.sleep(0.02)
        yield f"unix://{path}"
    finally:
        process.terminate()
        process.wait()


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


async def measure(url: str, *, durable: bool) -> str:
    """Of one server: a row's cells."""
    app = App(url, namespace="bench", connect_timeout=30)
    call = app.task(name="nothing")(lambda: None).options(durable=durable)
    cells: list[str] = []
    async with app:
        for callers in CALLERS:
            await call.delay()
            took_s: list[float] = []
            began_s = time.monotonic()

            async def caller(until_s: float, took_s: list[float] = took_s) -> None:
                while (at_s := time.monotonic()) < until_s:
                    await call.delay()
                    took_s.append(time.monotonic() - at_s)

            await asyncio.gather(*[caller(began_s + MEASURED_S) for _ in range(callers)])
            rate = len(took_s) / (time.monotonic() - began_s)
            cells.append(f"{rate:,.{int(rate < 10)}f}/s, {statistics.median(took_s) * 1000:,.1f} ms")
        began_s = time.monotonic()
        await app.enqueue_many([call.s() for _ in range(10_000)])
        cells.append(f"{time.monotonic() - began_s:.2f} s")
    return " | ".join(cells)


async def main() -> None:
    """Print the table."""
    print("| server | | 1 caller | 100 callers | `enqueue_many` of 10,000 |\n| --- | --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory(prefix="bench-durable-") as name:
        folder = Path(name)
        for policy in ("always", "everysec"):
            with server(folder / policy, *FILE, policy) as url:
                for durable in (False, True):
                    row = await measure(url, durable=durable)
                    print(f"| `appendfsync {policy}` | {'durable' if durable else 'not'} | {row} |", flush=True)
        directory = folder / "built-in"
        for durable in (False, True):
            row = await measure(f"embedded://{directory}", durable=durable)
            print(f"| built-in | {'durable' if durable else 'not'} | {row} |", flush=True)
        embedded.stop(directory)
    print(f"\nmedians; {MEASURED_S:g} s each; load average before: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    asyncio.run(main())
