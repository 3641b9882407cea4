"""Asking a worker's health port, as a probe does."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from tests.process.ledger import WITHIN_S, until

if TYPE_CHECKING:
    from tests.processes import WorkerProcess

ANSWER_S = 5.0
TICKS_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a page said."""

    status: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A health port."""

    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Probe:
        """The one at http://host:port."""
        host, _, port = url.removeprefix("http://").rpartition(":")
        return cls(host=host, port=int(port))

    async def get(self, page: str = "readyz") -> Answer:
        """Ask once. Raises TimeoutError, OSError."""
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection(self.host, self.port)
            writer.write(f"GET /{page} HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode())
            said = (await reader.read()).decode()
            writer.close()
        head, _, body = said.partition("\r\n\r\n")
        return Answer(status=int(head.split()[1]), text=body.rstrip("\n"))

    async def until(self, status: int, text: str, *, page: str = "readyz", within_s: float = WITHIN_S) -> float:
        """Wait until a page says this. Returns how long that took, in seconds."""
        began_s, wanted = monotonic(), Answer(status=status, text=text)
        last: list[Answer] = []

        async def said() -> bool:
            last[:] = [await self.get(page)]
            return last[0] == wanted

        try:
            await until(said, f"/{page} says {status} {text!r}", within_s=within_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; the last answer was {last}") from None
        return monotonic() - began_s


def cpu_s(worker: WorkerProcess) -> float:
    """CPU seconds that a process has used so far."""
    fields = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_S
