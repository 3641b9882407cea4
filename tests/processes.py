"""Real worker processes for the tests, and what is left of processes after a test."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parent.parent
PATH = os.pathsep.join([str(ROOT / "tests" / "lean"), str(ROOT)])  # the PYTHONPATH of what a test starts
LINE_WITHIN_S = 20.0
PR_SET_PDEATHSIG = 1
lasting: set[int] = set()  # pids of this process's children that live as long as its run: servers above all
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent() -> None:
    """In a new child, before its exec: have Linux kill it when the test process dies, however that may be."""
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def children(pid: int | None = None) -> set[int]:
    """The pids of a process's children, or of this one's; empty where the system does not tell."""
    found: set[int] = set()
    for thread in Path(f"/proc/{pid or 'self'}/task").glob("*"):
        try:
            found.update(int(child) for child in (thread / "children").read_text().split())
        except OSError:
            continue  # the thread has ended meanwhile
    return found


def command_line(pid: int) -> str:
    """What a process runs, for a message."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return "(ended)"


@dataclass(kw_only=True)
class WorkerProcess:
    """A `python -m aiotq` process. Its stderr is read line by line, JSON decoded where a line is JSON."""

    process: asyncio.subprocess.Process
    output: list[str] = field(default_factory=list[str])  # every line of stderr so far
    _events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])  # those that no `line` has taken
    _more: asyncio.Condition = field(default_factory=asyncio.Condition)
    _reader: asyncio.Task[None] | None = None
    _eof: bool = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def text(self) -> str:
        """All of stderr so far."""
        return "\n".join(self.output)

    def start_reading(self) -> None:
        """Read stderr until it ends."""
        self._reader = asyncio.create_task(self._read())

    async def line(self, event: str, *, timeout_s: float = LINE_WITHIN_S, **wanted: object) -> dict[str, Any]:
        """Wait for a log line of that event whose fields are as wanted; each line is handed out once.

        Raises AssertionError with all that the process said, if it does not come.
        """

        def take() -> dict[str, Any] | None:
            for index, found in enumerate(self._events):
                if found.get("event") == event and all(found.get(key) == value for key, value in wanted.items()):
                    return self._events.pop(index)
            return None

        try:
            async with asyncio.timeout(timeout_s), self._more:
                while (found := take()) is None:
                    assert not self._eof, f"the worker ended without {event!r} {wanted or ''}; it said:\n{self.text}"
                    await self._more.wait()
        except TimeoutError:
            raise AssertionError(f"no {event!r} {wanted or ''} within {timeout_s} s; it said:\n{self.text}") from None
        return found

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, by its pid."""
        self.process.send_signal(number)

    async def exit(self, *, timeout_s: float = LINE_WITHIN_S) -> int:
        """Wait until it has ended and all it said is read: its exit code (negative: the signal that killed it)."""
        try:
            async with asyncio.timeout(timeout_s):
                code = await self.process.wait()
                if self._reader is not None:
                    await self._reader
        except TimeoutError:
            raise AssertionError(f"the worker did not end within {timeout_s} s; it said:\n{self.text}") from None
        return code

    async def kill(self) -> None:
        """End it, if it still runs. One that was stopped (SIGSTOP) is killed as well."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        if self._reader is not None:
            await self._reader

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for raw in self.process.stderr:
            line = raw.decode(errors="replace").rstrip("\n")
            async with self._more:
                self.output.append(line)
                if line.startswith("{"):
                    self._events.append(json.loads(line))
                self._more.notify_all()
        async with self._more:
            self._eof = True
            self._more.notify_all()


class Spawn(Protocol):
    """The `spawn_worker` fixture."""

    async def __call__(
        self, target: str, *options: str, env: Mapping[str, str] | None = None, ready: bool = True
    ) -> WorkerProcess:
        """Start `python -m aiotq <target> <options>` where `app` is; `ready`: wait until it works."""
        ...


async def spawn(
    target: str,
    *options: str,
    env: Mapping[str, str],
    cwd: Path = ROOT,
    own_group: bool = False,
    program: tuple[str, ...] = ("aiotq",),
) -> WorkerProcess:
    """Start a worker process that logs JSON lines. own_group: it and its children, as a shell starts a command.

    program: what stands between `python -m` and the target.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *program, target, *options),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        limit=1 << 20,  # a line with a long traceback
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": PATH, "AIOTQ_LOG_FORMAT": "json", **env},
        preexec_fn=die_with_parent,
        process_group=0 if own_group else None,
    )
    worker = WorkerProcess(process=process)
    worker.start_reading()
    return worker
